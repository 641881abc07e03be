"""Logs that may be long and still grow."""

from __future__ import annotations

from codecs import getincrementaldecoder
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO

MOST_HEAD_BYTES = 4 << 20
MOST_TAIL_BYTES = 1 << 20


def read_lines(path: Path) -> list[str]:
    """Return the lines of a log, of a very long one the beginning and the end; none before it exists."""
    return GrowingLog(path).news().text.splitlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a log gained; what was told before is void where it begins `anew`."""

    anew: bool = False
    text: str = ""


class GrowingLog:
    """A log that is read again and again: each time only what is new, of very much the beginning and the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._place = 0
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def news(self) -> News:
        """Return what was written since it was last asked; nothing while there is no file, or none that can be read."""
        try:
            with self._path.open("rb") as file:
                end = file.seek(0, SEEK_END)
                anew = end < self._place
                if anew:
                    self._begin()
                return News(anew=anew, text=self._decoder.decode(self._read(file, end)))
        except OSError:  # a file server may lose a file for a while
            return News()

    def _read(self, file: BinaryIO, end: int) -> bytes:
        file.seek(self._place)
        head = file.read(min(end - self._place, MOST_HEAD_BYTES))
        file.seek(max(self._place + len(head), end - MOST_TAIL_BYTES))
        tail = file.read()
        self._place = file.tell()
        return head + tail
