"""A deployment: which model runs in which format on which machines, cut how, with which engine settings."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

from sizewell.specs.engine import EAGER_TAG, HOST_TAG, SPLIT_TAG, EngineSpec
from sizewell.specs.hardware import ClusterSpec, LinkSpec
from sizewell.specs.model import ModelSpec

PoolRole = Literal["both", "prefill", "decode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """Weight and KV cache format names: `native` is what the checkpoint stores, `auto` what it asks for."""

    weight: str = "native"
    kv: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """How one replica is cut: tensor, pipeline, data (attention) and expert parallel sizes.

    A replica spans tp × pp × dp accelerators. With ep > 1 routed experts are spread whole over ep = tp × dp ranks;
    with ep = 1 each expert's intermediate axis is cut over tp × dp.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1

    @property
    def gpus(self) -> int:
        """Accelerators of one replica."""
        return self.tp * self.pp * self.dp

    def __str__(self) -> str:
        """Return e.g. `TP8×PP2` or `TP1×DP8×EP8`; sizes of one are left out except TP."""
        named = [("TP", self.tp), ("PP", self.pp), ("DP", self.dp), ("EP", self.ep)]
        return "×".join(f"{name}{size}" for name, size in named if size > 1 or name == "TP")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What is said to the engine at start; every limit is per replica (per DP rank where the engine counts so).

    Each of `speculative_tokens` drafts is accepted with probability `draft_acceptance` if those before it were (None:
    as calibrated). `offload_bytes` of weights lie in host memory, for each accelerator; `kv_host_bytes` there keep
    cache, for each engine; with `pin_prefixes` what prompts of several sessions begin with is never evicted.
    `kv_cache_bytes` is the size of a rank's cache where it is stated, whatever `memory_fraction` leaves (0: is not).
    `by_priority`: the lowest number is served first, not who came first.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len_tokens: int
    memory_fraction: float
    enforce_eager: bool = False
    prefix_caching: bool = True
    chunked_prefill: bool = True
    speculative_tokens: int = 0
    draft_acceptance: float | None = None
    offload_bytes: float = 0.0
    kv_host_bytes: float = 0.0
    pin_prefixes: bool = False
    kv_cache_bytes: float = 0.0
    by_priority: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Replicas with one role, all cut and set the same way."""

    role: PoolRole
    replicas: int
    parallelism: Parallelism
    settings: EngineSettings

    @property
    def gpus(self) -> int:
        """Accelerators its replicas occupy."""
        return self.replicas * self.parallelism.gpus

    @property
    def host_bytes_per_gpu(self) -> float:
        """Host memory each accelerator fills: with weights that lie there, and its part of its engine's cache there."""
        sharing = self.parallelism.tp * self.parallelism.pp
        return self.settings.offload_bytes + self.settings.kv_host_bytes / sharing


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Everything that is priced and later rendered; nothing about it is decided twice.

    `weight_format` and `kv_format` are names (`native`, `fp8-block128`, `awq-int4`…; `auto`, `fp8`…). `kv_network`
    carries caches from a prefill pool to a decode pool; None: what joins their accelerators anyway. `decode_cluster` is
    where the decode pool stands if it has accelerators of its own kind: such a deployment is simulated only.
    """

    model: ModelSpec
    weight_format: str
    kv_format: str
    engine: EngineSpec
    cluster: ClusterSpec
    pools: tuple[Pool, ...]
    kv_network: LinkSpec | None = None
    decode_cluster: ClusterSpec | None = None

    def cluster_of(self, place: int) -> ClusterSpec:
        """Return where a pool stands."""
        apart = self.decode_cluster if self.pools[place].role == "decode" else None
        return apart or self.cluster

    def host_bytes_of(self, place: int) -> float:
        """Return the weights and cache that lie in the host memory of a node under a pool."""
        if self.decode_cluster is None:
            return self.host_bytes
        pool, cluster = self.pools[place], self.cluster_of(place)
        return pool.host_bytes_per_gpu * min(cluster.gpus_per_node, ceil(pool.gpus / cluster.nodes))

    @property
    def gpus(self) -> int:
        """Accelerators all pools occupy."""
        return sum(pool.gpus for pool in self.pools)

    @property
    def workers_per_node(self) -> int:
        """Accelerators at work in one node."""
        return min(self.cluster.gpus_per_node, ceil(self.gpus / self.cluster.nodes))

    @property
    def host_bytes(self) -> float:
        """Weights and cache that lie in the host memory of one node."""
        return max(pool.host_bytes_per_gpu for pool in self.pools) * self.workers_per_node

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags by which a calibration may speak of it, beside its machines: its engine's, and of eager steps, hosts
        that compute and pools of two roles.
        """
        on_host = any(self.engine.computes_on_host(pool.settings.offload_bytes) for pool in self.pools)
        eager = self.engine.launch == "eager" or any(pool.settings.enforce_eager for pool in self.pools)
        said = {EAGER_TAG: eager, HOST_TAG: on_host, SPLIT_TAG: len(self.pools) > 1}
        return (*self.engine.tags, *(tag for tag, holds in said.items() if holds))
