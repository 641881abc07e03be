"""The memory ledger of a deployment: every line on one GPU, what is left for the cache, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sizewell.costs.kv_cache import CacheLayout
from sizewell.costs.lines import LedgerLine
from sizewell.costs.rank_memory import BASE_LINES, RankMemories, RankMemory
from sizewell.costs.weights import Weights
from sizewell.specs.deployment import Deployment, EngineSettings
from sizewell.specs.errors import NoFeasiblePlanError
from sizewell.specs.figure import Figure, weakest

GIB = 2**30
Verdict = Literal[
    "fits", "weights do not fit", "no room for KV cache", "one sequence does not fit", "overcommitted",
    "the host does not hold it",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MemoryLedger:
    """One GPU of a replica: the one whose pipeline stage decides how many blocks there are.

    `lines` are all residents including the cache; their sum is `total_bytes`. `kv_bytes` is what is left for the
    cache on this GPU (negative when the rest does not fit), `kv_blocks` what every stage of the replica can hold.
    Counts are per data-parallel rank, as engines print them. `host_lacks_bytes` is what a node's own memory lacks to
    hold the weights and the cache that are to lie there.
    """

    lines: tuple[LedgerLine, ...]
    gpu_bytes: float
    budget_bytes: float
    kv_bytes: float
    kv_blocks: int
    layout: CacheLayout
    settings: EngineSettings
    stage: int
    share_of_free: bool = False
    host_lacks_bytes: float = 0.0

    @property
    def total_bytes(self) -> float:
        """All lines added: what the GPU holds once the engine runs."""
        return sum(line.bytes for line in self.lines)

    @property
    def weight_bytes(self) -> float:
        """Weights of this GPU."""
        return sum(line.bytes for line in self.lines if line.name.startswith("weights: "))

    @property
    def headroom_bytes(self) -> float:
        """What stays free on the GPU; negative means that start-up or graph capture fails."""
        return self.gpu_bytes - self.total_bytes

    @property
    def kv_bytes_per_token(self) -> float:
        """Cache bytes of one more token on this GPU."""
        return self.layout.bytes_per_token

    @property
    def kv_tokens(self) -> int:
        """Tokens the cache holds: blocks × block size where all layers cache alike, else at the longest context."""
        if self.layout.is_uniform:
            return self.kv_blocks * self.layout.block_tokens
        length = self.settings.max_model_len_tokens
        return int(self.concurrency(length) * length)

    def concurrency(self, context_tokens: int) -> float:
        """Return how many sequences of `context_tokens` one data-parallel rank holds at once."""
        return self.layout.concurrency(self.kv_blocks, context_tokens)

    @property
    def verdict(self) -> Verdict:
        """The answer in words; anything but `fits` ends with exit code 3."""
        if self.weight_bytes > self.budget_bytes:
            return "weights do not fit"
        if self.kv_blocks <= 0:
            return "no room for KV cache"
        if self.concurrency(self.settings.max_model_len_tokens) < 1:
            return "one sequence does not fit"
        if self.host_lacks_bytes > 0:
            return "the host does not hold it"
        return "fits" if self.headroom_bytes >= 0 else "overcommitted"

    @property
    def exit_code(self) -> int:
        """What a command that asks for this deployment ends with."""
        return 0 if self.fits else NoFeasiblePlanError.exit_code

    @property
    def fits(self) -> bool:
        """Whether the engine starts and serves one sequence of full length."""
        return self.verdict == "fits"

    def _decides(self, line: LedgerLine) -> bool:
        """Whether the cache grows as the line shrinks: SGLang shares out what context and collectives leave."""
        if line.name in BASE_LINES and self.share_of_free:
            return True
        return line.place == "inside" and line.name != "KV cache"

    @property
    def kv_figure(self) -> Figure:
        """Cache bytes with the interval the estimated lines leave."""
        inside = [line for line in self.lines if self._decides(line)]
        spread_up = sum((line.bytes - line.low) ** 2 for line in inside) ** 0.5
        spread_down = sum((line.high - line.bytes) ** 2 for line in inside) ** 0.5
        return Figure(
            value=self.kv_bytes,
            low=self.kv_bytes - spread_down,
            high=self.kv_bytes + spread_up,
            provenance=weakest(*(line.provenance for line in inside)),
        )


def ledger(deployment: Deployment, pool: int = 0, memories: RankMemories | None = None) -> MemoryLedger:
    """Return the memory ledger of one replica of a pool, for the GPU with the least room per block.

    `memories` may be counted already in part.
    """
    chosen, cluster = deployment.pools[pool], deployment.cluster_of(pool)
    gpu = cluster.gpu
    engine = deployment.engine.on(gpu.vendor, gpu.compute_capability)
    if memories is None:
        memories = RankMemories(Weights(deployment.model, deployment.weight_format))
    else:
        engine = memories.telling(engine)
    memory = memories.memory(deployment.kv_format, chosen.parallelism, chosen.settings, engine)
    lacking = max(0.0, deployment.host_bytes_of(pool) - cluster.node.host.ram_bytes)
    return replace(ledger_of(memory, gpu.total_bytes), host_lacks_bytes=lacking)


def ledger_of(memory: RankMemory, gpu_bytes: float) -> MemoryLedger:
    """Return the ledger of a rank on an accelerator that reports `gpu_bytes`."""
    left = memory.kv_bytes(gpu_bytes)
    blocks = memory.blocks(gpu_bytes)
    stage = min(range(len(left)), key=lambda n: left[n] / max(memory.stages[n].layout.bytes_per_block, 1.0))
    chosen = memory.stages[stage]
    cache = _cache_line(chosen.layout, blocks)
    return MemoryLedger(
        lines=(*chosen.weights, *memory.overhead, cache),
        gpu_bytes=gpu_bytes,
        budget_bytes=memory.budget_bytes(gpu_bytes),
        kv_bytes=left[stage],
        kv_blocks=blocks,
        layout=chosen.layout,
        settings=memory.settings,
        stage=stage,
        share_of_free=memory.engine.profile == "sglang",
    )


def _cache_line(layout: CacheLayout, blocks: int) -> LedgerLine:
    return LedgerLine(
        name="KV cache",
        bytes=blocks * layout.bytes_per_block,
        formula="{blocks} blocks × {layers} layers × {page} B a page",
        inputs=(
            ("blocks", blocks),
            ("layers", layout.group_size),
            ("page", layout.bytes_per_block / max(layout.group_size, 1)),
        ),
    )
