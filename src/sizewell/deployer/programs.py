"""Other programs run to the end: words in, text out, no shell between."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sizewell.specs.errors import BadInputError, UnreachableError

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a program ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """Its words on one line, for people."""
        return " ".join((self.err.strip() or self.out.strip() or f"ended with {self.code}").split())


def run(words: Sequence[str], *, folder: Path | None = None, given: str = "", at_most_s: float = PATIENCE_S) -> Said:
    """Run a program.

    Raises BadInputError where it is not installed, UnreachableError where it does not end in time.
    """
    try:
        done = subprocess.run(
            list(words), cwd=folder, input=given, capture_output=True, text=True, errors="replace", check=False,
            timeout=at_most_s,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BadInputError(
            f"there is no {words[0]} here: go where it is installed, or choose another --target"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(f"{words[0]} did not answer within {at_most_s:g} s") from error
    return Said(code=done.returncode, out=done.stdout, err=done.stderr)
