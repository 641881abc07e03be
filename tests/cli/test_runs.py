"""`simulate --keep` and `runs`: what was kept is listed, shown and compared, in words and as JSON."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from shutil import copytree
from typing import Any

import jsonschema
import pytest

import sizewell
from sizewell.cli.main import run
from sizewell.cli.plan_file import read_planned
from sizewell.records.store import FILE, Links, Records

Say = Callable[..., Any]
SCHEMA = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "runs.json").read_text())


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which two runs are kept."""
    home = tmp_path_factory.mktemp("home")
    words = ("simulate", "llama-3.1-8b", "--on", "1xh100", "--input", "200", "--answer", "20", "--requests", "120")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIZEWELL_CATALOG", "/nonexistent-catalogue")
        patch.setenv("SIZEWELL_HOME", str(home))
        for users in ("2", "8"):
            assert run([*words, "--users", users, "--keep", f"{users} users"]) == 0
    return home


@pytest.fixture
def kept(say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, two_runs: Path) -> Say:
    """Return `say` where two runs are kept, which a test may add to."""
    copytree(two_runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path))
    return say


def test_a_run_says_under_which_number_it_is_kept(kept: Say) -> None:
    words = ("simulate", "llama-3.1-8b", "--on", "1xh100", "--answer", "2", "--requests", "2", "--keep", "third")
    assert "kept as run 3: sizewell runs show 3" in kept(*words).err


def test_runs_are_listed_shown_and_compared(kept: Say) -> None:
    listed = kept("runs", "list")
    assert kept("runs").out == listed.out, "what somebody types who knows no more"
    assert kept("runs", "--of", "plans").err == kept("runs", "list", "--of", "plans").err
    assert kept("runs", "2").out == kept("runs", "show", "2").out
    assert "2 users" in listed.out and "8 users" in listed.out and "h100" in listed.out
    shown = kept("runs", "show", "1")
    assert "TTFT" in shown.out and "120 of 120 requests served" in shown.out
    compared = kept("runs", "compare", "1", "2")
    assert "ttft_mean_s" in compared.out and "the load differs in concurrency" in compared.out


def test_a_run_is_written_request_by_request(kept: Say, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    assert kept("runs", "export", "1", str(rows)).code == 0
    head, *lines = rows.read_text().splitlines()
    assert "first_token_s" in head.split(",") and len(lines) == 120
    assert kept("runs", "export", "1", str(tmp_path / "no" / "rows.csv")).code == 2


def test_what_is_deleted_is_gone_and_nothing_points_at_it(kept: Say, tmp_path: Path) -> None:
    records = Records(tmp_path)
    plan = records.keep("plans", "a plan", {})
    entry, first = records.run(1)
    third = records.keep_run(first, "third", entry.deployment, entry.workload, Links(plan=plan, predicted=1))
    assert kept("runs", "delete", "1", "9").code == 2
    assert [one.id for one in records.runs()] == [1, 2, third], "all or none"
    assert kept("runs", "delete", "1", "1").code == 0
    assert kept("runs", "delete", str(plan), "--of", "plans").code == 0
    assert [(one.id, one.plan, one.predicted) for one in records.runs()] == [(2, None, None), (third, None, None)]
    assert kept("runs", "show", "1").code == 2
    assert kept("runs", "delete", "2", str(third)).code == 0
    later = records.keep_run(first, "later", entry.deployment, entry.workload)
    assert later == third + 1, "a number is never given again"


def test_damaged_records_are_named_and_can_be_deleted(kept: Say, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE runs SET workload = CAST(x'7bff' AS TEXT) WHERE id = 2")
    database.close()
    for words in (("list",), ("show", "2"), ("compare", "1", "2")):
        said = kept("runs", *words)
        assert (said.code, said.complaint) == (
            2, "sizewell: run 2 is damaged in the records: sizewell runs delete 2"
        )  # fmt: skip
    assert kept("runs", "delete", "2").code == 0
    assert kept("runs").code == 0


@pytest.mark.parametrize("words", [("show",), ("delete",), ("compare", "1"), ("export",)], ids=" ".join)
def test_a_number_beyond_all_numbers_is_not_there(kept: Say, words: tuple[str, ...], tmp_path: Path) -> None:
    file = (str(tmp_path / "x.csv"),) if words == ("export",) else ()
    said = kept("runs", *words, str(10**20), *file)
    assert said.code == 2 and f"no run {10**20}" in said.err
    assert kept("explain", "--plan", str(10**20)).code == 2


@pytest.mark.parametrize(
    "words", [("list",), ("show", "2"), ("compare", "1", "2"), ("export", "1", "/dev/null"), ("delete", "1")],
    ids=" ".join,
)  # fmt: skip
def test_documents_obey_the_schema(kept: Say, words: tuple[str, ...]) -> None:
    said = kept("runs", *words, "--json")
    jsonschema.Draft202012Validator(SCHEMA).validate(said.document)
    assert said.document["kind"] == words[0]


def test_a_ratio_is_the_second_over_the_first(kept: Say) -> None:
    rows = {row["figure"]: row for row in kept("runs", "compare", "1", "2", "--json").document["figures"]}
    for row in rows.values():
        assert row["ratio"] == pytest.approx(row["second"] / row["first"])
    score = kept("runs", "show", "2", "--json").document["score"]
    assert rows["tpot_p99_s"]["second"] == score["tpot"]["p99_s"]
    assert rows["output_tokens_per_s"]["ratio"] > 1


def test_a_kept_plan_is_taken_by_its_number(kept: Say, tmp_path: Path) -> None:
    said = kept("plan", "llama-3.1-8b", "--gpu", "h100", "--users", "4", "--keep", "small", "--json")
    assert "kept as plan 1" in said.err
    assert kept("explain", "llama-3.1-8b", "--on", "h100", "--keep", "stated").code == 0
    listed = kept("runs", "list", "--of", "plans", "--json").document
    jsonschema.Draft202012Validator(SCHEMA).validate(listed)
    assert [one["name"] for one in listed["plans"]] == ["small", "stated"]
    assert "h100" in kept("runs", "list", "--of", "plans").out
    best = said.document["plans"][0]["deployment"]
    assert read_planned("1").flags()["machine"] == f"{best['gpus_per_node']}x{best['gpu']}"
    assert read_planned("2").flags()["machine"] == "1xh100-sxm-80gb"
    assert "there is no plan 9" in kept("emulate", "--plan", "9").complaint


def test_a_measured_run_is_shown_beside_what_predicted_it_and_names_its_plan(kept: Say, tmp_path: Path) -> None:
    kept("plan", "llama-3.1-8b", "--gpu", "h100", "--users", "4", "--keep", "small")
    records = Records(tmp_path)
    run = replace(records.run(1)[1], origin="measured")
    records.keep_run(run, "real", {"model": "x", "gpus": 1, "gpu": "h100"}, {}, Links(plan=1, predicted=2))
    shown = kept("runs", "show", "3")
    assert "3 measured" in shown.out and "2 predicted" in shown.out
    document = kept("runs", "show", "3", "--json").document
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert (document["run"]["plan"], document["run"]["predicted"]) == (1, 2)
    assert document["predicted_score"] == kept("runs", "show", "2", "--json").document["score"]
    alone = kept("runs", "compare", "3", "--json").document
    assert alone == kept("runs", "compare", "3", "2", "--json").document
    assert "nothing is kept that predicted run 1" in kept("runs", "compare", "1").complaint


def test_what_is_not_there_is_said(say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path))
    nothing = say("runs", "list")
    assert (nothing.code, nothing.out) == (0, "") and "no runs" in nothing.err
    assert say("runs", "list", "--json").document["runs"] == []
    assert "no run 3" in say("runs", "show", "3").complaint
    assert say("runs", "compare", "3", "3").code == 2
    monkeypatch.setenv("SIZEWELL_HOME", "/proc/nowhere")
    words = ("simulate", "llama-3.1-8b", "--on", "1xh100", "--answer", "2", "--requests", "2", "--keep", "x")
    said = say("-q", *words)
    assert said.code == 2 and "SIZEWELL_HOME" in said.complaint


def test_a_kept_run_of_a_model_in_a_folder_is_diagnosed(kept: Say, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    shipped = files("sizewell.catalog") / "data" / "models" / "Qwen--Qwen2.5-0.5B.json"
    (folder / "config.json").write_text(shipped.read_text())
    load = ("--users", "2", "--input", "100", "--answer", "10")
    assert kept("simulate", str(folder), "--on", "l4", *load, "--requests", "12", "--keep", "x").code == 0
    number = kept("runs", "list", "--json").document["runs"][-1]["id"]
    assert kept("diagnose", str(number), "--json").document["findings"]
    assert kept("explain", str(folder), "--on", "l4", *load, "--keep", "own").code == 0
    plan = kept("runs", "list", "--of", "plans", "--json").document["plans"][-1]["id"]
    said = kept("render", "--plan", str(plan))
    assert said.code == 0 and f"vllm serve {folder}" in said.out
