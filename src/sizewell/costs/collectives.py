"""How long ranks take to exchange data: latency plus size over bandwidth, by algorithm and by wiring.

Inside a node (or an NVLink domain) messages use the near links, between nodes the far ones. With n ranks on near links
of rate L an all-reduce takes the faster of

    one-shot    fixed_s + (n − 1) × rank_s + (n − 1) × bytes / (L × small_share)           each reads every other's part
    two-phase   the same latency + phase_s + 2 × (n − 1) / n × bytes / (L × large_share)   reduce-scatter, all-gather

and others one phase of the latter; across nodes it is hierarchical: near reduce-scatter, far all-reduce of each
rank's slice, near all-gather. Where bridges join islands of a node, libraries run rings over all its ranks, as many as
an island has ways out: each slot carries (n − 1) / n of the bytes over the island's ranks in a phase, and can do with
(islands − 1) / islands of them. Slots alone are used if that is faster. The parameters are the curve of the collective
(costs/machines.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.work import Collective
from sizewell.specs.calibration import LINK_PARAMETERS


@dataclass(frozen=True, slots=True)
class Exchange:
    """Seconds of one message, shape [M, B]: fixed `latency_s`, size-bound `wire_s`, and the `floor_s` of the wire."""

    latency_s: Floats
    wire_s: Floats
    floor_s: Floats


class _Route(NamedTuple):
    """What messages among so many ranks take whatever their size, shape [M] or [M, 1]: `latency_s`, and seconds of a
    byte on the wires and of the busiest one; `one_shot` where they are `alone` on near links, after `meeting_s`.
    """

    latency_s: Floats
    wire_s_per_byte: Floats
    floor_s_per_byte: Floats
    meeting_s: Floats
    one_shot_s_per_byte: Floats
    alone: Floats


@dataclass(frozen=True, slots=True)
class _Span:
    """How ranks fall onto `islands` of `near` neighbours in each of some `nodes`, shape [M]; seconds of a byte."""

    near: Floats
    islands: Floats
    nodes: Floats
    near_s_per_byte: Floats
    slot_s_per_byte: Floats
    far_s_per_byte: Floats
    far_hop_s: Floats

    @property
    def together(self) -> Floats:
        """Ranks of a node."""
        return self.near * self.islands

    @property
    def ring_share(self) -> Floats:
        """Share of a tensor that crosses a slot in a phase of rings over all ranks of a node, one ring for each way out
        of an island.
        """
        return (self.together - 1) / self.together / self.near


def exchange(collective: Collective, reached: Reached) -> Exchange:
    """Return the time of one collective on every machine: over islands by level or flat, whichever takes less."""
    by_level = _exchange(collective, reached)
    if reached.slots is None or collective.kind == "send":
        return by_level
    flat = _exchange(collective, reached.slots)
    better = flat.latency_s + flat.wire_s < by_level.latency_s + by_level.wire_s
    return Exchange(
        np.where(better, flat.latency_s, by_level.latency_s),
        np.where(better, flat.wire_s, by_level.wire_s),
        np.minimum(flat.floor_s, by_level.floor_s),
    )


def _exchange(collective: Collective, reached: Reached) -> Exchange:
    """Return the time of one collective on every machine by its route; in one shot where that is faster."""
    route, size = _route(collective, reached), collective.bytes[None, :]
    latency, wire = route.latency_s, route.wire_s_per_byte * size
    if collective.kind == "all-reduce":
        one_shot = route.one_shot_s_per_byte * size
        faster = (route.alone > 0) & (one_shot + route.meeting_s < wire + latency)
        wire, latency = np.where(faster, one_shot, wire), np.where(faster, route.meeting_s, latency)
    return Exchange(np.broadcast_to(latency, wire.shape), wire, route.floor_s_per_byte * size)


def _route(collective: Collective, reached: Reached) -> _Route:
    """Return the route of all messages of a kind among so many ranks, shape [M, 1]."""
    find = _borders if collective.kind == "send" else _levels
    key = "route", collective.kind, collective.ranks, collective.stride
    found = reached.kept(key, lambda whole: np.stack(np.broadcast_arrays(*find(collective, whole))))
    return _Route(*found[:, :, None])


def _levels(collective: Collective, reached: Reached) -> _Route:
    """Return the route that crosses islands through their slots, nodes over the network, shape [M]."""
    span = _span(reached.machines, collective.ranks)
    near, mid, far = _wire_bytes(collective, span)
    seconds = near * span.near_s_per_byte, mid * span.slot_s_per_byte, far * span.far_s_per_byte
    fixed_s, rank_s, phase_s, small_share, large_share = reached.curve(collective.kind, LINK_PARAMETERS)
    slots = reached.slots or reached
    slot_fixed_s, slot_rank_s, slot_phase_s, _, slot_share = slots.curve(collective.kind, LINK_PARAMETERS)
    apart = span.islands > 1
    meeting = np.where(
        apart, slot_fixed_s + (span.together - 1) * slot_rank_s, fixed_s + (span.near - 1) * rank_s
    )  # fmt: skip
    hops = 2 * np.ceil(np.log2(np.maximum(span.nodes, 1))) * span.far_hop_s
    network = (span.nodes > 1) * (reached.factors["far_collective_s"] + hops)
    phases = 2.0 if collective.kind == "all-reduce" else 1.0
    crossing = seconds[1] if collective.kind == "all-to-all" else apart * span.ring_share * span.slot_s_per_byte
    return _Route(
        latency_s=meeting + np.where(apart, slot_phase_s, phase_s) + network,
        wire_s_per_byte=phases
        * (seconds[0] / large_share + crossing / slot_share + seconds[2] / reached.factors["link_far"]),
        floor_s_per_byte=np.maximum(np.maximum(seconds[0], seconds[1]), seconds[2]),
        meeting_s=meeting,
        one_shot_s_per_byte=(span.near - 1) * span.near_s_per_byte / small_share,
        alone=((span.nodes == 1) & ~apart) * 1.0,
    )


def transfer_s(size_bytes: Floats, reached: Reached, lanes: int) -> Floats:
    """Return seconds to move `size_bytes` [B] between two groups of `lanes` accelerators on different nodes, [M, B]."""
    machines = reached.machines
    rate = _column(machines.far_bytes_per_s * reached.factors["link_far"]) * lanes
    return _column(machines.far_latency_s + reached.factors["far_collective_s"]) + size_bytes[None, :] / rate


def _wire_bytes(collective: Collective, span: _Span) -> tuple[Floats, Floats, Floats]:
    """Return the shares of the tensor one rank must send to its island, other islands and other nodes in one phase,
    shape [M].
    """
    ranks = float(collective.ranks)
    if collective.kind == "all-to-all":
        return (span.near - 1) / ranks, (span.together - span.near) / ranks, (ranks - span.together) / ranks
    return (
        (span.near - 1) / span.near,
        (span.islands - 1) / span.islands / span.near,
        (span.nodes - 1) / span.nodes / span.together,
    )


def _span(machines: Machines, ranks: int) -> _Span:
    near = np.minimum(machines.near_gpus, float(ranks))
    together = np.minimum(machines.node_gpus, float(ranks))
    return _Span(
        near=near,
        islands=together / near,
        nodes=np.ceil(ranks / together),
        near_s_per_byte=1 / machines.near_bytes_per_s,
        slot_s_per_byte=1 / machines.slot_bytes_per_s,
        far_s_per_byte=1 / machines.far_bytes_per_s,
        far_hop_s=machines.far_latency_s,
    )


def _borders(collective: Collective, reached: Reached) -> _Route:
    """Return the route of what is passed on over all borders between pipeline stages, shape [M]."""
    machines, slots = reached.machines, reached.slots or reached
    borders, ranks = collective.ranks - 1, collective.ranks * collective.stride
    far = np.clip(np.ceil(ranks / machines.node_gpus) - 1, 0, borders)
    mid = np.clip(np.ceil(ranks / machines.near_gpus) - 1 - far, 0, borders - far)
    fixed_s, rank_s, phase_s, _, share = reached.curve("send", LINK_PARAMETERS)
    slot_fixed_s, slot_rank_s, slot_phase_s, _, slot_share = slots.curve("send", LINK_PARAMETERS)
    network = machines.far_latency_s + reached.factors["far_collective_s"]
    near = borders - far - mid
    seconds = near / machines.near_bytes_per_s, mid / machines.slot_bytes_per_s, far / machines.far_bytes_per_s
    nothing = np.zeros(1)
    return _Route(
        latency_s=near * (fixed_s + rank_s + phase_s)
        + mid * (slot_fixed_s + slot_rank_s + slot_phase_s)
        + far * network,
        wire_s_per_byte=seconds[0] / share + seconds[1] / slot_share + seconds[2] / reached.factors["link_far"],
        floor_s_per_byte=sum(seconds, start=nothing),
        meeting_s=nothing, one_shot_s_per_byte=nothing, alone=nothing,
    )  # fmt: skip


def _column(values: Floats) -> Floats:
    return values[:, None]
