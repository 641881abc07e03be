"""Rates of many machines as arrays, as stated and as reached: the only place where costs reads hardware."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats
from sizewell.specs.calibration import Curves, Efficiencies, matching_curve
from sizewell.specs.encoding import ComputeType
from sizewell.specs.hardware import ClusterSpec

COMPUTE_TYPES: tuple[ComputeType, ...] = ("fp32", "fp16", "fp16-short", "bf16", "fp8", "int8", "fp4")
NARROW: frozenset[str] = frozenset({"fp8", "int8", "fp4"})
FAST_TOPOLOGIES = ("nvswitch", "all-to-all", "ring", "pairs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Stated rates of M clusters, each an array of shape [M]; link rates are per accelerator and direction.

    `near_gpus` meet at the near rate, `node_gpus` without a network: more where bridges join islands of a node, whose
    accelerators reach other islands through their slots at `slot_bytes_per_s`.
    """

    clusters: tuple[ClusterSpec, ...]
    bytes_per_s: Floats
    flops_per_s: Mapping[ComputeType, Floats]
    near_gpus: Floats
    node_gpus: Floats
    slot_bytes_per_s: Floats
    near_bytes_per_s: Floats
    far_bytes_per_s: Floats
    far_latency_s: Floats
    host_link_bytes_per_s: Floats
    host_bytes_per_s: Floats
    host_flops_per_s: Floats
    tags: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, clusters: Sequence[ClusterSpec]) -> Machines:
        """Return the rates of some clusters, in their order."""
        return cls(
            clusters=tuple(clusters),
            bytes_per_s=_array(c.gpu.bytes_per_s for c in clusters),
            flops_per_s={t: _array(c.gpu.peak_flops_per_s(t) for c in clusters) for t in COMPUTE_TYPES},
            near_gpus=_array(c.scale_up_gpus for c in clusters),
            node_gpus=_array(c.together_gpus for c in clusters),
            slot_bytes_per_s=_array((c.node.peer_link or c.node.scale_up).bytes_per_s for c in clusters),
            near_bytes_per_s=_array(_near_rate(c) for c in clusters),
            far_bytes_per_s=_array(_far_rate(c) for c in clusters),
            far_latency_s=_array(c.node.scale_out.latency_s for c in clusters),
            host_link_bytes_per_s=_array(c.gpu.host_link_bytes_per_s or c.node.host.ram_bytes_per_s for c in clusters),
            host_bytes_per_s=_array(c.node.host.ram_bytes_per_s for c in clusters),
            host_flops_per_s=_array(c.node.host.flops_per_s for c in clusters),
            tags=tuple(machine_tags(c) for c in clusters),
        )

    @property
    def has_islands(self) -> bool:
        """Whether some node holds several islands."""
        return bool((self.node_gpus > self.near_gpus).any())

    def in_slots(self) -> Machines:
        """Return the same where islands are not joined: all accelerators of their nodes meet in the slots."""
        islands = self.node_gpus > self.near_gpus
        slot, fabric = "near:slot", "near:fabric"
        return replace(
            self,
            near_gpus=np.where(islands, self.node_gpus, self.near_gpus),
            near_bytes_per_s=np.where(islands, self.slot_bytes_per_s, self.near_bytes_per_s),
            tags=tuple(
                tuple(slot if tag == fabric else tag for tag in tags) if apart else tags
                for tags, apart in zip(self.tags, islands, strict=True)
            ),
        )

    def take(self, rows: NDArray[np.intp]) -> Machines:
        """Return some of the machines, in the order of `rows`."""
        arrays = {
            item.name: getattr(self, item.name)[rows]
            for item in fields(self)
            if item.name not in {"clusters", "flops_per_s", "tags"}
        }
        return Machines(
            clusters=tuple(self.clusters[row] for row in rows),
            flops_per_s={name: rate[rows] for name, rate in self.flops_per_s.items()},
            tags=tuple(self.tags[row] for row in rows),
            **arrays,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Machines with what is reached of them under one engine, whose tags come beside those of each machine.

    `factors` are arrays of shape [M], `shapes` the curves of all classes and tags; what was asked of them is `known`,
    and machines taken from a `whole` have that of their `rows` in it. `slots` are the same
    machines met in their slots, None where none holds islands.
    """

    machines: Machines
    factors: Mapping[str, Floats]
    shapes: Curves
    tags: tuple[str, ...] = ()
    known: dict[Hashable, Floats] = field(default_factory=dict, init=False)
    whole: Reached | None = None
    rows: NDArray[np.intp] | None = None
    slots: Reached | None = None

    @classmethod
    def of(
        cls, machines: Machines, efficiencies: Efficiencies, engine: str = "", also: tuple[str, ...] = ()
    ) -> Reached:
        """Return the factors of each machine under `engine`; `also` are further tags of what runs on all of them."""
        beside = (f"engine:{engine}", *also)
        known: dict[tuple[str, ...], dict[str, float]] = {}
        rows = []
        for tags in machines.tags:
            if tags not in known:
                known[tags] = efficiencies.values((*tags, *beside))
            rows.append(known[tags])
        return cls(
            machines=machines,
            factors={name: _array(row[name] for row in rows) for name in efficiencies.factors},
            shapes=efficiencies.curves,
            tags=beside,
            slots=cls.of(machines.in_slots(), efficiencies, engine, also) if machines.has_islands else None,
        )

    def take(self, rows: NDArray[np.intp]) -> Reached:
        """Return some of the machines, in the order of `rows`."""
        machines = self.machines.take(rows)
        return Reached(
            machines=machines,
            factors={name: value[rows] for name, value in self.factors.items()},
            shapes=self.shapes,
            tags=self.tags,
            whole=self,
            rows=rows,
            slots=self.slots.take(rows) if self.slots and machines.has_islands else None,
        )

    def kept(self, key: Hashable, make: Callable[[Reached], Floats]) -> Floats:
        """Return an array [..., M] of what only machines decide: made once for the whole, of which rows are taken."""
        if key not in self.known:
            self.known[key] = self.whole.kept(key, make)[..., self.rows] if self.whole else make(self)
        return self.known[key]

    def curve(self, name: str, names: Sequence[str]) -> Floats:
        """Return the parameters called `names` of a class of kernels or messages, shape [len(names), M]."""
        return self.kept(name, lambda whole: whole._made(name, names))

    def _made(self, name: str, names: Sequence[str]) -> Floats:
        """Return the curves of a class as its file says, scaled; machines that it does not tell apart are alike."""
        told = {part for tag in self.shapes[name] for part in tag.split("+")}
        known: dict[frozenset[str], list[float]] = {}
        found = []
        for tags in self.machines.tags:
            alike = frozenset(told.intersection(tags))
            if alike not in known:
                parameters = matching_curve(self.shapes, name, (*alike, *self.tags)).parameters
                known[alike] = [parameters[parameter] for parameter in names]
            found.append(known[alike])
        curve = np.array(found, dtype=np.float64).T
        for row, parameter in zip(curve, names, strict=True):
            self._scale(row, parameter, widened=name == "gemm.w4")
        return curve

    def _scale(self, row: Floats, parameter: str, *, widened: bool) -> None:
        """Multiply a parameter by what this engine and machine reach beside the curve; shares stay shares."""
        relative = RELATIVE.get(parameter)
        if relative is not None:
            row *= self.factors[relative]
        if widened and parameter in WIDENED:
            row *= self.factors[WIDENED[parameter]]
        if parameter.endswith("_share"):
            np.minimum(row, MOST_REACHED, out=row)


MOST_REACHED = 0.95
"""Share of a stated rate that nothing exceeds for long: memory refreshes and turns around, clocks give way. Kernels
measured above it read what a cache kept from one repetition to the next."""

RELATIVE = {
    "fixed_s": "relative_fixed", "depth_s": "relative_fixed", "unit_s": "relative_fixed",
    "row_share": "relative_hbm", "hbm_share": "relative_hbm", "flops_share": "relative_flops",
    "small_share": "relative_link", "large_share": "relative_link",
}  # fmt: skip
"""Factor that scales each parameter of a curve where kernels were not measured for an engine or a machine."""

WIDENED = {"hbm_share": "widened_hbm", "flops_share": "widened_flops"}
"""The same for products that widen their weights, beside that."""


def machine_tags(cluster: ClusterSpec) -> tuple[str, ...]:
    """Return the tags by which a calibration may speak of a machine."""
    gpu = cluster.gpu
    return (
        f"vendor:{gpu.vendor}",
        f"architecture:{gpu.architecture}",
        f"form:{gpu.form_factor}",
        f"kind:{gpu.kind}",
        f"gpu:{gpu.key}",
        f"near:{'fabric' if _is_fast(cluster) else 'slot'}",
        f"sockets:{cluster.node.host.sockets}",
        *(("peers:host",) if _meet_in_host(cluster) else ()),
        *((f"cpu-sockets:{cluster.node.host.sockets}",) if gpu.kind == "cpu" else ()),
    )


def _is_fast(cluster: ClusterSpec) -> bool:
    """Return whether ranks of a node meet over a fabric or bridges."""
    return cluster.node.topology in FAST_TOPOLOGIES


def _meet_in_host(cluster: ClusterSpec) -> bool:
    """Return whether what ranks of a node send each other rests in host memory: GeForce drivers refuse peer access."""
    refused = cluster.gpu.vendor == "nvidia" and cluster.gpu.form_factor == "consumer"
    return not _is_fast(cluster) and (cluster.node.through_host or refused)


def _near_rate(cluster: ClusterSpec) -> float:
    """Return the card's rate over all its links on a fabric, else that of the slot it sits in."""
    if _is_fast(cluster):
        return cluster.gpu.scale_up_bytes_per_s or cluster.node.scale_up.bytes_per_s
    return cluster.node.scale_up.bytes_per_s


def _far_rate(cluster: ClusterSpec) -> float:
    ports = cluster.node.scale_out_ports / max(1, cluster.gpus_per_node)
    return cluster.node.scale_out.bytes_per_s * ports


def _array(values: Iterable[float]) -> Floats:
    return np.array(list(values), dtype=np.float64)
