"""Workload files: flags in a file, flags on the line win, and every mistake is named with file, line and key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Say = Callable[..., Any]
WORDS = ("plan", "llama-3.1-8b", "--gpu", "h100", "--json")


def _file(folder: Path, text: str, name: str = "load.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


YAML = """users: 7
input: 2k
answer: 100
tpot: 50ms
statistic: p99
max-gpus: 4
no_quantization: true
"""
TOML = """users = 7
input = "2k"
answer = 100
tpot = "50ms"
statistic = "p99"
max-gpus = 4
no_quantization = true
"""
FLOW = "{users: 7, input: 2000, answer: 1e2, tpot: 0.05s, statistic: p99, max_gpus: 4, no-quantization: True}"


@pytest.mark.parametrize(("name", "text"), [("load.yaml", YAML), ("load.toml", TOML), ("load.yml", FLOW)])
def test_a_file_says_what_flags_say(say: Say, tmp_path: Path, name: str, text: str) -> None:
    by_flags = say(
        *WORDS, "--users", "7", "--input", "2000", "--answer", "100", "--tpot", "50ms", "--statistic", "p99",
        "--max-gpus", "4", "--no-quantization",
    )  # fmt: skip
    by_file = say(*WORDS, "--workload", _file(tmp_path, text, name))
    assert by_file.code == by_flags.code == 0, by_file.err
    assert by_file.out == by_flags.out


def test_flags_win_over_the_file(say: Say, tmp_path: Path) -> None:
    path = _file(tmp_path, "users: 7\ninput: 2000\ngpu: [h200, b200]\n")
    question = say(*WORDS, "--workload", path, "--input", "100").document["question"]
    assert question["workload"]["users"] == 7
    assert question["workload"]["input_tokens"] == 100
    assert question["limits"]["gpu_keys"] == ["h100-sxm-80gb"]
    question = say(*WORDS, "--workload", path, "--rate", "2/s").document["question"]
    assert question["workload"]["users"] is None
    assert question["workload"]["rate_per_s"] == 2


def test_a_file_without_an_end_is_refused(say: Say) -> None:
    refused = say(*WORDS, "--workload", "/dev/zero")
    assert refused.code == 2
    assert "a workload file holds a few lines" in refused.err


def test_the_model_may_lie_in_the_file(say: Say, tmp_path: Path) -> None:
    path = _file(tmp_path, "model: llama-3.1-8b\non: h100\ntp: 1\n")
    assert say("explain", "--workload", path, "--json").document["model"]["layers"] == 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("users: 7\nanswr: 5\n", "load.yaml:2: answr: unknown key; did you mean answer"),
        ("users: -7\n", "load.yaml:1: users: '-7' is out of range"),
        ("input: .nan\n", "load.yaml:1: input: '.nan' is no token count"),
        ("input: 1.0e+30\n", "load.yaml:1: input: '1.0e+30' is out of range"),
        ("tpot: 50\n", "load.yaml:1: tpot: '50' is no duration: its unit is one of s, ms"),
        ("users: [1, 2]\n", "is not a single value"),
        ("users: {a: 1}\n", "is not a single value"),
        ("users: true\n", "'true' is no number of users"),
        ("no_quantization: 7\n", "'7' is not true or false"),
        ("statistic: p12\n", "load.yaml:1: statistic: 'p12' is not one of"),
        ("users: 7\nusers: 8\n", "load.yaml:2: users is given twice"),
        ("users: 7\nrate: 8\n", "contradict each other"),
        ("- 1\n- 2\n", "holds no keys"),
        ("", "holds no keys"),
        ("just words", "holds no keys"),
        ("a: [1, 2\n", "is not valid YAML"),
        ("? {a: 1}\n: 2\n", "is not valid YAML"),
        ("users: !!python/object/apply:os.system ['true']\n", "is not a single value"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "unknown key"),
        ("[" * 5000, "load.yaml"),
    ],
)
def test_mistakes_are_named(say: Say, tmp_path: Path, text: str, expected: str) -> None:
    said = say(*WORDS, "--workload", _file(tmp_path, text))
    assert said.code == 2
    assert said.out == ""
    assert expected in said.complaint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("users = 7\nanswr = 5\n", "load.toml:2: answr: unknown key; did you mean answer"),
        ("users = nan\n", "load.toml:1: users: 'nan' is no number of users"),
        ("users = 7\n[slo]\nttft = '2s'\n", "load.toml:2: slo: unknown key"),
        ("users = \n", "is not valid TOML"),
        ("users = 7\nusers = 8\n", "is not valid TOML"),
    ],
)
def test_mistakes_in_toml_are_named(say: Say, tmp_path: Path, text: str, expected: str) -> None:
    said = say(*WORDS, "--workload", _file(tmp_path, text, "load.toml"))
    assert said.code == 2
    assert expected in said.complaint


def test_unreadable_files_are_named(say: Say, tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    huge = tmp_path / "huge.yaml"
    huge.write_text("a: 1\n" * 400_000)
    for path in (tmp_path / "absent.yaml", tmp_path, binary, huge):
        said = say(*WORDS, "--workload", str(path))
        assert said.code == 2
        assert path.name in said.complaint


def test_what_only_a_plan_asks_for_is_left_out_of_an_explanation(say: Say, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "chat.yaml"
    document = say("explain", "--workload", str(example), "--on", "hgx-h100-8", "--json").document
    assert document["workload"]["users"] == 64
    said = say("explain", "llama-3.1-8b", "--on", "h100", "--workload", _file(tmp_path, "users: 7\nmax_nods: 5\n"))
    assert "load.yaml:2: max_nods: unknown key" in said.complaint
    said = say("explain", "llama-3.1-8b", "--on", "h100", "--workload", _file(tmp_path, "max_nodes: 0\n"))
    assert "load.yaml:1: max_nodes: '0' is out of range" in said.complaint


def test_a_shipped_rate_is_planned_where_caches_are_set_aside(say: Say) -> None:
    """Fewer replicas than a rate keeps up with have endless requests in flight, and llama.cpp no slot for each."""
    found = say("plan", "llama-3.1-8b", "--workload", "azure-2023-code", "--gpu", "p40", "--json").document
    assert found["plans"][0]["deployment"]["engine"]["name"] == "llama.cpp"
    assert found["plans"][0]["service"]["requests_per_s"]["value"] == pytest.approx(2.57, rel=0.01)
