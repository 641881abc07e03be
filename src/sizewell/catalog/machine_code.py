"""Keeps the simulator's compiled code in a folder, so that only the first run on a machine compiles it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CodeFolder:
    """A folder of code files; one that cannot be written keeps nothing and is no error."""

    folder: Path

    @classmethod
    def usual(cls) -> CodeFolder:
        """Return `sizewell` in the user's cache folder."""
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(base) / "sizewell")

    def read(self, name: str) -> bytes | None:
        """Return what was kept under a name, None if nothing was."""
        with suppress(OSError):
            return (self.folder / f"{name}.o").read_bytes()
        return None

    def write(self, name: str, code: bytes) -> None:
        """Keep code under a name; a file appears whole or not at all."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f"{name}.{os.getpid()}.part"
            part.write_bytes(code)
            part.replace(self.folder / f"{name}.o")
