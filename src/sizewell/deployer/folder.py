"""Rendered files in a folder: all of them or none, and nothing of somebody else's overwritten."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from sizewell.specs.errors import BadInputError

EXECUTABLE = (".sh", ".sbatch")


def write(files: Mapping[str, str], folder: Path, *, force: bool = False) -> None:
    """Write `files` under `folder`, made if need be; each appears whole, and none before all could be written.

    Raises BadInputError for a file that exists (unless `force`), and where the system refuses.
    """
    present = [path for path in files if (folder / path).exists()]
    if present and not force:
        raise BadInputError(f"{folder / present[0]}: exists already: --force replaces it, or name another --output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged = Path(mkdtemp(dir=folder, prefix=".rendered-"))
        try:
            for path, text in files.items():
                (staged / path).write_text(text, encoding="utf-8", newline="\n")
                (staged / path).chmod(0o755 if path.endswith(EXECUTABLE) else 0o644)
            for path in files:
                os.replace(staged / path, folder / path)
        finally:
            rmtree(staged)
    except OSError as error:
        raise BadInputError(f"{folder}: cannot be written: {error.strerror or error}") from error
