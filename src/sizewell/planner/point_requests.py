"""The requests a measured load sent, as far as its table and the habits of its benchmark tell.

Conventions, where a table leaves it open: lengths of InferenceX are uniform from 0.8 to 1.0 of the nominal ones, those
of conversations as far apart as `harnesses.conversation` says, all others fixed; closed loops send ten requests for
every user and the first of each at once; open arrivals are Poisson.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from sizewell.planner.harnesses import conversation, is_inferencex
from sizewell.planner.point_cases import PointCase, repeated_prompts
from sizewell.traffic.requests import Requests

Ints = NDArray[np.int64]

SEED = 1
PER_USER = 10
FEWEST = 32
OPEN_REQUESTS = 1000
SHORTEST_TOKENS = 4
SCALINGS = 4
"""Times lengths are stretched to their mean and cut again: what is cut off must come back elsewhere."""
JITTER = 0.005
"""Requests of one length start and end together, wave after wave. Clocks of real machines drift apart by about this
much; SGLang, which computes prompts before it decodes on, brings a wave together again, and so do tests in which all
answers are of one length and nothing else happens."""
_STAGE = re.compile(r"([\d.]+) req/s for ([\d.]+)s")
_COUNT = re.compile(r"(\d+) [\w-]+ requests")
_STATIC = '"static" test'
_TOGETHER = "all at once"


def is_played(case: PointCase) -> bool:
    """Return whether a row states its load well enough to be sent: how many users, what rate or how many requests.

    A load tuned until a limit broke lies wherever the capacity was: only a formula that knows so can answer.
    """
    row = case.row
    if case.tuned:
        return False
    return (
        row.load == "closed_loop" or case.rate_per_s is not None or (row.load == "offline" and bool(row.num_requests))
    )


def offered(case: PointCase, replicas: int, rate_per_s: float, request_s: float) -> Requests:
    """Return what one of `replicas` that share the load is sent; `rate_per_s` per replica under open arrivals.

    `request_s` goes by between a user's requests, outside the engine.
    """
    row, draw = case.row, np.random.default_rng(SEED)
    if case.rate_per_s is not None:
        return _requests(case, _arrivals(case, rate_per_s, replicas, draw), draw)
    users = max(1, round((row.concurrency or 1.0) / replicas))
    if row.load == "offline" or _TOGETHER in row.notes:
        return _requests(case, np.zeros(ceil(row.num_requests / replicas) if row.num_requests else users), draw)
    count = ceil(row.num_requests / replicas) if row.num_requests else max(PER_USER * users, FEWEST)
    return replace(_requests(case, np.zeros(max(count, users)), draw), concurrency=users, think_s=request_s)


def _requests(case: PointCase, arrivals: NDArray[np.float64], draw: np.random.Generator) -> Requests:
    """Return requests at `arrivals`; a prefix that all share is one segment, prompts that return are several."""
    cached, count = round(case.lengths.cached_tokens), len(arrivals)
    prompts, answers = _prompts_and_answers(case, count, draw)
    plain = Requests.of(arrivals, prompts + cached, answers)
    if not cached:
        return plain
    return replace(
        plain,
        segment_start=np.arange(count + 1),
        segment_id=np.arange(count, dtype=np.int64) % repeated_prompts(case.row),
        segment_tokens=np.full(count, cached),
    )


def _prompts_and_answers(case: PointCase, count: int, draw: np.random.Generator) -> tuple[Ints, Ints]:
    prompt, answer = case.lengths.prompt_tokens, case.lengths.output_tokens
    if not case.varied:
        return _whole(_around(case, prompt, count, draw), prompt), _whole(_around(case, answer, count, draw), answer)
    talk = conversation(case.row)
    prompts = _whole(_talked(prompt, talk.prompt_shape, talk.longest_prompt_tokens, count, draw), prompt)
    room = np.maximum(talk.longest_tokens - prompts, answer)
    return prompts, _whole(_talked(answer, talk.answer_shape, room, count, draw), answer)


def _talked(
    mean: float, shape: float, longest: NDArray[np.int64] | float, count: int, draw: np.random.Generator
) -> NDArray[np.float64]:
    """Return gamma distributed lengths up to some longest, of that mean."""
    drawn: NDArray[np.float64] = draw.gamma(shape, mean / shape, count)
    for _ in range(SCALINGS):
        drawn = np.minimum(drawn * (mean / drawn.mean()), longest)
    return drawn


def _around(case: PointCase, mean: float, count: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """Return lengths that are set, not found."""
    if is_inferencex(case.row):
        return draw.uniform(mean * 8 / 9, mean * 10 / 9, count)
    if case.engine == "sglang" or _STATIC in case.row.notes:
        return np.full(count, mean)
    return draw.uniform(mean * (1 - JITTER), mean * (1 + JITTER), count)


def _whole(drawn: NDArray[np.float64], mean: float) -> Ints:
    least = min(SHORTEST_TOKENS, max(1, round(mean)))
    whole: Ints = np.maximum(np.rint(drawn), least).astype(np.int64)
    return whole


def _arrivals(case: PointCase, rate_per_s: float, replicas: int, draw: np.random.Generator) -> NDArray[np.float64]:
    row = case.row
    stages = [(float(rate) / replicas, float(seconds)) for rate, seconds in _STAGE.findall(row.notes)]
    if row.request_rate_per_s or not stages:
        stated = _COUNT.search(row.notes)
        count = row.num_requests or (float(stated[1]) if stated else OPEN_REQUESTS)
        return np.cumsum(draw.exponential(1 / rate_per_s, ceil(count / replicas)))
    found, start = [], 0.0
    for rate, seconds in stages:
        count = draw.poisson(rate * seconds)
        found.append(start + np.sort(draw.uniform(0.0, seconds, count)))
        start += seconds
    return np.concatenate(found)
