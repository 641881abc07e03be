"""Runs sglang_recorder.py in SGLang's own environment: one process for all scenarios.

As a script it writes the records that the default suite compares the simulator with, where there is no SGLang:

    .venv-real/bin/python tests/real/sglang_sessions.py
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

from scheduler_records import Record, recorded, write_kept  # noqa: E402
from scheduler_scenarios import MODELS  # noqa: E402
from sglang_scenarios import KEPT, KEPT_NAMES, scenarios  # noqa: E402

PYTHON = ROOT / ".venv-sglang" / "bin" / "python"
RECORDER = Path(__file__).with_name("sglang_recorder.py")
MOST_SECONDS = 600


@functools.cache
def records() -> dict[str, Record]:
    """Return the records of all scenarios by name."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "scenarios.json"), Path(folder, "records.json")
        source.write_text(json.dumps({"config": MODELS["dense"], "scenarios": scenarios()}))
        command = [str(PYTHON), str(RECORDER), str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, check=False, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"SGLang's recorder failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        found = [recorded(raw) for raw in json.loads(target.read_text())["records"]]
    return {record.name: record for record in found}


def main() -> None:
    """Write the kept records again."""
    write_kept((record for name, record in sorted(records().items()) if name in KEPT_NAMES), KEPT)
    print(f"{len(KEPT_NAMES)} records, {KEPT.stat().st_size} bytes: {KEPT}")


if __name__ == "__main__":
    main()
