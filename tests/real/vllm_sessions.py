"""Runs vllm_recorder.py in vLLM's own environment, one process and one start of the engine for each group.

As a script it writes the records that the default suite compares the simulator with, where there is no vLLM:

    .venv-real/bin/python tests/real/vllm_sessions.py
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

from recording import recorded_by  # noqa: E402

from scheduler_records import KEPT, Record, recorded, write_kept  # noqa: E402
from scheduler_scenarios import MODELS, groups, kept_scenarios  # noqa: E402

PYTHON = ROOT / ".venv-vllm" / "bin" / "python"


@functools.cache
def session(group: str) -> dict[str, Any]:
    """Return what the engine says of itself and the raw records of a group's scenarios."""
    scenarios = groups()[group]
    return recorded_by(PYTHON, "vllm_recorder.py", {"config": MODELS[scenarios[0]["model"]], "scenarios": scenarios})


def records(group: str) -> dict[str, Record]:
    """Return the records of a group's scenarios by name."""
    return {raw["name"]: recorded(raw) for raw in session(group)["records"]}


def main() -> None:
    """Write the kept records again."""
    names = {scenario["name"] for scenario in kept_scenarios()}
    found = [record for group in groups() for record in records(group).values() if record.name in names]
    write_kept(found)
    print(f"{len(found)} records, {KEPT.stat().st_size} bytes: {KEPT}")


if __name__ == "__main__":
    main()
