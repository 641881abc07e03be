"""The logs of a started deployment as they grow, all its replicas side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sizewell.cli.watching import MOST_SILENT
from sizewell.specs.errors import UnreachableError

if TYPE_CHECKING:
    from sizewell.deployer.started import Runner, Where

READ_S: Mapping[Where, float] = {"local": 0.2, "slurm": 0.5, "kubernetes": 3.0}
ASKED_S: Mapping[Where, float] = {"local": 0.2, "slurm": 10.0, "kubernetes": 3.0}
"""How often a log is read, and how often its system is asked whether it has ended: a scheduler has others to answer."""


def follow(running: Runner, where: Where, labels: Mapping[int, str], tail: int | None) -> Iterator[str]:
    """Yield lines as they come, each behind the label of its replica, until all of them have ended.

    Of what is there at first only the last `tail` lines of each. Raises UnreachableError where the system stays silent.
    """
    rest, asked_s, silent = dict.fromkeys(labels, ""), -ASKED_S[where], 0
    over = False
    most: dict[int, int | None] = dict.fromkeys(labels, tail)
    while not over:
        try:
            if time.monotonic() - asked_s >= ASKED_S[where]:
                # Asked before the log is read: what was written until the end is read whole.
                asked_s = time.monotonic()
                over, silent = _is_over(running, labels), 0
        except UnreachableError:  # the logs may be read all the same
            silent += 1
            if silent > MOST_SILENT:
                raise
        for number, label in labels.items():
            if (text := _news(running, number)) is None:
                continue
            *whole, rest[number] = (rest[number] + text).split("\n")
            last = [rest[number]] if over and rest[number] else []
            yield from (f"{label}{line}" for line in (whole + last)[-(most[number] or 0) :])
            most[number] = None
        if not over:
            time.sleep(READ_S[where])


def _news(running: Runner, number: int) -> str | None:
    """Return what a log gained; None where the system that holds it is silent."""
    try:
        return running.news(number).text
    except UnreachableError:
        return None


def _is_over(running: Runner, labels: Mapping[int, str]) -> bool:
    facts = running.facts()
    return all(facts[number].stage == "ended" for number in labels if number < len(facts))
