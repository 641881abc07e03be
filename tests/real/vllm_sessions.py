"""Runs vllm_recorder.py in vLLM's own environment, one process and one start of the engine for each group.

As a script it writes the records that the default suite compares the simulator with, where there is no vLLM:

    .venv-real/bin/python tests/real/vllm_sessions.py
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

from scheduler_records import KEPT, Record, recorded, write_kept  # noqa: E402
from scheduler_scenarios import groups, kept_scenarios  # noqa: E402

PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
RECORDER = Path(__file__).with_name("vllm_recorder.py")
MOST_SECONDS = 600


@functools.cache
def session(group: str) -> dict[str, Any]:
    """Return what the engine says of itself and the raw records of a group's scenarios."""
    return _session(groups()[group])


def records(group: str) -> dict[str, Record]:
    """Return the records of a group's scenarios by name."""
    return {raw["name"]: recorded(raw) for raw in session(group)["records"]}


def _session(scenarios: list[dict[str, Any]]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "scenarios.json"), Path(folder, "records.json")
        source.write_text(json.dumps(scenarios))
        command = [str(PYTHON), str(RECORDER), str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, check=False, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"vLLM's recorder failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        played: dict[str, Any] = json.loads(target.read_text())
        return played


def main() -> None:
    """Write the kept records again."""
    names = {scenario["name"] for scenario in kept_scenarios()}
    found = [record for group in groups() for record in records(group).values() if record.name in names]
    write_kept(found)
    print(f"{len(found)} records, {KEPT.stat().st_size} bytes: {KEPT}")


if __name__ == "__main__":
    main()
