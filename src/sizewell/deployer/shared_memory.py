"""Shared memory an engine left behind, by the name its own log gave it: others run on the same machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

SEGMENTS = Path("/dev/shm")
NAMED = re.compile(r"\b(?:vllm_dist|psm|sglang)_[0-9A-Za-z]{6,}")
"""What ranks of one run call their segments: a word of the engine's, and a name drawn for this run alone."""


def remove_leftovers(log: Iterable[str], folder: Path = SEGMENTS) -> tuple[str, ...]:
    """Remove our own segments that bear a name the log holds, and return them."""
    names = tuple({name for line in log for name in NAMED.findall(line)})
    if not names or not folder.is_dir():
        return ()
    found = [path for path in folder.iterdir() if path.name.startswith(names) and path.stat().st_uid == os.getuid()]
    for path in found:
        path.unlink(missing_ok=True)
    return tuple(sorted(path.name for path in found))
