"""What the simulator must know of a replica: its engine's limits and rules, its cache, and how long steps take."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.cache_kinds import Kind
from sizewell.costs.kv_cache import CacheLayout
from sizewell.costs.surface import StepSurface
from sizewell.simulator.sglang_rules import SglangRules, release_of
from sizewell.specs.deployment import EngineSettings, Parallelism
from sizewell.specs.engine import EngineSpec
from sizewell.specs.engine_loops import PROMPTS_FIRST
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Ints

Scheduler = Literal["vllm", "sglang"]
Policy = Literal["fcfs", "priority"]
Router = Literal["round-robin", "least-requests", "least-tokens", "session", "prefix"]
ROUTERS: tuple[Router, ...] = ("round-robin", "least-requests", "least-tokens", "session", "prefix")
"""In the order of their numbers in `simulator.router`."""
PAGE_TOKENS = 16
BALANCE_STEPS = 50
"""Steps TensorRT-LLM lets prompts wait under attention_dp_config.enable_balance, unless told otherwise."""
DP_CONSERVATIVENESS = 0.3
"""SGLang expects less of running sequences when attention is data-parallel."""
COUNTS = (
    "block_tokens", "max_num_seqs", "max_num_batched_tokens", "max_model_len_tokens", "receive_steps", "stages", "ranks"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerRules:
    """What differs between versions of vLLM's scheduler.

    `async_scheduling`: a step is formed while the one before still runs. `reserve_prompt`: a prompt is admitted when
    all of it has blocks, though only a chunk takes them. `unhashed_first`: freed blocks that were never full are
    reused first. `long_prefill_alone`: the long-prefill threshold also holds for a request that is alone.
    `sparse_windows`: of a sliding window's blocks only those stay findable from which a prompt can be gone on with: at
    its own end, or where another prompt was seen to part from it. `windows_wait`: blocks behind a window are given
    back when no batch in flight can read them. `pads_drafts`: a sequence admitted with one token left to compute is
    given as many as one that decodes with drafts.
    """

    async_scheduling: bool = True
    reserve_prompt: bool = True
    unhashed_first: bool = True
    long_prefill_alone: bool = False
    sparse_windows: bool = True
    windows_wait: bool = True
    pads_drafts: bool = True

    @classmethod
    def of(cls, version: str) -> SchedulerRules:
        """Return the rules of a vLLM release, e.g. `0.11.0`."""
        release = release_of(version)
        return cls(
            async_scheduling=release >= (0, 14),
            reserve_prompt=release >= (0, 19),
            unhashed_first=release >= (0, 24),
            long_prefill_alone=release < (0, 30),
            sparse_windows=release >= (0, 30),
            windows_wait=release >= (0, 30),
            pads_drafts=release >= (0, 30),
        )

    @classmethod
    def of_sglang(cls, version: str) -> SchedulerRules:
        """Return the rules of an SGLang release, which overlaps scheduling with the step before since 0.4."""
        return cls(async_scheduling=release_of(version) >= (0, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockGroup:
    """Layers that share a table of blocks: what they cache, the span they see, the most entries at admission."""

    kind: Kind = "full"
    span_tokens: int = 0
    most_blocks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFacts:
    """One replica as it is simulated. Limits hold for each data-parallel rank, and so do `blocks`.

    `blocks` is the engine's count, the null block among them. `depth` batches are in flight at once: one, two under
    async scheduling, one for each of the pipeline `stages`. `drafts` tokens are proposed each step, each accepted
    with probability `acceptance` if those before it were; with `draft_layers` the drafter keeps keys and values of its
    own, so blocks are held for the drafts ahead and the last block of a cached prefix is computed again.
    `host_blocks` more are kept in host memory, from where a token's cache comes back in `host_token_s`. With
    `pin_prefixes` the beginnings of prompts that several sessions share are never evicted once they are computed.
    `pool_tokens`, where given, is what an SGLang pool of single tokens holds: it is counted in tokens, though sequences
    hold blocks, of which there are then enough for each of them to leave one in part unused.
    `scheduler` sglang takes `max_num_batched_tokens` as the size of a prefill chunk, `conservativeness` as how much of
    their output it expects of running sequences, and looks for requests every `receive_steps` steps that decode;
    with `fixed_lengths` it is told to ignore ends of sequence, so that outputs are as long as was asked for.
    `watermark_fraction` of the blocks stays free when a request is admitted beside others. Data-parallel ranks that
    all decode let prompts wait until every rank has one, for at most `balance_steps` steps. `request_s` goes by before
    a request reaches the scheduler. `jumps` False forms every
    step: the same result, slower.
    """

    surface: StepSurface
    blocks: int
    block_tokens: int = 16
    groups: tuple[BlockGroup, ...] = (BlockGroup(),)
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len_tokens: int = 131_072
    prefix_caching: bool = True
    chunked_prefill: bool = True
    long_prefill_tokens: int = 0
    policy: Policy = "fcfs"
    rules: SchedulerRules = SchedulerRules()
    scheduler: Scheduler = "vllm"
    sglang_rules: SglangRules = field(default_factory=SglangRules)
    conservativeness: float = 1.0
    receive_steps: int = 1
    fixed_lengths: bool = False
    pool_tokens: int = 0
    host_blocks: int = 0
    host_token_s: float = 0.0
    pin_prefixes: bool = False
    stages: int = 1
    ranks: int = 1
    drafts: int = 0
    draft_layers: bool = True
    watermark_fraction: float = 0.0
    balance_steps: int = 0
    acceptance: float = 0.0
    request_s: float = 0.0
    seed: int = 0
    jumps: bool = True

    def __post_init__(self) -> None:
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise BadInputError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.blocks < 2:
            raise BadInputError(f"the cache has {self.blocks} blocks: one is kept back, so give at least 2")
        if self.host_blocks and len(self.groups) > 1:
            raise BadInputError(f"{len(self.groups)} groups of layers cache unalike: only one kind is kept on the host")
        if self.pin_prefixes and any(group.kind != "full" for group in self.groups):
            raise BadInputError("prefixes are pinned only where all layers keep every token")
        if not 0.0 <= self.watermark_fraction < 1.0:
            raise BadInputError(f"a fraction of {self.watermark_fraction:g} of the cache stays free: give 0 to below 1")
        if not 0.0 <= self.acceptance <= 1.0:
            raise BadInputError(f"drafts are accepted with probability {self.acceptance:g}: give 0 to 1")

    @property
    def overlaps_steps(self) -> bool:
        """Whether a step is formed while the one before runs: not with several pipeline stages, where a token must have
        left the last one before it can enter the first.
        """
        return self.rules.async_scheduling and self.stages == 1

    @property
    def depth(self) -> int:
        """Batches in flight at once."""
        return 2 if self.overlaps_steps else self.stages

    @property
    def lookahead_tokens(self) -> int:
        """Tokens beyond those computed in a step that a sequence holds blocks for."""
        return self.drafts if self.draft_layers else 0

    def can_serve(self, input_tokens: Ints, output_tokens: Ints, aside: Ints | int = 0) -> NDArray[np.bool_]:
        """Return which requests an empty replica can serve whole: within the context, and within its blocks but for
        those set `aside`.

        Before its last token a sequence has blocks for the drafts it is computed with, those of the step still in
        flight where steps overlap, and those it looks ahead for.
        """
        total = input_tokens + output_tokens
        ahead = self.drafts * (1 + self.overlaps_steps) + self.lookahead_tokens
        reach = np.minimum(total - 1 + ahead, self.max_model_len_tokens)
        held = -(-reach // self.block_tokens)
        if self.pool_tokens:
            # A page is one token, and one more is to be left when a request is admitted; drafts come on top.
            alone = total + self.drafts + 2 + aside * self.block_tokens <= self.pool_tokens
            served: NDArray[np.bool_] = alone & (total <= self.max_model_len_tokens)
            return served
        if self.scheduler == "sglang":
            held = -(-(total + self.drafts + self.block_tokens + 1) // self.block_tokens)
        needed = np.zeros_like(held)
        # What is computed in one step has blocks in every group, beside those still seen, or read by batches in flight.
        computed = self.max_num_batched_tokens * (self.depth if self.rules.windows_wait else 1)
        for group in self.groups:
            spanned = -(-(group.span_tokens - 1 + computed) // self.block_tokens) + 1
            most = max(group.most_blocks, spanned) if group.most_blocks else held
            needed += group.most_blocks if group.kind == "state" else np.minimum(held, most)
        chunked = self.chunked_prefill | (input_tokens <= self.max_num_batched_tokens)
        fits: NDArray[np.bool_] = (total <= self.max_model_len_tokens) & (needed <= self.blocks - 1 - aside) & chunked
        return fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Replicas that are all alike behind a router.

    `round-robin`: in turn. `least-requests`, `least-tokens`: the one with the fewest outstanding requests, or tokens
    of them. `session`: requests of a session stay together. `prefix`: a request goes where the longest beginning of
    its prompt was sent, if that is half of it and the replica has not far more to do than the idlest.
    """

    replica: ReplicaFacts
    replicas: int = 1
    router: Router = "round-robin"

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise BadInputError(f"a fleet of {self.replicas} replicas: give at least 1")
        if self.router not in ROUTERS:
            raise BadInputError(f"no router is called {self.router!r}: give one of {', '.join(ROUTERS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What carries caches from one pool to another: a line for every engine (data-parallel rank) of both.

    A block of the decode pool keeps the sender's line busy for `send_block_s` and the receiver's for
    `receive_block_s`; the last of it comes `latency_s` later.
    """

    name: str = "network"
    latency_s: float = 0.0
    send_block_s: float = 0.0
    receive_block_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("latency_s", "send_block_s", "receive_block_s"):
            if not 0 <= getattr(self, name) < inf:
                raise BadInputError(f"{self.name}: {name} is {getattr(self, name):g}: give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disaggregated:
    """A pool of replicas that compute prompts and one of replicas that decode, joined by a network."""

    prefill: Fleet
    decode: Fleet
    network: Network = Network()


def block_groups(layout: CacheLayout) -> tuple[BlockGroup, ...]:
    """Return the groups of a cache layout, each with the most blocks one request is admitted with."""
    rules, size = layout.rules, layout.block_tokens
    found: list[BlockGroup] = []
    for kind, count in zip(layout.kinds, layout.groups, strict=True):
        most = 0
        if kind.kind == "window":
            most = ceil((kind.span_tokens - 1 + rules.in_flight_tokens) / size) + 1
        elif kind.kind == "chunk":
            most = ceil((kind.span_tokens + rules.in_flight_tokens) / size)
        elif kind.kind == "state":
            most = rules.state_blocks
        found += [BlockGroup(kind=kind.kind, span_tokens=kind.span_tokens, most_blocks=most)] * count
    return tuple(found) or (BlockGroup(),)


def replica_facts(
    surface: StepSurface, cache: tuple[CacheLayout, int], engine: EngineSpec, settings: EngineSettings, cut: Parallelism
) -> ReplicaFacts:
    """Return the facts of a replica: `cache` is its layout and its blocks, as `costs` counts them.

    Layouts without groups are played as one group that keeps every token.
    """
    layout, blocks = cache
    sglang = engine.name == "sglang"
    single = sglang and layout.block_tokens == 1
    size = PAGE_TOKENS if single else layout.block_tokens
    # SGLang has its padding slot beside the pool.
    blocks = ceil(blocks / size) + settings.max_num_seqs + 1 if single else blocks + sglang
    return ReplicaFacts(
        surface=surface,
        blocks=blocks,
        pool_tokens=cache[1] if single else 0,
        block_tokens=size,
        groups=(BlockGroup(),) if layout.rules.style == "flat" else block_groups(layout),
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        max_model_len_tokens=settings.max_model_len_tokens,
        prefix_caching=settings.prefix_caching,
        pin_prefixes=settings.pin_prefixes,
        policy="priority" if settings.by_priority else "fcfs",
        chunked_prefill=settings.chunked_prefill,
        rules=SchedulerRules.of_sglang(engine.version) if sglang else SchedulerRules.of(engine.version),
        scheduler="vllm" if PROMPTS_FIRST.isdisjoint(engine.tags) else "sglang",
        sglang_rules=SglangRules.of(engine.version),
        conservativeness=DP_CONSERVATIVENESS if sglang and cut.dp > 1 else 1.0,
        stages=cut.pp,
        ranks=cut.dp,
        drafts=settings.speculative_tokens,
    )
