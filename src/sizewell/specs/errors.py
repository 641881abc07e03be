"""The errors a user can fix: one line each, with the value, the next step and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

FEW = 12
"""Names that are simply listed when none looks like the one asked for."""


class SizewellError(Exception):
    """Base of every error whose cause lies in the input; the message is the whole explanation."""

    exit_code: ClassVar[int] = 2


class BadInputError(SizewellError):
    """A value that cannot be meant: unreadable file, wrong type, out of range, contradiction."""


class UnknownNameError(SizewellError):
    """A name no catalogue entry carries; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = list(known)
        near = nearest_names(name, names)
        all_of_them = f"; there are {', '.join(names)}" if names else "; there is none"
        few = all_of_them if len(names) <= FEW else ""
        guess = f"; did you mean {', '.join(near)}?" if near else few
        super().__init__(f"unknown {kind} {name!r}{guess}{' ' + hint if hint else ''}")


class UnknownArchitectureError(SizewellError):
    """A model whose layers we do not understand; never approximated silently."""


class NoFeasiblePlanError(SizewellError):
    """Nothing in the catalogue holds under the stated limits."""

    exit_code = 3


class MissedGateError(SizewellError):
    """What was made is worse than what it would replace; it is not kept."""

    exit_code = 4


class UnreachableError(SizewellError):
    """A hub or server that did not answer."""

    exit_code = 5


def nearest_names(name: str, known: Iterable[str], count: int = 3, *, cutoff: float = 0.5) -> list[str]:
    """Return up to `count` known names that look like `name`, best first; `cutoff` is the least likeness, 0 to 1."""
    if not name.strip():
        return []
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), list(by_lower), n=count, cutoff=cutoff)
    contained = [key for key in sorted(by_lower) if name.lower() in key][:count]
    return [by_lower[key] for key in dict.fromkeys([*close, *contained])][:count]
