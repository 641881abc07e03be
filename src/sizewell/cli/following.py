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
    over, most = False, tail
    while not over:
        try:
            if time.monotonic() - asked_s >= ASKED_S[where]:
                # Asked before the log is read: what was written until the end is read whole.
                over, asked_s = _is_over(running, labels), time.monotonic()
            for number, label in labels.items():
                *whole, rest[number] = (rest[number] + running.news(number).text).split("\n")
                last = [rest[number]] if over and rest[number] else []
                yield from (f"{label}{line}" for line in (whole + last)[-(most or 0) :])
            most, silent = None, 0
        except UnreachableError:
            silent += 1
            if silent > MOST_SILENT:
                raise
        if not over:
            time.sleep(READ_S[where])


def _is_over(running: Runner, labels: Mapping[int, str]) -> bool:
    facts = running.facts()
    return all(facts[number].stage == "ended" for number in labels if number < len(facts))
