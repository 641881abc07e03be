"""Makes the world a simulation plays in: arrays for requests, engines and their pools, before anything happens."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from sizewell.simulator.facts import ROUTERS, Fleet, Network, ReplicaFacts
from sizewell.simulator.fields import (
    BATCH,
    BLOCK,
    CLOCK,
    DUE,
    ENGINE,
    ENTRY,
    GAP,
    GROUP,
    HOME,
    LINE,
    MOVE,
    NETWORK,
    PLACE,
    RECORD,
    REQUEST,
    RULES,
    SAMPLE,
    SEQUENCE,
    SLOT,
    STANDING,
)  # fmt: skip
from sizewell.simulator.landing import GAP_BINS_PER_E, GAP_LOG_START
from sizewell.simulator.pinning import Pins
from sizewell.simulator.state import (
    CHUNK,
    FCFS,
    FULL,
    NONE,
    PRIORITY,
    SGLANG,
    STATE,
    VLLM,
    WINDOW,
    Pair,
    Records,
    Smalls,
    World,
)  # fmt: skip
from sizewell.simulator.tournament import enter
from sizewell.traffic.requests import Ints, Requests

KINDS = {"full": FULL, "window": WINDOW, "chunk": CHUNK, "state": STATE}
GAP_BINS = int((14.0 - GAP_LOG_START) * GAP_BINS_PER_E)
SAMPLES = 4096
EVENTS_PER_CALL = 20_000
"""Events after which whoever plays gets a chance to stop."""
RATIO_START, RATIO_LEAST, RATIO_STEPS = 0.7, 0.14, 600
"""SGLang expects running sequences to use so much of their output; the share falls to a part of that in some steps."""
LEAST_HOMES, MOST_HOMES = 1 << 16, 1 << 24
LISTS = ("running", "ended", "asked", "moved", "order")
"""What an engine keeps of requests in an order of its own, at most one for each seat."""
DRAWS = 65_521
"""Drafts are drawn ahead, so many times: a prime, so that sequences walk through all of them."""


def make_world(
    fleet: Fleet, requests: Requests, horizon_s: float = inf, lines: int = 0, *, counted: bool = False
) -> World:
    """Return the world before the first request comes; `counted` blocks are not told apart (`only_counted`)."""
    facts = fleet.replica
    engines, seats = fleet.replicas * facts.ranks, min(facts.max_num_seqs, max(len(requests), 1))
    entries, followed = (1, 1) if counted else (_table_entries(facts, requests), facts.blocks)
    follower_start, followers = _followers(requests)
    return World(
        rules=_rules(fleet, lines, seats, counted),
        groups=_groups(facts), requests=_requests(facts, requests), sequences=_sequences(requests),
        **{name: np.array(getattr(requests, name)) for name in ("segment_start", "segment_id", "segment_tokens")},
        clock=_clock(facts, requests, horizon_s),
        gaps=_records(GAP_BINS, GAP),
        log=_records(lines, RECORD),
        draws=_draws(facts),
        states=_states(engines, facts, seats),
        blocks=_blocks(engines, followed),
        places=_places(engines, followed),
        tables=np.zeros((engines, len(facts.groups), seats, entries), dtype=np.int32),
        held=_counts(engines, len(facts.groups), seats),
        passed=_counts(engines, len(facts.groups), seats),
        hits=np.zeros((engines, len(facts.groups), entries), dtype=np.int32),
        slots=_records((engines, seats), SLOT),
        keys=np.zeros((engines, entries), dtype=np.int64),
        spare=np.tile(np.arange(seats)[::-1], (engines, 1)),
        **{name: np.zeros((engines, seats), dtype=np.int64) for name in LISTS},
        heap=np.zeros((engines, len(requests) * (facts.policy == "priority")), dtype=np.int64),
        batches=_records((engines, facts.depth), BATCH),
        entries=_records((engines, facts.depth, seats), ENTRY),
        **_host_pools(engines, facts),
        starters=np.flatnonzero(requests.after == NONE),
        follower_start=follower_start,
        followers=followers,
        agenda=_records(len(requests) + 1, DUE),
        samples=_records(SAMPLES, SAMPLE),
        soonest=new_tournament(fleet.replicas, np.inf),
        idlest=new_tournament(fleet.replicas, 0.0),
        homes=_homes(fleet, requests),
        surface=_own(facts.surface),
    )  # fmt: skip


def _counts(*shape: int) -> Smalls:
    return np.zeros(shape, dtype=np.int32)


def only_counted(facts: ReplicaFacts, requests: Requests) -> bool:
    """Return whether nobody ever looks for the content of a block, but for a sequence that has lost its own."""
    named = (requests.think_id != NONE) | (requests.output_id != NONE) | (requests.shared_tokens >= facts.block_tokens)
    return not facts.prefix_caching or not (named.any() or facts.host_blocks)


def make_pair(prefill: World, decode: World, network: Network) -> Pair:
    """Return two pools and the network between them; nothing comes to the second by itself."""
    prefill.rules.hands_over = decode.rules.takes_over = 1
    return Pair(
        prefill=prefill,
        decode=decode._replace(starters=np.empty(0, dtype=np.int64)),
        network=_filled(
            1, NETWORK, latency_s=network.latency_s, send_block_s=network.send_block_s,
            receive_block_s=network.receive_block_s,
        ),
        moves=_filled(len(prefill.sequences), MOVE, asked_s=np.nan, left_s=np.nan, came_s=np.nan),
        senders=_records(len(prefill.states), LINE),
        receivers=_records(len(decode.states), LINE),
    )  # fmt: skip


def _host_pools(engines: int, facts: ReplicaFacts) -> dict[str, Any]:
    """Return the blocks in host memory; one more closes the ring."""
    return {
        "host_states": _filled(engines, ENGINE, free=facts.host_blocks),
        "host_blocks": _blocks(engines, facts.host_blocks + 1),
        "host_places": _places(engines, facts.host_blocks + 1),
    }


def _table_entries(facts: ReplicaFacts, requests: Requests) -> int:
    """Return the entries a table of blocks needs for the longest request that is served."""
    longest = int((requests.input_tokens + requests.output_tokens).max(initial=1)) + 1
    longest = min(longest, facts.max_model_len_tokens) + facts.drafts
    return int(max(-(-longest // facts.block_tokens), *(group.most_blocks for group in facts.groups))) + 1


def _homes(fleet: Fleet, requests: Requests) -> Records:
    """Return what a router remembers contents in: each has one place, from which it may push another out."""
    contents = len(np.unique(requests.segment_id)) if fleet.router == "prefix" else 0
    places = min(max(4 * contents, LEAST_HOMES), MOST_HOMES) if fleet.router == "prefix" else 1
    return _filled(places, HOME, content=NONE)


def new_tournament(contestants: int, value: float) -> Records:
    """Return a tournament of equals; places that nobody takes never win."""
    half = 1 << (contestants - 1).bit_length()
    tree = _filled(2 * half, STANDING, value=np.inf, turn=2**62)
    for contestant in range(contestants):
        enter(tree, contestant, value, 0)
    return tree


def _records(shape: int | tuple[int, ...], kind: np.dtype[Any]) -> Records:
    return np.zeros(shape, dtype=kind).view(np.recarray)


def _filled(shape: int | tuple[int, ...], record: np.dtype[Any], **fields: Any) -> Records:
    records = _records(shape, record)
    for name, values in fields.items():
        records[name] = values
    return records


def _rules(fleet: Fleet, log_lines: int, seats: int, counted: bool) -> Records:
    facts, rules = fleet.replica, fleet.replica.rules
    sglang = facts.scheduler == "sglang"
    return _filled(
        1, RULES, max_num_seqs=seats, max_num_batched_tokens=facts.max_num_batched_tokens,
        max_model_len_tokens=facts.max_model_len_tokens, block_tokens=facts.block_tokens,
        long_prefill_tokens=facts.long_prefill_tokens, long_prefill_alone=rules.long_prefill_alone,
        chunked_prefill=facts.chunked_prefill, reserve_prompt=rules.reserve_prompt and not sglang,
        prefix_caching=facts.prefix_caching, unhashed_first=rules.unhashed_first or sglang,
        async_scheduling=facts.overlaps_steps, depth=facts.depth, stages=facts.stages, ranks=facts.ranks,
        balance_steps=facts.balance_steps if facts.ranks > 1 else 0, receive_steps=facts.receive_steps,
        drafts=facts.drafts, lookahead_tokens=facts.lookahead_tokens, drop_last_hit=facts.lookahead_tokens > 0,
        watermark_blocks=int(facts.watermark_fraction * facts.blocks), sparse_windows=rules.sparse_windows,
        windows_wait=rules.windows_wait, pads_drafts=rules.pads_drafts,
        scheduler=SGLANG if sglang else VLLM, ratio_start=_ratio(facts), ratio_least=_ratio(facts) * RATIO_LEAST,
        fixed_lengths=facts.fixed_lengths, expects_fixed_whole=facts.sglang_rules.expects_fixed_whole,
        touches_waiting=facts.sglang_rules.touches_waiting and facts.prefix_caching,
        pool_tokens=facts.pool_tokens, host_blocks=facts.host_blocks, host_token_s=facts.host_token_s,
        ratio_decay=_ratio(facts) * (1 - RATIO_LEAST) / RATIO_STEPS,
        policy=PRIORITY if facts.policy == "priority" else FCFS,
        windowed=any(group.kind != "full" for group in facts.groups), jumps=facts.jumps, counted=counted,
        usable_blocks=facts.blocks - 1,
        router=ROUTERS.index(fleet.router), logged=log_lines > 0,
    )  # fmt: skip


def _ratio(facts: ReplicaFacts) -> float:
    return min(RATIO_START * facts.conservativeness, 1.0)


def _groups(facts: ReplicaFacts) -> Records:
    return _filled(
        len(facts.groups), GROUP, kind=[KINDS[group.kind] for group in facts.groups],
        span_tokens=[group.span_tokens for group in facts.groups],
        most_blocks=[group.most_blocks or 2**40 for group in facts.groups],
    )  # fmt: skip


def _requests(facts: ReplicaFacts, requests: Requests) -> Records:
    pins = Pins.none(len(requests))
    if facts.pin_prefixes and facts.prefix_caching:
        pins = Pins.of(requests, facts.block_tokens, facts.blocks - 1)
    # Of what is pinned a request's own beginning does not stand in its way.
    aside = (pins.total - pins.blocks) * len(facts.groups)
    return _filled(
        len(requests), REQUEST, arrival_s=requests.arrival_s + facts.request_s, after=requests.after,
        priority=requests.priority, session=requests.session, think_id=requests.think_id, output_id=requests.output_id,
        admissible=facts.can_serve(requests.input_tokens, requests.output_tokens, aside), pinned_blocks=pins.blocks,
        private_from=_private_from(facts, requests),
    )  # fmt: skip


def _private_from(facts: ReplicaFacts, requests: Requests) -> Ints:
    """Return the first block of each request that only itself can name; none where other pools keep blocks too."""
    named = (requests.think_id != NONE) | (requests.output_id != NONE)
    apart = len(facts.groups) == 1 and facts.groups[0].kind == "full" and not facts.host_blocks
    return np.where(named | (not apart), np.int64(2**40), requests.shared_tokens // facts.block_tokens)


def _sequences(requests: Requests) -> Records:
    never = np.nan
    return _filled(
        len(requests), SEQUENCE, input_tokens=requests.input_tokens, output_tokens=requests.output_tokens,
        think_tokens=requests.think_tokens, slot=NONE, engine=NONE, cached=NONE, scheduled_s=never, sent_s=never,
        first_s=never, first_answer_s=never, last_s=never, before=NONE, behind=NONE,
    )  # fmt: skip


def _clock(facts: ReplicaFacts, requests: Requests, horizon_s: float) -> Records:
    users = requests.concurrency or 0
    return _filled(
        1, CLOCK, horizon_s=horizon_s, closed=users > 0, users=users, events=EVENTS_PER_CALL,
        think_s=requests.think_s + facts.request_s, request_s=facts.request_s, gap_s=-1.0,
    )  # fmt: skip


def _states(engines: int, facts: ReplicaFacts, seats: int) -> Records:
    return _filled(
        engines, ENGINE, index=np.arange(engines), free=facts.blocks - 1, spare=seats, first=NONE, last=NONE,
        wake_s=np.inf, ratio=_ratio(facts),
    )  # fmt: skip


def _blocks(engines: int, count: int) -> Records:
    """All blocks are free, in order, in a ring closed by the null block."""
    order = np.arange(count)
    return _filled((engines, count), BLOCK, next=np.roll(order, -1), previous=np.roll(order, 1))


def _places(engines: int, count: int) -> Records:
    """An empty map, at most half full."""
    return _records((engines, 1 << (2 * count - 1).bit_length()), PLACE)


def _followers(requests: Requests) -> tuple[Ints, Ints]:
    """Return who waits for whom: [n+1] starts into a list of requests."""
    waiting = np.flatnonzero(requests.after != NONE)
    order = np.argsort(requests.after[waiting], kind="stable")
    counts = np.bincount(requests.after[waiting], minlength=len(requests))
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64), waiting[order]


def _draws(facts: ReplicaFacts) -> Smalls:
    """Return how many drafts in a row are accepted in successive steps, drawn from the seed."""
    if not facts.drafts:
        return np.zeros(1, dtype=np.int32)
    hits = np.random.default_rng(facts.seed).random((DRAWS, facts.drafts)) < facts.acceptance
    accepted: Smalls = np.cumprod(hits, axis=1).sum(axis=1).astype(np.int32)
    return accepted


def _own(tables: Any) -> Any:
    """Return nested tuples of arrays with every array copied: compiled code tells read-only arrays from others."""
    if isinstance(tables, tuple):
        return type(tables)(*map(_own, tables))
    return np.array(tables) if isinstance(tables, np.ndarray) else float(tables)
