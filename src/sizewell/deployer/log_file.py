"""Logs that may be long and still grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

MOST_HEAD_BYTES = 4 << 20
MOST_TAIL_BYTES = 1 << 20
PAUSE_S = 0.2


def read_lines(path: Path) -> list[str]:
    """Return the lines of a log, of a very long one the beginning and the end; none before it exists."""
    try:
        with path.open("rb") as file:
            head = file.read(MOST_HEAD_BYTES)
            end = file.seek(0, 2)
            file.seek(max(len(head), end - MOST_TAIL_BYTES))
            tail = file.read()
    except FileNotFoundError:
        return []
    return (head + tail).decode("utf-8", "replace").splitlines()


def follow(path: Path, has_ended: Callable[[], bool], pause_s: float = PAUSE_S) -> Iterator[str]:
    """Yield the lines of a log as they come, until what writes it has ended and all was read."""
    place, rest = 0, b""
    while True:
        over = has_ended()
        if path.exists():
            with path.open("rb") as file:
                file.seek(place)
                new = file.read()
            place += len(new)
            *whole, rest = (rest + new).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in whole)
        if over:
            break
        time.sleep(pause_s)
    if rest:
        yield rest.decode("utf-8", "replace")
