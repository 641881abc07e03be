"""A plan for llama.cpp is one that llama.cpp can be started with: each sequence has its room from the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

QUESTION = ("plan", "llama-3.1-8b", "--engine", "llama.cpp", "--input", "1000", "--answer", "500")


@pytest.mark.parametrize("load", [("--gpu", "rtx-4090", "--users", "60"), ("--gpu", "rtx-3090", "--rate", "1/s")])
def test_what_is_planned_is_rendered_and_has_room_for_every_sequence(
    say: Any, load: tuple[str, ...], tmp_path: Path
) -> None:
    said = say(*QUESTION, *load, "--json")
    assert said.code == 0, said.err
    for one in said.document["plans"]:
        (pool,) = one["deployment"]["pools"]
        settings = pool["settings"]
        assert settings["memory_fraction"] == 1.0
        assert settings["max_num_seqs"] * settings["max_model_len_tokens"] <= one["memory"]["kv_tokens"]
        assert settings["max_model_len_tokens"] >= 1500
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(said.document))
    rendered = say("render", "--plan", str(plan), "--model-path", "/models/it.gguf", "--output", str(tmp_path))
    assert rendered.code == 0, rendered.err
    assert "sets room aside" not in rendered.err
    assert "--ctx-size" in (tmp_path / "serve.sh").read_text()
