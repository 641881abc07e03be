"""Artefacts as they were last read by a person: a change of wording or of a limit shows in a diff.

`python tests/golden/test_rendered.py` writes them again.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from sizewell.cli.main import run

FOLDER = Path(__file__).parent / "rendered"
TWO_NODES = ("r1", "--on", "16xh100", "--tp", "8", "--pp", "2", "--max-model-len", "32768")
POOLS = ("llama-3.1-8b", "--on", "8xh100", "--prefill", "2xTP1", "--decode", "1xTP4")
WIDE_POOLS = ("r1", "--on", "32xh100", "--prefill", "1xTP16", "--decode", "1xDP16xEP16", "--max-num-seqs", "64")
CASES = {
    "r1-8xh200-command": ("r1", "--on", "8xh200", "--tp", "8", "--ep", "8", "--trust-remote-code"),
    "r1-8xmi300x-command": ("r1", "--on", "8xmi300x", "--tp", "8", "--engine", "sglang@0.5.23"),
    "r1-2x8xh100-slurm": (*TWO_NODES, "--target", "slurm", "--partition", "gpu", "--constraint", "h100"),
    "r1-2x8xh100-slurm-ray": (
        *TWO_NODES, "--target", "slurm", "--launcher", "ray", "--style", "apptainer", "--environment", "vllm.sif",
    ),
    "r1-2x8xh100-sglang-slurm": (
        "r1", "--on", "16xh100", "--tp", "16", "--engine", "sglang@0.5.23", "--target", "slurm", "--style", "conda",
        "--environment", "serving",
    ),
    "r1-2x8xh100-kubernetes": (*TWO_NODES, "--target", "kubernetes"),
    "llama-pools-command": (*POOLS, "--kv-host-memory", "64GiB"),
    "llama-pools-compose": (*POOLS, "--engine", "sglang@0.5.23", "--target", "compose"),
    "llama-pools-systemd": (*POOLS, "--target", "systemd"),
    "r1-pools-slurm": (*WIDE_POOLS, "--engine", "sglang@0.5.23", "--target", "slurm"),
    "r1-pools-kubernetes": (*WIDE_POOLS, "--target", "kubernetes", "--kv-network", "infiniband-ndr-400"),
    "llama-2xh100-compose": ("llama-3.1-8b", "--on", "2xh100", "--tp", "1", "--replicas", "2", "--target", "compose"),
    "llama-rtx-4090-systemd": (
        "llama-3.1-8b", "--on", "1xrtx-4090", "--engine", "llama.cpp", "--weight-format", "q4_k_m", "--model-path",
        "/models/llama.gguf", "--target", "systemd",
    ),
}  # fmt: skip


def rendered(words: tuple[str, ...]) -> str:
    """Return what `sizewell render` prints."""
    out = StringIO()
    with redirect_stdout(out):
        assert run(["render", *words, "--json"]) == 0
    files = json.loads(out.getvalue())["files"]
    return "".join(f"==> {path} <==\n{text}" for path, text in files.items())


@pytest.mark.parametrize("name", CASES)
def test_an_artefact_is_as_it_was_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWELL_CATALOG", "/nonexistent-catalogue")
    assert rendered(CASES[name]) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_no_artefact_is_left_from_before() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(CASES)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for case, said in CASES.items():
        (FOLDER / f"{case}.txt").write_text(rendered(said), encoding="utf-8")
    sys.exit()
