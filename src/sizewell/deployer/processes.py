"""Processes told apart for good: a number alone may belong to somebody else by now."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MARK = "SIZEWELL_STARTED_IN"
BOOT = PROC / "sys" / "kernel" / "random" / "boot_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A process as the system shows it: when it was born (never the same twice for one number), and its session."""

    born: str
    session: int


def seen(pid: int) -> Seen | None:
    """Return a living process; None for none, and for one that ended and waits for its parent to notice."""
    if not BOOT.exists():
        return _seen_by_ps(pid)
    try:
        said = (PROC / str(pid) / "stat").read_text(errors="replace")
        boot = BOOT.read_text().strip()
    except OSError:
        return None
    # The name may hold blanks and brackets: what follows its last bracket does not.
    state, _, _, session, *more = said[said.rindex(")") + 1 :].split()
    return None if state in "ZX" else Seen(born=f"{boot}:{more[15]}", session=int(session))


def _seen_by_ps(pid: int) -> Seen | None:
    words = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    state, _, born = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip().partition(" ")
    return Seen(born=born.strip(), session=os.getsid(pid)) if born and not state.startswith("Z") else None


def is_alive(pid: int, born: str) -> bool:
    """Return whether the very process lives."""
    now = seen(pid)
    return now is not None and now.born == born


def kin(pid: int, folder: Path) -> tuple[int, ...]:
    """Return what lives of the session a process began in `folder`, itself included, and what left it with its mark.

    A session of the same number that somebody else began elsewhere is none of it. An engine may overwrite its mark with
    a title, a daemon leaves its session: few do both.
    """
    return tuple(_kin(pid, folder.resolve()))


def mark(folder: Path) -> dict[str, str]:
    """Return the variable that all children of a process inherit: what was started in `folder`."""
    return {MARK: str(folder.resolve())}


def _kin(session: int, folder: Path) -> Iterator[int]:
    marked = f"{MARK}={folder}".encode()
    for path in PROC.glob("[0-9]*"):
        now = seen(int(path.name))
        if now is None:
            continue
        try:
            of_session = now.session == session and os.readlink(path / "cwd") == str(folder)
            if of_session or marked in (path / "environ").read_bytes().split(b"\0"):
                yield int(path.name)
        except OSError:
            continue  # somebody else's, or gone


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
