"""How long ranks take to exchange data: latency plus size over bandwidth, by algorithm and by wiring.

Inside a node (or an NVLink domain) messages use the near links, between nodes the far ones. With n ranks on near links
of rate L an all-reduce takes the faster of

    one-shot    fixed_s + (n − 1) × rank_s + (n − 1) × bytes / (L × small_share)           each reads every other's part
    two-phase   the same latency + phase_s + 2 × (n − 1) / n × bytes / (L × large_share)   reduce-scatter, all-gather

and others one phase of the latter; across nodes it is hierarchical: near reduce-scatter, far all-reduce of each
rank's slice, near all-gather. The parameters are the curve of the collective (costs/machines.py).
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Span:
    """How `ranks` neighbours fall onto nodes, shape [M, 1]."""

    near: Floats
    nodes: Floats
    near_s_per_byte: Floats
    far_s_per_byte: Floats
    far_hop_s: Floats


def exchange(collective: Collective, reached: Reached) -> Exchange:
    """Return the time of one collective on every machine."""
    if collective.kind == "send":
        return _send(collective, reached)
    span = _span(reached.machines, collective.ranks)
    size = collective.bytes[None, :]
    near, far = _wire_bytes(collective, span)
    floor = np.maximum(near * span.near_s_per_byte * size, far * span.far_s_per_byte * size)
    fixed_s, rank_s, phase_s, small_share, large_share = (
        _column(row) for row in reached.curve(collective.kind, LINK_PARAMETERS)
    )
    net = _column(reached.factors["far_collective_s"])
    meeting = fixed_s + (span.near - 1) * rank_s
    latency = (
        meeting + phase_s + (span.nodes > 1) * (net + 2 * np.ceil(np.log2(np.maximum(span.nodes, 1))) * span.far_hop_s)
    )
    phases = 2.0 if collective.kind == "all-reduce" else 1.0
    near_s = near * span.near_s_per_byte / large_share
    far_s = far * span.far_s_per_byte / _column(reached.factors["link_far"])
    wire = phases * (near_s + far_s) * size
    if collective.kind == "all-reduce":
        one_shot = (span.near - 1) * span.near_s_per_byte / small_share * size
        faster = (span.nodes == 1) & (one_shot + meeting < wire + latency)
        wire = np.where(faster, one_shot, wire)
        latency = np.where(faster, meeting, latency)
    return Exchange(np.broadcast_to(latency, wire.shape), wire, floor)


def transfer_s(size_bytes: Floats, reached: Reached, lanes: int) -> Floats:
    """Return seconds to move `size_bytes` [B] between two groups of `lanes` accelerators on different nodes, [M, B]."""
    machines = reached.machines
    rate = _column(machines.far_bytes_per_s * reached.factors["link_far"]) * lanes
    return _column(machines.far_latency_s + reached.factors["far_collective_s"]) + size_bytes[None, :] / rate


def _wire_bytes(collective: Collective, span: _Span) -> tuple[Floats, Floats]:
    """Return the shares of the tensor one rank must send over near and far links in one phase, shape [M, 1]."""
    ranks = float(collective.ranks)
    if collective.kind == "all-to-all":
        return (span.near - 1) / ranks, (ranks - span.near) / ranks
    return (span.near - 1) / span.near, (span.nodes - 1) / span.nodes / span.near


def _span(machines: Machines, ranks: int) -> _Span:
    near = np.minimum(machines.near_gpus, float(ranks))
    return _Span(
        near=_column(near),
        nodes=_column(np.ceil(ranks / near)),
        near_s_per_byte=_column(1 / machines.near_bytes_per_s),
        far_s_per_byte=_column(1 / machines.far_bytes_per_s),
        far_hop_s=_column(machines.far_latency_s),
    )


def _send(collective: Collective, reached: Reached) -> Exchange:
    machines = reached.machines
    borders = collective.ranks - 1
    nodes = np.ceil(collective.ranks * collective.stride / machines.near_gpus)
    far = _column(np.clip(nodes - 1, 0, borders))
    size = collective.bytes[None, :]
    near_s, far_s = size / _column(machines.near_bytes_per_s), size / _column(machines.far_bytes_per_s)
    fixed_s, rank_s, phase_s, _, share = reached.curve("send", LINK_PARAMETERS)
    latency = (borders - far) * _column(fixed_s + rank_s + phase_s) + far * _column(
        machines.far_latency_s + reached.factors["far_collective_s"]
    )
    wire = (borders - far) * near_s / _column(share) + far * far_s / _column(reached.factors["link_far"])
    return Exchange(np.broadcast_to(latency, wire.shape), wire, (borders - far) * near_s + far * far_s)


def _column(values: Floats) -> Floats:
    return values[:, None]
