"""A load another tool measured, as a run: what the readers of all tools end in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf, isfinite

from sizewell.driver.gates import Gate
from sizewell.driver.recording import REFUSALS, Recording, as_run
from sizewell.specs.errors import BadInputError
from sizewell.traffic.run import FAILED, REJECTED, UNFINISHED, Run
from sizewell.traffic.stated import Stated

MOST_ERROR_CHARACTERS = 300
STATUS = re.compile(r"HTTP Error (\d{3})|'(\d{3}) [A-Z]")
"""How inference-perf and GuideLLM (httpx) write the status of a request that failed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Imported:
    """One load another tool measured: its raw times, the run they make, and what the file itself makes doubtful.

    `concurrency`: requests in flight of a closed loop; None of an open one, and where the file does not say.
    `stated`: the tool's figures where the file holds no request, and so no rows; `rate`: at which they came, infinite
    for all at once.
    """

    tool: str
    label: str
    run: Run
    recordings: tuple[Recording, ...]
    concurrency: int | None = None
    gates: tuple[Gate, ...] = ()
    stated: Stated | None = None
    rate: float | None = None


def failed_status(words: str) -> int:
    """Return whether a server refused a request, or it failed, by what a tool says of it."""
    found = STATUS.search(words)
    return REJECTED if found and int(found[1] or found[2]) in REFUSALS else FAILED


def as_stated(tool: str, stated: Stated, *, concurrency: int | None, rate: float | None) -> Imported:
    """Return a load of which only figures are known; a bound of connections under a rate is no load.

    `rate` is infinite where all came at once; where nobody says what was offered, it came as it was served.
    """
    closed = concurrency if concurrency and not isfinite(rate or inf) else None
    paced = None if closed else rate or stated.offered / stated.window_s
    return Imported(
        tool=tool, label=str(closed) if closed else f"{paced:.3g}/s", run=as_run([]), recordings=(),
        concurrency=closed, stated=stated, rate=paced,
    )  # fmt: skip


def as_imported(tool: str, label: str, rows: list[Recording], *, gaps_known: bool = True) -> Imported:
    """Return a load with its rows by when they were due, from time zero; what was never due is left out.

    Raises BadInputError where nothing was, or no token has a time.
    """
    due = sorted((one for one in rows if isfinite(one.scheduled_s)), key=lambda one: one.scheduled_s)
    if not due:
        raise BadInputError(f"the {tool} result holds no request")
    if not any(one.token_s or one.error or one.status == UNFINISHED for one in due):
        raise BadInputError(f"the {tool} result holds no token times: measure with streaming on")
    zero = due[0].scheduled_s
    for number, one in enumerate(due):
        one.row = number
        one.scheduled_s -= zero
        one.sent_s -= zero
        one.first_answer_s -= zero
        one.token_s = [at - zero for at in one.token_s]
    return Imported(tool=tool, label=label, run=as_run(due, gaps_known=gaps_known), recordings=tuple(due))
