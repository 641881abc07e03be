"""Refuses what would be read without end or cannot be read twice: devices, pipes, and files without lines."""

from __future__ import annotations

from pathlib import Path

from sizewell.specs.errors import BadInputError

LONGEST_LINE_BYTES = 2**20


def refuse_endless(path: Path) -> None:
    """Raise BadInputError where a path is a device or pipe, or no line of the file ends in its first MiB."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise BadInputError(f"{path}: is a device or pipe: save the table to a file first")
        with path.open("rb") as stream:
            start = stream.read(LONGEST_LINE_BYTES)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(start) == LONGEST_LINE_BYTES and not any(end in start for end in (b"\n", b"\r")):
        raise BadInputError(f"{path}: no line ends in its first MiB: it is no table")
