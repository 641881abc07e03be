"""Keeps the simulator's compiled code in a folder, so that only the first run on a machine compiles it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class CodeFolder:
    """A folder of code files, each behind its own digest: a damaged one is as good as none.

    A folder that cannot be written keeps nothing and is no error.
    """

    folder: Path

    @classmethod
    def usual(cls) -> CodeFolder | None:
        """Return `sizewell` in the user's cache folder, None for a user without a home."""
        if os.environ.get("XDG_CACHE_HOME"):
            return cls(Path(os.environ["XDG_CACHE_HOME"]) / "sizewell")
        with suppress(RuntimeError):
            return cls(Path.home() / ".cache" / "sizewell")
        return None

    def read(self, name: str) -> bytes | None:
        """Return what was kept under a name, None if nothing was or if it is damaged."""
        with suppress(OSError):
            kept = (self.folder / f"{name}.code").read_bytes()
            digest, code = kept[:DIGEST_BYTES], kept[DIGEST_BYTES:]
            return code if sha256(code).digest() == digest else None
        return None

    def write(self, name: str, code: bytes) -> None:
        """Keep code under a name; a file appears whole or not at all, whoever else writes it meanwhile."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self.folder, prefix=f"{name}.", suffix=".part", delete=False) as part:
                try:
                    part.write(sha256(code).digest() + code)
                    part.flush()
                    Path(part.name).replace(self.folder / f"{name}.code")
                finally:
                    Path(part.name).unlink(missing_ok=True)
