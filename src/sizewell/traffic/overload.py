"""Whether a system fell behind: its queue grew for as long as requests came."""

from __future__ import annotations

import numpy as np

from sizewell.traffic.requests import NONE, Requests
from sizewell.traffic.run import REJECTED, Run

LEAST_BACKLOG = 10
LEAST_SHARE = 0.02
GROWTH = 1.25
"""Backlogs at a third, two thirds and the end of the arrivals grow as 1 : 2 : 3 where more comes than is served."""


def overload(requests: Requests, run: Run) -> str:
    """Return in words that requests came faster than they were served, or nothing.

    Only an open loop can be overloaded. Backlog: requests due without a first token; refused ones and those that never
    went are left out.
    """
    free = (requests.after == NONE) & (run.status != REJECTED) & np.isfinite(run.sent_s)
    if requests.in_flight is not None or not free.any():
        return ""
    due = np.sort(run.scheduled_s[free])
    first = np.sort(np.where(np.isnan(run.first_token_s[free]), np.inf, run.first_token_s[free]))
    span_s = float(due[-1] - due[0])
    if span_s <= 0:
        return ""
    times = due[0] + span_s * np.array([1 / 3, 2 / 3, 1.0])
    early, later, last = np.searchsorted(due, times, side="right") - np.searchsorted(first, times, side="right")
    grew = later > GROWTH * early and last > GROWTH * later
    if not grew or last < max(LEAST_BACKLOG, LEAST_SHARE * len(due)):
        return ""
    began = len(due) - int(last)
    what = "requests" if (requests.after == NONE).all() else "conversations"
    return (
        f"{len(due) / span_s:.3g} {what}/s came and {began / span_s:.3g}/s began to be answered: "
        f"{int(last):,} were waiting when the last one came"
    )
