"""Shell text as a careful reader sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def clean(*texts: str) -> None:
    """Fail with what shellcheck says of some scripts."""
    for text in texts:
        words = [SHELLCHECK, "--severity=style", "-"]
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
