"""Shell text as a careful reader sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def clean(*texts: str, severity: str = "style") -> None:
    """Fail with what shellcheck says of some scripts."""
    for text in texts:
        words = [SHELLCHECK, f"--severity={severity}", "-"]
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
