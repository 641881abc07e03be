"""`sizewell render`: a deployment said in flags, in a file, or taken from a plan, becomes files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sizewell.deployer.render import TARGETS, read_back
from sizewell.specs.deployment import EngineSettings, Parallelism

Say = Callable[..., Any]
R1 = ("r1", "--on", "8xh200", "--tp", "8")


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sizewell plan --json` writes, with several engines, cuts and formats."""
    from contextlib import redirect_stdout

    from sizewell.cli.main import run

    path = tmp_path_factory.mktemp("plan") / "plan.json"
    words = ["plan", "r1", "--users", "300", "--tpot", "60ms", "--max-nodes", "2", "--quantize", "--top", "6", "--json"]
    with path.open("w") as stream, redirect_stdout(stream):
        assert run(words) == 0
    return path


def test_flags_a_yaml_and_a_toml_file_say_the_same(say: Say, tmp_path: Path) -> None:
    by_flags = say("render", *R1, "--max-num-seqs", "64", "--enforce-eager", "--served-model-name", "a b").out
    facts = {"model": "r1", "on": "8xh200", "tp": "8", "max_num_seqs": "64", "served_model_name": "a b"}
    yaml_lines = [f"{key}: {value}" for key, value in facts.items()]
    (tmp_path / "d.yaml").write_text("\n".join([*yaml_lines, "enforce-eager: true", ""]))
    toml_lines = [f'{key} = "{value}"' for key, value in facts.items()]
    (tmp_path / "d.toml").write_text("\n".join([*toml_lines, "enforce_eager = true", ""]))
    assert (
        by_flags == say("render", "--from", tmp_path / "d.yaml").out == say("render", "--from", tmp_path / "d.toml").out
    )
    assert "--max-num-seqs 64" in by_flags


def test_flags_win_over_the_file(say: Say, tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("model: r1\non: 8xh200\ntp: 8\nmax_num_seqs: 64\n")
    assert "--max-num-seqs 32 " in say("render", "--from", tmp_path / "d.yaml", "--max-num-seqs", "32").out


def test_a_kept_plan_is_taken_by_its_number_wherever_a_plan_is(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path / "home"))
    said = say("explain", *R1, "--keep", "mine", "--json")
    (tmp_path / "explained.json").write_text(said.out)
    by_flags = say("render", *R1).out
    for words in (("1",), ("--plan", "1"), ("--from", "1"), (tmp_path / "explained.json",)):
        assert say("render", *words).out == by_flags, words
    assert say("doctor", "--plan", "1", "--json").document["deployment"] == said.document["deployment"]
    assert "there is no plan 2" in say("render", "--plan", "2").complaint
    for words in (("1", "--from", "1"), ("--from", "1", "--plan", tmp_path / "explained.json")):
        assert "one of the two" in say("render", *words).complaint


@pytest.mark.parametrize("target", TARGETS)
def test_every_plan_is_rendered_as_it_was_priced(say: Say, plan_file: Path, target: str) -> None:
    plans = json.loads(plan_file.read_text())["plans"]
    assert len(plans) > 2
    for number, plan in enumerate(plans, start=1):
        planned = plan["deployment"]
        said = say(
            "render", "--from", plan_file, "--plan", number, "--target", target, "--model-path", "/weights", "--json"
        )
        if target in ("compose", "systemd") and planned["nodes"] > 1:
            assert said.code == 2
            continue
        assert said.code == 0
        assert said.document["deployment"] == planned
        back = read_back(said.document["files"], target)
        (pool,) = planned["pools"]
        settings = dict(pool["settings"])
        assert back.terms.parallelism == Parallelism(**pool["parallelism"])
        assert back.terms.settings == EngineSettings(**settings)
        assert (back.replicas, back.priced.gpu, back.priced.node) == (pool["replicas"], planned["gpu"], planned["node"])


def test_a_plan_made_elsewhere_is_refused(say: Say, plan_file: Path, tmp_path: Path) -> None:
    document = json.loads(plan_file.read_text())
    document["plans"][0]["deployment"]["pools"][0]["settings"]["prefix_caching"] = False
    (tmp_path / "p.json").write_text(json.dumps(document))
    said = say("render", "--from", tmp_path / "p.json", "--model-path", "/weights")
    assert said.code == 2
    assert "plan again" in said.complaint


@pytest.mark.parametrize(
    ("name", "text", "words", "match"),
    [
        ("d.yaml", "model: r1\non: 8xh200\nmax_num_seq: 3\n", (), "max_num_seqs"),
        ("d.yaml", "on: 8xh200\n", (), "MODEL"),
        ("d.yaml", "model: r1\n", (), "--on"),
        ("d.json", "{}", (), "sizewell plan --json"),
        ("d.json", "{", (), "cannot be read"),
        ("d.json", '{"plans": [{"deployment": {"pools": []}}]}', ("--plan", "2"), "holds 1 plans"),
        ("d.yaml", "model: r1\non: 8xh200\ntp: 3\n", (), "does not divide"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(
    say: Say, tmp_path: Path, name: str, text: str, words: tuple[str, ...], match: str
) -> None:
    (tmp_path / name).write_text(text)
    said = say("render", "--from", tmp_path / name, *words)
    assert said.code == 2
    assert match in said.err


def test_what_does_not_fit_is_not_rendered(say: Say) -> None:
    said = say("render", "r1", "--on", "8xh100", "--tp", "8")
    assert said.code == 3
    assert said.out == ""


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("r1", "--on", "8xa100-80gb", "--tp", "8", "--weight-format", "awq-int4"), "--model-path"),
        (("llama-3.1-8b", "--on", "1xrtx-4090", "--engine", "llama.cpp", "--weight-format", "q4_k_m"), "GGUF"),
        ((*R1, "--engine", "vllm@0.6.6", "--ep", "8"), "--enable-expert-parallel"),
        ((*R1, "--engine", "vllm@0.5.0"), "oldest known"),
        ((*R1, "--target", "slurm", "--style", "conda"), "--environment"),
        ((*R1, "--target", "systemd", "--host", "0.0.0.0"), "proxy"),
        ((*R1, "--target", "slurm", "--partition", "a b"), "--partition"),
        ((*R1, "--model-path", ""), "--model-path is empty"),
        ((*R1, "--served-model-name", " "), "--served-model-name is empty"),
        ((*R1, "--target", "slurm", "--environment", "v"), "without --style (conda, venv"),
        ((*R1, "--engine", "vllm@latest"), "say one, as vllm@"),
    ],
)
def test_a_refusal_names_the_next_step(say: Say, words: tuple[str, ...], match: str) -> None:
    said = say("render", *words)
    assert said.code == 2
    assert match in said.complaint


def test_a_folder_is_written_whole_and_never_over_something(say: Say, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "job"
    said = say("render", *R1, "--target", "slurm", "--output", folder)
    script = folder / "deepseek-r1.sbatch"
    assert said.out == f"{script}\n"
    assert script.stat().st_mode & 0o111
    before = script.read_text()
    script.write_text("mine")
    assert "--force" in say("render", *R1, "--target", "slurm", "--output", folder).complaint
    assert script.read_text() == "mine"
    assert say("render", *R1, "--target", "slurm", "--output", folder, "--force").code == 0
    assert script.read_text() == before
    assert [path.name for path in folder.iterdir()] == [script.name]


def test_a_folder_that_cannot_be_made_is_one_line(say: Say, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = say("render", *R1, "--output", tmp_path / "file" / "x")
    assert said.code == 2
    assert "cannot be written" in said.complaint


def test_who_listens_to_others_asks_for_a_key(say: Say) -> None:
    script = say("render", *R1, "--host", "0.0.0.0").out
    assert "VLLM_API_KEY:?" in script
    assert say("render", *R1).out.count("API_KEY") == 0


def test_no_secret_reaches_a_file(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "VLLM_API_KEY", "SGLANG_API_KEY"):
        monkeypatch.setenv(name, "hunter2")
    for target in TARGETS:
        assert "hunter2" not in say("render", *R1, "--target", target, "--json").out


def test_a_split_of_a_plan_is_rendered_as_it_was_simulated(say: Say, tmp_path: Path) -> None:
    words = ("llama-3.1-8b", "--gpu", "h100", "--rate", "60/s", "--ttft", "300ms", "--tpot", "20ms", "--top", "1")
    (tmp_path / "p.json").write_text(say("plan", *words, "--split", "--json").out)
    splits = json.loads((tmp_path / "p.json").read_text())["splits"]
    assert splits
    assert say("render", "--from", tmp_path / "p.json").code == 0
    for number, split in enumerate(splits, start=1):
        said = say("render", "--from", tmp_path / "p.json", "--split", number, "--target", "kubernetes", "--json")
        assert said.document["deployment"] == split["deployment"]
        back = read_back(said.document["files"], "kubernetes")
        assert back.partner is not None
        counts = [pool["replicas"] for pool in split["deployment"]["pools"]]
        assert [back.replicas, back.partner.replicas] == counts
    assert "no --split 99" in say("render", "--from", tmp_path / "p.json", "--split", "99").complaint
    assert "of which plan?" in say("render", "llama-3.1-8b", "--on", "h100", "--split", "1").complaint


def test_two_pools_of_a_file_are_refused_where_nothing_can_be_made_of_them(say: Say, tmp_path: Path) -> None:
    pools = ("--on", "2xh100", "--prefill", "1xTP1", "--decode", "1xTP1")
    (tmp_path / "split.json").write_text(say("explain", "llama-3.1-8b", *pools, "--json").out)
    assert "kv_producer" in say("render", "--from", tmp_path / "split.json").out.replace("\\", "")
    (tmp_path / "readings.txt").write_text("vllm:num_requests_running 1.0 1000\nvllm:num_requests_running 1.0 9000\n")
    diagnose = ("diagnose", tmp_path / "readings.txt", "--plan")
    for command in (("emulate", "--plan"), ("bench", "http://127.0.0.1:9", "--plan"), diagnose):
        said = say(*command, tmp_path / "split.json")
        assert (said.code, "a plan of one pool only" in said.complaint) == (2, True), command


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--engine", "vllm@0.8.5"), "vllm@0.10.2 or later"),
        (("--engine", "llama.cpp"), "hands no cache over"),
        (("--engine", "sglang", "--kv-host-memory", "64GB"), "--kv-host-memory"),
        (("--pin-prefixes",), "--pin-prefixes"),
        (("--host", "0.0.0.0"), "proxy"),
        (("--target", "slurm", "--launcher", "ray"), "--launcher ray"),
    ],
)
def test_pools_that_cannot_be_started_are_refused_in_one_line(say: Say, words: tuple[str, ...], match: str) -> None:
    said = say("render", "llama-3.1-8b", "--on", "8xh100", "--prefill", "2xTP1", "--decode", "1xTP4", *words)
    assert said.code == 2
    assert match in said.complaint


def test_cache_in_host_memory_is_said_to_one_pool_too(say: Say) -> None:
    words = ("render", "llama-3.1-8b", "--on", "2xh100", "--tp", "2", "--kv-host-memory", "64GiB")
    assert "--kv-offloading-size 64.0 " in say(*words).out
    assert "64GiB" not in say(*words[:-1], "64GB", "--engine", "sglang").out
    assert "--hicache-size 32 " in say(*words[:-1], "64GB", "--engine", "sglang").out


@pytest.mark.parametrize(
    ("target", "image", "warned"),
    [("compose", (), True), ("kubernetes", (), True), ("systemd", (), False), ("compose", ("--image", "mine"), False)],
)
def test_images_of_llama_cpp_are_not_of_every_build(
    target: str, image: tuple[str, ...], warned: bool, say: Say
) -> None:
    words = ("llama-3.1-8b", "--on", "1xrtx-4090", "--engine", "llama.cpp", "--weight-format", "q4_k_m")
    said = say("render", *words, "--model-path", "/models/a.gguf", "--target", target, *image)
    assert ("server-cuda-b9976 is none, name another with --image" in said.err) is warned


def test_llama_cpp_needs_room_for_every_sequence_at_its_longest(say: Say) -> None:
    words = ("render", "llama-3.1-8b", "--on", "1xrtx-4090", "--engine", "llama.cpp", "--weight-format", "q4_k_m")
    path = ("--model-path", "/models/a.gguf", "--max-model-len", "131072")
    assert "4 sequences of 131,072 tokens when it starts, and 1.2 fit" in say(*words, *path).err
    assert "sets room aside" not in say(*words, *path, "--max-num-seqs", "1").err
    assert "sets room aside" not in say(*words[:3], "h100", *path[2:]).err


def test_code_of_a_checkpoint_runs_where_nothing_else_loads_it(say: Say) -> None:
    kimi = ("render", "moonshotai/Kimi-K2-Instruct", "--on", "8xh200", "--nodes", "2", "--tp", "16")
    told = say(*kimi)
    assert "--trust-remote-code  # this release loads it only with the code that it brings" in told.out
    assert "it may run it (--no-trust-remote-code forbids that)" in told.err
    forbidden = say(*kimi, "--no-trust-remote-code")
    assert "--trust-remote-code" not in forbidden.out and "it will not load" in forbidden.err
    plain = ("render", "llama-3.1-8b", "--on", "h100")
    assert "--trust-remote-code" not in say(*plain).out
    assert "--trust-remote-code  # asked for" in say(*plain, "--trust-remote-code").out


def test_a_unit_runs_as_who_is_named(say: Say) -> None:
    words = ("render", "llama-3.1-8b", "--on", "h100", "--target")
    assert "\nUser=alice\n" in say(*words, "systemd", "--user", "alice").out
    assert "\nUser=" not in say(*words, "systemd").out
    for target, user in (("systemd", "a b"), ("systemd", ""), ("systemd", "root\nExecStartPre=x"), ("slurm", "alice")):
        said = say(*words, target, "--user", user)
        assert said.code == 2 and "--user" in said.err


def test_what_a_plan_would_reject_is_rendered_with_a_warning(say: Say) -> None:
    old = say("render", "llama-3.1-8b", "--on", "1xv100-sxm-32gb", "--engine", "vllm@0.33")
    assert "warning: vllm does not run on v100-sxm2-32gb" in old.err and "vllm serve" in old.out
    assert "warning" not in say("render", "llama-3.1-8b", "--on", "1xh100", "--engine", "vllm@0.33").err
    assert "warning" not in say("render", "llama-3.1-8b", "--on", "1xv100-sxm-32gb", "--engine", "vllm@0.8.5").err
