"""Model configs nobody meant well: one line, exit code 2, no traceback, no waiting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Say = Callable[..., Any]
GOOD = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip
WHOLE = json.dumps(GOOD)


def _config(folder: Path, text: str) -> str:
    (folder / "config.json").write_text(text)
    return str(folder)


def test_the_good_one_is_good(say: Say, tmp_path: Path) -> None:
    assert say("explain", _config(tmp_path, WHOLE), "--on", "h100", "--json").code == 0


@pytest.mark.parametrize(
    "text",
    ["", WHOLE[:150], "[]", "3", "null", '"x"', "[" * 100_000, '{"a":' * 50_000, "\x00" * 100, "{'a': 1}"],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_config_is_refused(say: Say, tmp_path: Path, text: str) -> None:
    said = say("explain", _config(tmp_path, text), "--on", "h100")
    assert said.code == 2
    assert "config.json" in said.complaint


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
@pytest.mark.parametrize("value", [-5, 0, 1e30, 10**30, float("nan"), float("inf"), "4096", True, [1], 4096.5, {}])
def test_a_number_that_cannot_be_is_refused(say: Say, tmp_path: Path, field: str, value: object) -> None:
    said = say("explain", _config(tmp_path, json.dumps({**GOOD, field: value})), "--on", "h100")
    assert said.code == 2
    assert field in said.complaint


@pytest.mark.parametrize("field", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("kind", ["bfloat17", "int4", "float8_e4m3fn", "", 16, ["bfloat16"]])
def test_a_type_nobody_computes_in_is_refused(say: Say, tmp_path: Path, field: str, kind: object) -> None:
    others = {name: GOOD[name] for name in GOOD if name != "torch_dtype"}
    path = _config(tmp_path, json.dumps({**others, field: kind}))
    said = say("explain", path, "--on", "h100")
    assert (said.code, f"{field} is {kind!r}" in said.complaint) == (2, True)
    assert say("explain", path, "--on", "h100", "--assume", f"{field}=bfloat16").code == 0


@pytest.mark.parametrize("names", [["EvilForCausalLM"], [], [None], "LlamaForCausalLM", ["\x1b[31m\n"]])
def test_an_architecture_nobody_knows_is_refused(say: Say, tmp_path: Path, names: object) -> None:
    said = say("explain", _config(tmp_path, json.dumps({**GOOD, "architectures": names})), "--on", "h100")
    assert said.code == 2
    assert said.complaint.isprintable()


def test_a_missing_fact_may_be_assumed_and_the_answer_says_so(say: Say, tmp_path: Path) -> None:
    path = _config(tmp_path, json.dumps({key: GOOD[key] for key in GOOD if key != "num_attention_heads"}))
    said = say("explain", path, "--on", "h100")
    assert (said.code, "--assume num_attention_heads=" in said.complaint) == (2, True)
    said = say("explain", path, "--on", "h100", "--assume", "num_attention_heads=32", "--json")
    assert said.code == 0
    assert any("num_attention_heads" in fact for fact in said.document["model"]["assumed"])
