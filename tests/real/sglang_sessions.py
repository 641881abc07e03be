"""Runs sglang_recorder.py in SGLang's own environment: one process for all scenarios.

As a script it writes the records that the default suite compares the simulator with, where there is no SGLang:

    .venv-real/bin/python tests/real/sglang_sessions.py
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

from recording import recorded_by  # noqa: E402

from scheduler_records import Record, recorded, write_kept  # noqa: E402
from scheduler_scenarios import MODELS  # noqa: E402
from sglang_scenarios import KEPT, KEPT_NAMES, scenarios  # noqa: E402

PYTHON = ROOT / ".venv-sglang" / "bin" / "python"


@functools.cache
def records() -> dict[str, Record]:
    """Return the records of all scenarios by name."""
    played = recorded_by(PYTHON, "sglang_recorder.py", {"config": MODELS["dense"], "scenarios": scenarios()})
    found = [recorded(raw) for raw in played["records"]]
    return {record.name: record for record in found}


def main() -> None:
    """Write the kept records again."""
    write_kept((record for name, record in sorted(records().items()) if name in KEPT_NAMES), KEPT)
    print(f"{len(KEPT_NAMES)} records, {KEPT.stat().st_size} bytes: {KEPT}")


if __name__ == "__main__":
    main()
