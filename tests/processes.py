"""What tests ask about processes."""

from __future__ import annotations

from pathlib import Path


def lives(pid: int) -> bool:
    """Return whether a process still does anything: one that nobody has taken leave of yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
