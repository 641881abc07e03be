"""Runs a recorder in the environment of its engine and reads what it wrote."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

MOST_SECONDS = 600


def recorded_by(python: Path, recorder: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what the engine beside a Python did with a config and scenarios; raise RuntimeError with what was said."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "scenarios.json"), Path(folder, "records.json")
        source.write_text(json.dumps(asked))
        command = [str(python), str(Path(__file__).with_name(recorder)), str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SECONDS, check=False, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"{recorder} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        played: dict[str, Any] = json.loads(target.read_text())
        return played
