"""Candidates in bulk: machines and what was found on them, as arrays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats
from sizewell.costs.machines import Machines, Reached
from sizewell.planner.candidates import MAX_GPUS_PER_REPLICA, Machine
from sizewell.planner.facts import Facts
from sizewell.planner.money import HourlyPrice, hourly_price, node_power_w
from sizewell.planner.question import PriceBasis
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism
from sizewell.specs.engine import EngineSpec

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """All machines of a search with rates, prices, power and memory; arrays of shape [M].

    `build` says which of the `builds` of the engine runs on a machine.
    """

    machines: tuple[Machine, ...]
    reached: Reached
    prices: tuple[HourlyPrice, ...]
    usd_per_gpu: Floats
    usd_per_node: Floats
    purchase_usd_per_node: Floats
    gpus_per_node: Floats
    max_nodes: Floats
    has_rdma: Mask
    builds: tuple[EngineSpec, ...]
    build: Rows
    together_gpus: Floats
    watts_per_gpu: Floats
    memory_bytes: Floats
    host_bytes_per_gpu: Floats

    @classmethod
    def of(cls, machines: Sequence[Machine], facts: Facts, engine: EngineSpec, basis: PriceBasis) -> Yard:
        """Return machines with what an engine reaches of them; a machine without a known price costs infinity."""
        widest = Parallelism(tp=MAX_GPUS_PER_REPLICA)
        clusters = [machine.cluster_for(widest) for machine in machines]
        prices = tuple(hourly_price(machine, basis, facts.prices) for machine in machines)
        per_node = _array([m.gpus_per_node for m in machines])
        kinds = [(machine.gpu.vendor, machine.gpu.compute_capability) for machine in machines]
        build_of = {kind: engine.on(*kind) for kind in dict.fromkeys(kinds)}
        built = [build_of[kind] for kind in kinds]
        builds = tuple(dict.fromkeys(built))
        return cls(
            machines=tuple(machines),
            reached=Reached.of(Machines.of(clusters), facts.efficiencies, also=engine.tags),
            prices=prices,
            usd_per_gpu=_array([(p.usd_per_gpu or 0.0) if p.known else np.inf for p in prices]),
            usd_per_node=_array([p.usd_per_node or 0.0 for p in prices]),
            purchase_usd_per_node=_array([p.purchase_usd_per_node or np.inf for p in prices]),
            gpus_per_node=per_node,
            max_nodes=_array([m.node.max_nodes for m in machines]),
            has_rdma=np.array([m.node.scale_out.rdma for m in machines], dtype=bool),
            builds=builds,
            build=np.array([builds.index(each) for each in built], dtype=np.intp),
            together_gpus=_array([cluster.together_gpus for cluster in clusters]),
            watts_per_gpu=_array([node_power_w(m) for m in machines]) / per_node,
            memory_bytes=_array([m.gpu.total_bytes for m in machines]),
            host_bytes_per_gpu=_array([m.host_bytes_per_gpu for m in machines]),
        )

    def houses(self, cut: Parallelism, max_nodes: int) -> Mask:
        """Return where one replica of a cut fits whole nodes.

        A replica larger than a node must fill its nodes, and only pipeline stages or data-parallel ranks may lie on
        different nodes, except that a purely tensor-parallel replica may span nodes (slowly). Nodes without a network
        that reads remote memory serve alone: engines over plain TCP start, and then wait for every message.
        """
        nodes = cut.gpus / self.gpus_per_node
        joined = np.where(self.has_rdma, np.minimum(self.max_nodes, max_nodes), 1.0)
        whole = (nodes == np.floor(nodes)) & (nodes <= joined)
        across: Mask = whole & ((cut.tp <= self.together_gpus) | (cut.tp == cut.gpus))
        return (nodes <= 1) | across


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What the candidates of a column have in common."""

    engine: EngineSpec
    formats: Formats
    cut: Parallelism
    settings: EngineSettings


Shape = tuple[Parallelism, Formats, float]
"""What tells candidates of one accelerator apart, settings aside: cut, formats, number of replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Candidates of one variant: `rows` index the yard's machines, times are means.

    Arrays have shape [N], or before they are flattened [N, K] for K numbers of replicas.
    """

    variant: Variant
    yard: Yard
    rows: Rows
    replicas: Floats
    gpus: Floats
    nodes: Floats
    ttft_s: Floats
    tpot_s: Floats
    requests_per_s: Floats
    users_per_replica: Floats
    most_users_per_replica: Floats
    usd_per_hour: Floats
    watts: Floats

    @property
    def budget(self) -> int:
        """Most tokens of a step."""
        return self.variant.settings.max_num_batched_tokens

    @property
    def purchase_usd(self) -> Floats:
        """Price of all nodes of each, infinite where they are not bought."""
        usd: Floats = self.nodes * self.yard.purchase_usd_per_node[self.rows]
        return usd

    def shape(self, row: int) -> Shape:
        """Return cut, formats and number of replicas of a candidate."""
        return self.variant.cut, self.variant.formats, float(self.replicas[row])

    def without(self, gpu_keys: Collection[str]) -> Column:
        """Return the candidates of other accelerators."""
        others = np.array([machine.gpu.key not in gpu_keys for machine in self.yard.machines], dtype=bool)
        return self.where(others[self.rows])

    def alone(self, row: int) -> Column:
        """Return one candidate in a column of its own."""
        return self.where(np.arange(len(self.rows)) == row)

    def where(self, mask: Mask) -> Column:
        """Return the candidates a mask keeps, in one flat column."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        kept = {
            name: (array if array.shape == mask.shape else np.broadcast_to(array, mask.shape))[mask]
            for name, array in arrays.items()
        }
        return Column(variant=self.variant, yard=self.yard, **kept)


ARRAYS = tuple(each.name for each in fields(Column) if each.name not in {"variant", "yard"})
"""Fields of a column that have a value for each candidate."""


def _array(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)
