"""What machines are: accelerators, links, nodes, hosts and clusters, as their makers state them.

Only facts live here. What an engine really reaches of them is a `Calibration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from sizewell.specs.encoding import ComputeType

Topology = Literal["nvswitch", "all-to-all", "ring", "pairs", "pcie", "none"]
GpuKind = Literal["gpu", "unified", "cpu"]
LinkKind = Literal["scale-up", "scale-out", "host"]
StorageBasis = Literal["measured", "datasheet", "assumed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """A link technology: bytes/s per direction and port, one-way small-message latency."""

    key: str
    name: str
    kind: LinkKind
    bytes_per_s: float
    latency_s: float
    rdma: bool = False


@dataclass(frozen=True, kw_only=True)
class GpuSpec:
    """One accelerator.

    `memory_bytes` is what is fitted; `reported_bytes` what the driver reports as total (None: not known).
    `flops_per_s` holds dense rates per compute type, never sparse; a type the chip has no fast path for is absent.
    `scale_up_bytes_per_s` is per direction over all links; `host_link_bytes_per_s` likewise to the host's memory.
    `usable_fraction` is the share of memory a process may take (unified memory machines).
    """

    key: str
    name: str
    vendor: str
    architecture: str
    kind: GpuKind
    form_factor: str
    memory_bytes: float
    reported_bytes: float | None
    bytes_per_s: float
    flops_per_s: Mapping[ComputeType, float]
    tdp_w: float
    launch_date: str
    compute_capability: str | None = None
    l2_bytes: float | None = None
    usable_fraction: float = 1.0
    scale_up: str | None = None
    scale_up_bytes_per_s: float | None = None
    host_link: str | None = None
    host_link_bytes_per_s: float | None = None
    aliases: tuple[str, ...] = ()
    names_in_logs: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> float:
        """Memory an engine sees: as reported by the driver, else what is fitted less what drivers hide (derived)."""
        return (self.reported_bytes or self.memory_bytes - self._hidden_bytes) * self.usable_fraction

    @property
    def _hidden_bytes(self) -> float:
        """Memory the driver keeps: fitted to the accelerators whose total is known, within 0.6 % of each."""
        if self.kind != "gpu":
            return 0.0
        return 360 * 2**20 + 0.003 * self.memory_bytes if self.vendor == "nvidia" else 0.002 * self.memory_bytes

    def peak_flops_per_s(self, compute: ComputeType) -> float:
        """Return the dense rate of `compute`, falling back to the next wider type the chip runs natively."""
        fallbacks: dict[ComputeType, tuple[ComputeType, ...]] = {
            "fp4": ("fp4", "fp8", "bf16", "fp16", "fp32"),
            "fp8": ("fp8", "bf16", "fp16", "fp32"),
            "int8": ("int8", "bf16", "fp16", "fp32"),
            "bf16": ("bf16", "fp16", "fp32"),
            "fp16": ("fp16", "bf16", "fp32"),
            "fp16-short": ("fp16-short", "fp16", "bf16", "fp32"),
            "fp32": ("fp32", "bf16", "fp16"),
        }
        return next(self.flops_per_s[name] for name in fallbacks[compute] if name in self.flops_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """The machine around the accelerators: cores, memory, local disk, power without accelerators.

    `flops_per_s` is what the vector units of all cores do in FP32; memory and cores of all `sockets` are counted.
    """

    key: str
    cpu: str
    cores: int
    sockets: int
    flops_per_s: float
    ram_bytes: float
    ram_bytes_per_s: float
    disk_bytes: float
    disk_read_bytes_per_s: float
    power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSpec:
    """Where weights come from: read rate of one client node, and of all together where it is shared."""

    key: str
    name: str
    read_bytes_per_s: float
    shared: bool
    aggregate_read_bytes_per_s: float | None
    basis: StorageBasis


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """A server or desktop of `gpu_counts` accelerators, wired by `scale_up` inside and `scale_out` outside.

    `scale_up_domain` is how many accelerators share the fast links: 72 in an NVL72, across nodes; 2 or 4 where bridges
    join islands inside a node, which reach each other over `peer_link` through the host. Without a second accelerator
    the topology is `none` and `scale_up` is the link out. `gpu_keys` are the accelerators it can hold, `gpu_counts` the
    numbers it is built or rented with; up to `small_host_gpus` of them sit around `small_host`. `through_host`: cards
    do not reach one another's memory. `provider` names the cloud that rents it.
    """

    key: str
    name: str
    gpu_keys: tuple[str, ...]
    gpu_counts: tuple[int, ...]
    scale_up: LinkSpec
    topology: Topology
    scale_up_domain: int
    scale_out: LinkSpec
    scale_out_ports: int
    host: HostSpec
    power_w: float
    max_nodes: int
    template: bool = False
    standard: bool = False
    provider: str | None = None
    peer_link: LinkSpec | None = None
    small_host: HostSpec | None = None
    small_host_gpus: int = 0
    through_host: bool = False
    aliases: tuple[str, ...] = field(default=())

    def holding(self, gpus: int) -> NodeSpec:
        """Return the node as it is built for so many accelerators: few of them need no large host."""
        return replace(self, host=self.small_host) if self.small_host and gpus <= self.small_host_gpus else self

    @property
    def on_one_board(self) -> bool:
        """Whether its accelerators are wired on one board, which is sold whole; cards, bridged or not, are single."""
        return self.topology in {"nvswitch", "all-to-all", "ring"} and "bridge" not in self.scale_up.key

    @property
    def max_gpus(self) -> int:
        """Accelerators of one full node."""
        return max(self.gpu_counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """Nodes of one kind holding accelerators of one kind: what a deployment runs on."""

    gpu: GpuSpec
    node: NodeSpec
    gpus_per_node: int
    nodes: int

    @property
    def gpus(self) -> int:
        """All accelerators of the cluster."""
        return self.gpus_per_node * self.nodes

    @property
    def power_w(self) -> float:
        """Electrical power of all nodes, in W: accelerators at their limit plus the rest of the boxes.

        An upper bound: decoding alone draws less.
        """
        return self.nodes * (self.gpus_per_node * self.gpu.tdp_w + self.node.host.power_w)

    @property
    def scale_up_gpus(self) -> int:
        """Accelerators that reach each other over the fast links: across nodes only in a rack-wide domain."""
        spans_nodes = self.node.scale_up_domain > self.node.max_gpus
        return min(self.node.scale_up_domain, self.gpus if spans_nodes else self.gpus_per_node)

    @property
    def together_gpus(self) -> int:
        """Accelerators that reach each other without a network."""
        return max(self.scale_up_gpus, self.gpus_per_node)
