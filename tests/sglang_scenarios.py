"""What is played through a real SGLang and through the simulator alike: its settings, and requests that come at a step.

Requests are those of scheduler_scenarios.py; ``fixed`` ones are told to ignore the end of sequence.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from scheduler_scenarios import (
    MOST_TOKENS,
    arriving,
    conversations,
    long_answers,
    mixed,
    plain,
    request,
    shared_prompts,
)
from sizewell.simulator.facts import ReplicaFacts, SchedulerRules
from sizewell.simulator.sglang_rules import SglangRules
from surfaces import flat_surface

Json = dict[str, Any]

VERSION = "0.5.23"
KEPT = Path(__file__).parent / "simulator" / "recorded" / f"sglang-{VERSION}.txt"
SETTINGS: Json = {"max_total_tokens": 4096, "page_size": 1, "chunked_prefill_size": 256, "max_running_requests": 32}


def scenario(name: str, requests: list[Json], fixed: bool = False, **settings: Any) -> Json:
    """Return one scenario."""
    return {
        "name": name, "requests": requests, "max_model_len": 2 * MOST_TOKENS, "ignore_eos": fixed,
        "settings": SETTINGS | settings,
    }  # fmt: skip


def streaming(seed: int = 6, count: int = 60) -> list[Json]:
    """Return requests that come one by one, with answers much longer than prompts, some of which begin alike."""
    draw = random.Random(seed)
    rows = []
    for row in range(count):
        shared = draw.choice((0, 0, 32, 50))
        own, output = draw.randrange(1, 60), draw.randrange(100, 400)
        rows.append(request(2 * row, shared + own, output, *([[draw.randrange(3), shared]] if shared else [])))
    return rows


def named_scenarios(page: int, fixed: bool) -> list[Json]:
    """Return the scenarios with a purpose each, for one size of pages."""
    how = f"pages of {page}{', fixed lengths' * fixed}: "
    whole = {"page_size": page, "disable_radix_cache": True}
    return [
        scenario(how + "plain", plain(), fixed, page_size=page),
        scenario(how + "chunked prefill", arriving(), fixed, page_size=page, chunked_prefill_size=64),
        scenario(how + "few sequences", arriving(), fixed, page_size=page, max_running_requests=3),
        scenario(how + "shortage", long_answers(12), fixed, page_size=page, max_total_tokens=1280),
        scenario(how + "shortage, arriving", long_answers(40, together=False), fixed, page_size=page,
                 max_total_tokens=2048),
        scenario(how + "retractions", streaming(), fixed, page_size=page, max_total_tokens=1280,
                 schedule_conservativeness=0.05),
        scenario(how + "shared prompts", shared_prompts(), fixed, page_size=page),
        scenario(how + "shared prompts evicted", shared_prompts(), fixed, page_size=page, max_total_tokens=1280),
        scenario(how + "conversations", conversations(), fixed, page_size=page),
        scenario(how + "conversations evicted", conversations(), fixed, page_size=page, max_total_tokens=1600),
        scenario(how + "without caching", mixed(0), fixed, **whole),
        scenario(how + "without caching, shortage", long_answers(20), fixed, max_total_tokens=1600, **whole),
    ]  # fmt: skip


def drawn(seed: int) -> Json:
    """Return a scenario whose settings and requests are drawn from a seed."""
    draw = random.Random(seed)
    page = draw.choice((1, 1, 16, 32, 64))
    settings = {
        "page_size": page, "max_total_tokens": draw.choice((1280, 1600, 2048, 4096)) // page * page,
        "chunked_prefill_size": draw.choice((64, 128, 192, 256, 512, 1024)),
        "max_running_requests": draw.choice((4, 8, 32, 64)),
        "schedule_conservativeness": draw.choice((0.05, 0.3, 1.0, 1.0)),
        "disable_radix_cache": draw.random() < 0.25,
    }  # fmt: skip
    requests = (
        mixed(seed, 60), shared_prompts(40, seed), conversations(6, 4, seed), long_answers(40, seed, bool(seed % 2)),
        arriving(40, 1 + seed % 4, seed), mixed(seed + 500, 80), streaming(seed), streaming(seed, 40),
    )[draw.randrange(8)]  # fmt: skip
    return scenario(f"drawn {seed}", requests, draw.random() < 0.4, **settings)


def scenarios() -> list[Json]:
    """Return all scenarios."""
    named = [named_scenarios(page, fixed) for page in (1, 16) for fixed in (False, True)]
    return [one for group in named for one in group] + [drawn(seed) for seed in range(40)]


KEPT_NAMES = frozenset(
    {
        "pages of 1: plain", "pages of 1: retractions", "pages of 1, fixed lengths: without caching, shortage",
        "pages of 16: chunked prefill", "pages of 16: shared prompts evicted", "pages of 16: conversations evicted",
        "pages of 16, fixed lengths: shortage", "pages of 1: shared prompts evicted", "drawn 6", "drawn 20",
    }
)  # fmt: skip
"""Scenarios whose records are kept, so that they are compared where there is no SGLang."""


def kept_scenarios() -> list[Json]:
    """Return the scenarios whose records are kept."""
    found = {one["name"]: one for one in scenarios()}
    return [found[name] for name in sorted(KEPT_NAMES)]


def sglang_facts(given: Json) -> ReplicaFacts:
    """Return the facts of the replica that SGLang's settings describe; a pool of single tokens has blocks of one."""
    settings = given["settings"]
    page = settings["page_size"]
    return ReplicaFacts(
        surface=flat_surface(1.0),
        blocks=settings["max_total_tokens"] // page + 1,
        block_tokens=page,
        max_num_seqs=settings["max_running_requests"],
        max_num_batched_tokens=settings["chunked_prefill_size"],
        max_model_len_tokens=given["max_model_len"],
        prefix_caching=not settings.get("disable_radix_cache", False),
        rules=replace(SchedulerRules.of(VERSION), async_scheduling=False),
        scheduler="sglang",
        sglang_rules=SglangRules.of(VERSION),
        conservativeness=settings.get("schedule_conservativeness", 1.0),
        fixed_lengths=given["ignore_eos"],
        jumps=False,
    )
