"""Recorded requests played again: as they came, faster, or at another rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sizewell.traffic.arrivals import mean_rate_per_s
from sizewell.traffic.bounds import require
from sizewell.traffic.requests import NONE, Requests


def offered_rate_per_s(requests: Requests) -> float:
    """Return the rate of the requests that wait for nobody: gaps over the time between the first and the last.

    Raises BadInputError where they all come at one moment, as in a closed loop.
    """
    return mean_rate_per_s(requests.arrival_s[requests.after == NONE])


def at_mean_rate(requests: Requests, rate_per_s: float) -> Requests:
    """Return the requests with arrivals stretched so that `offered_rate_per_s` is this; pauses of users stay."""
    require("request rate per s", rate_per_s, low=1e-6, high=1e6)
    return sped_up(requests, rate_per_s / offered_rate_per_s(requests))


def sped_up(requests: Requests, factor: float) -> Requests:
    """Return the requests arriving `factor` times as fast; pauses of users between their requests stay."""
    require("the speed of a replay", factor, low=1e-9, high=1e9)
    free = requests.after == NONE
    return replace(requests, arrival_s=np.where(free, requests.arrival_s / factor, requests.arrival_s))
