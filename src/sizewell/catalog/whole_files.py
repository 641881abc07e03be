"""Files that are written whole or not at all: a reader sees the old one or the new one, whatever interrupts us."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import IO, Any

from sizewell.specs.errors import BadInputError


def check_writable(path: Path) -> None:
    """Refuse a place nothing can be written to, before any work is done for it; raises BadInputError."""
    folder = path.parent
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder: name a file")
    if not folder.is_dir():
        raise BadInputError(f"{path}: there is no folder {folder}: make it first")
    if not os.access(path if _is_device(path) else folder, os.W_OK):
        raise BadInputError(f"{path}: cannot be written: no permission for {folder}")


@contextmanager
def whole_file(path: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file beside `path` that takes its name when the block ends well, and leaves nothing when it does not.

    Devices and pipes are written as they are. Raises BadInputError where the system refuses.
    """
    try:
        if _is_device(path):
            with _opened(path, binary) as device:
                yield device
            return
        handle, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            with _opened(Path(name), binary) as new:
                yield new
            os.chmod(name, _usual_mode(path))
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be written: {error.strerror or error}; name another file") from error


def _opened(path: Path, binary: bool) -> IO[Any]:
    if binary:
        return path.open("wb")
    return path.open("w", encoding="utf-8", newline="")


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _usual_mode(path: Path) -> int:
    """Return the mode the file has, or would have been made with."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
