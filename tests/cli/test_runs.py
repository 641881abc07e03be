"""`simulate --keep` and `runs`: what was kept is listed, shown and compared, in words and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell

Say = Callable[..., Any]
SCHEMA = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "runs.json").read_text())


@pytest.fixture
def kept(say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    """Return `say` where two runs are kept."""
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path))
    words = ("simulate", "llama-3.1-8b", "--on", "1xh100", "--answer", "20", "--requests", "120")
    for users in ("2", "8"):
        said = say(*words, "--users", users, "--keep", f"{users} users")
        assert said.code == 0 and "kept as run" in said.err
    return say


def test_runs_are_listed_shown_and_compared(kept: Say) -> None:
    listed = kept("runs", "list")
    assert "2 users" in listed.out and "8 users" in listed.out and "h100" in listed.out
    shown = kept("runs", "show", "1")
    assert "TTFT" in shown.out and "120 of 120 requests served" in shown.out
    compared = kept("runs", "compare", "1", "2")
    assert "ttft_mean_s" in compared.out and "the load differs in concurrency" in compared.out


@pytest.mark.parametrize("words", [("list",), ("show", "2"), ("compare", "1", "2")], ids=" ".join)
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
