"""Releases as people write them, and the numbers by which they are compared."""

from __future__ import annotations

import re


def release_numbers(version: str, most: int = 3) -> tuple[int, ...]:
    """Return the first numbers of a version: 0, 8 and 5 of v0.8.5.post1; 9976 of b9976; fewer where it has fewer."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:most])
