"""`sizewell doctor` on this machine as it is, and with a real vLLM on PATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell

sys.path.append(str(Path(__file__).parent))
from vllm_sessions import PYTHON  # beside this file, which no package holds

pytestmark = pytest.mark.real
SCHEMA = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "doctor.json").read_text())
FREE_PORT = "18431"


def doctor(*words: str, path: str = "") -> tuple[int, Any]:
    """Return the exit code and the document of a run in a process of its own."""
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}" if path else os.environ["PATH"]}
    command = [sys.executable, "-m", "sizewell", "doctor", *words, "--json", "--port", FREE_PORT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return done.returncode, {(each["subject"], each["check"]): each for each in document["findings"]}


def test_this_machine_is_read_as_the_system_says_it_is() -> None:
    _, found = doctor()
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert found["host", "memory"]["figures"]["ram_bytes"] <= float(total.split()[1]) * 1024
    assert 1 <= found["host", "cores"]["figures"]["cores"] <= len(os.sched_getaffinity(0))
    assert found["network", "port"]["verdict"] == "pass"


def test_the_disk_is_measured_within_reason(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(os.urandom(64 * 2**20))
    _, found = doctor("qwen3-0.6b", "--on", "rtx-4090", "--model-path", str(tmp_path))
    rate = found["disk", "read rate"]["figures"]["read_bytes_per_s"]
    assert 1e6 < rate < 1e11
    assert found["disk", "checkpoint"]["verdict"] == "fail"
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not installed: make .venv-vllm/.installed")
def test_a_real_vllm_is_imported_and_knows_the_flags_of_the_plan() -> None:
    _, found = doctor("qwen3-0.6b", "--on", "rtx-4090", "--engine", "vllm@0.32", path=str(PYTHON.parent))
    importable = found["engine", "importable"]
    assert importable["verdict"] == "pass", importable
    said = subprocess.run(
        [PYTHON, "-c", "from importlib.metadata import version; print(version('vllm'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert f"vllm {said.partition('+')[0]}" in importable["found"]
    assert found["engine", "version"]["verdict"] == "pass"
    assert found["engine", "flags"]["verdict"] == "pass"
    assert (found["engine", "devices"]["verdict"] == "pass") == (found["gpu", "present"]["verdict"] != "fail")


@pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not installed: make .venv-vllm/.installed")
def test_a_plan_of_another_release_is_told_apart() -> None:
    _, found = doctor("qwen3-0.6b", "--on", "rtx-4090", "--engine", "vllm@0.10.2", path=str(PYTHON.parent))
    assert found["engine", "version"]["verdict"] == "warn"
    assert "vllm@0.32" in found["engine", "version"]["fix"]
