"""Programs asked for a text, none of them trusted to answer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

PATIENCE_S = 15.0
_LAST_WAIT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a program said; `problem` is empty where it ended by itself, whatever its exit code."""

    out: str = ""
    err: str = ""
    code: int | None = None
    problem: Literal["", "absent", "refused", "hung"] = ""

    @property
    def complaint(self) -> str:
        """The first line it said when it failed."""
        lines = [line.strip() for line in (self.out + "\n" + self.err).splitlines() if line.strip()]
        return lines[0] if lines else f"exit code {self.code}"


def ask(words: Sequence[str], timeout_s: float = PATIENCE_S) -> Answer:
    """Run a program and return what it said; one that does not end in time is killed and left behind."""
    try:
        process = subprocess.Popen(
            list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError:
        return Answer(problem="absent")
    except OSError as error:
        return Answer(err=str(error), problem="refused")
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Answer(problem="hung")
    finally:
        if process.poll() is None:
            _kill(process)
    return Answer(out=out, err=err, code=process.returncode)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # A process inside a stuck driver cannot be killed: waiting for it would hang here too.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_LAST_WAIT_S)
