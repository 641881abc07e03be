"""The seconds of a step: every operator takes its slowest resource, operators add, waiting is named.

    operator = (‖stream, arithmetic‖₄ + row traffic + units) of the fullest rank + start of its kernels + launches × gap
                                                                                              (costs/kernels.py)
    step     = max(Σ operators + Σ collectives + gaps, launches) + bubble + offload + host + dispatch to nodes, and no
               less than the front end needs to send the tokens of a step
    floor    = max(Σ flops / peak, Σ bytes / bandwidth, Σ wire time), everything at 100 %

Because every share is at most 1 the step is never faster than its floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.attention_work import DECODE, PREFILL
from sizewell.costs.batch import Floats
from sizewell.costs.collectives import exchange
from sizewell.costs.host_work import hosted
from sizewell.costs.kernels import kernel_seconds, kernels
from sizewell.costs.machines import Reached
from sizewell.costs.work import Collective, Operator

ATTENTION = frozenset({DECODE, PREFILL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How steps are issued: `eager` or as recorded graphs; `sequences` [B] are scheduled each step by so many
    `schedulers`, one for each data-parallel rank, while the accelerator works on another one where steps are
    `overlapped`.

    A `front_end` turns their tokens into messages, meanwhile or, where it is `front_inside`, in the same process.
    `stages` is the pipeline depth and `slowest_stage` its longest stage over the mean one; `offload_bytes` of weights
    per accelerator come over the host link each step. Graphs are recorded for decoding: steps that are `unrecorded`
    [B], 0 or 1, because they carry chunks of prompts or more sequences than a graph are issued kernel by kernel; if
    they run in `pieces` [B], 0 or 1, only attention's kernels are.
    """

    sequences: Floats
    unrecorded: Floats | None = None
    pieces: Floats | None = None
    eager: bool = False
    stages: int = 1
    slowest_stage: float = 1.0
    offload_bytes: float = 0.0
    front_end: bool = True
    front_inside: bool = False
    overlapped: bool = False
    schedulers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of steps, arrays of shape [M, B].

    `total_s` is the sum of `parts`; `limits` splits it by what it waits for (compute, memory, link, link latency,
    launch, host, front end, dispatch, host link, host memory, host compute, bubble). Under pipeline parallelism the
    step is the trip of one micro-batch through all stages and the next one starts after `interval_s`.
    """

    total_s: Floats
    floor_s: Floats
    interval_s: Floats
    parts: Mapping[str, Floats]
    limits: Mapping[str, Floats]

    def at(self, steps: slice) -> StepTime:
        """Return some of the steps, without the parts of operators they do without."""
        return StepTime(
            total_s=self.total_s[:, steps],
            floor_s=self.floor_s[:, steps],
            interval_s=self.interval_s[:, steps],
            parts={name: seconds[:, steps] for name, seconds in self.parts.items() if self._has(name, steps)},
            limits={name: seconds[:, steps] for name, seconds in self.limits.items()},
        )

    def _has(self, part: str, steps: slice) -> bool:
        """Return whether a part belongs to some steps: it waits, takes time there, or takes none anywhere."""
        seconds = self.parts[part]
        return part in self.limits or bool(seconds[:, steps].any()) or not seconds.any()

    @property
    def bound_by(self) -> NDArray[np.str_]:
        """What most of the time is spent waiting for, shape [M, B]."""
        names = np.array(list(self.limits))
        return names[np.argmax(np.stack(list(self.limits.values())), axis=0)]  # type: ignore[no-any-return]


def price(operators: Sequence[Operator], reached: Reached, launch: Launch) -> StepTime:
    """Return the time of the step made of `operators` on every machine; shapes [M, B]."""
    resident, on_host = _by_place(operators)
    spent = kernels(resident, reached)
    messages = _messages(operators, reached)
    shape = spent.seconds.shape[1:]
    parts = _by_part(resident, spent.seconds)
    busy = sum(parts.values(), start=np.zeros(shape))
    floor = spent.floor_s
    limits = {"compute": spent.compute_s}
    limits["memory"] = busy - limits["compute"] - spent.fixed_s
    if on_host:
        moved = hosted(on_host, reached)
        parts |= _by_part(on_host, moved.seconds)
        busy = busy + moved.seconds.sum(axis=0)
        limits["memory"] = limits["memory"] + moved.accelerator_s
        limits |= {"host memory": moved.memory_s, "host compute": moved.compute_s, "host link": moved.link_s}
        floor = np.maximum(floor, moved.floor_s)
    latency: Floats | float = 0.0
    if messages:
        latency = messages.latency_s
        parts["collectives"] = messages.latency_s + messages.wire_s
        limits["link latency"], limits["link"] = messages.latency_s, messages.wire_s
        busy = busy + parts["collectives"]
    total = busy
    for name, waited in _waiting(operators, reached, launch, (busy - latency, latency)).items():
        parts[name] = limits[name] = np.broadcast_to(waited, shape)
        total = total + waited
    limits["launch"] = limits["launch"] + spent.fixed_s
    floor = np.maximum(floor, messages.floor_s) if messages else floor
    if launch.offload_bytes:
        floor = np.maximum(floor, launch.offload_bytes / reached.machines.host_link_bytes_per_s[:, None])
    return StepTime(
        total_s=total, floor_s=floor, interval_s=total / launch.stages, parts=parts, limits=limits
    )  # fmt: skip


def working(operators: Sequence[Operator], reached: Reached) -> tuple[Floats, Floats]:
    """Return the seconds that kernels and wires work and the latency of the messages, both [M, B].

    What operators take adds up, so that some of a step's operators may be priced apart from the others.
    """
    resident, on_host = _by_place(operators)
    seconds: Floats = kernel_seconds(resident, reached).sum(axis=0) if resident else np.zeros(1)
    if on_host:
        seconds = seconds + hosted(on_host, reached).seconds.sum(axis=0)
    messages = _messages(operators, reached)
    if messages is None:
        return seconds, np.zeros_like(seconds)
    return seconds + messages.wire_s, messages.latency_s


def _by_place(operators: Sequence[Operator]) -> tuple[list[Operator], list[Operator]]:
    """Return the operators of the accelerator, and those whose weights the host computes with."""
    return [o for o in operators if o.host is None], [o for o in operators if o.host is not None]


def _by_part(operators: Sequence[Operator], seconds: Floats) -> dict[str, Floats]:
    parts: dict[str, Floats] = {}
    for operator, taken in zip(operators, seconds, strict=True):
        parts[operator.part] = parts[operator.part] + taken if operator.part in parts else taken
    return parts


@dataclass(frozen=True, slots=True)
class _Messages:
    latency_s: Floats
    wire_s: Floats
    floor_s: Floats


def _messages(operators: Sequence[Operator], reached: Reached) -> _Messages | None:
    """Return all collectives of the step; a message that recurs is priced once."""
    counts: dict[int, Floats | float] = {}
    known: dict[int, Collective] = {}
    for operator in operators:
        for collective in operator.collectives:
            known[id(collective)] = collective
            counts[id(collective)] = counts.get(id(collective), 0.0) + operator.repeats * collective.repeats
    if not known:
        return None
    priced = [(counts[key], exchange(collective, reached)) for key, collective in known.items()]
    nothing = np.zeros(1)
    return _Messages(
        latency_s=sum((count * each.latency_s for count, each in priced), start=nothing),
        wire_s=sum((count * each.wire_s for count, each in priced), start=nothing),
        floor_s=sum((count * each.floor_s for count, each in priced), start=nothing),
    )


def _waiting(
    operators: Sequence[Operator], reached: Reached, launch: Launch, spent_s: tuple[Floats, Floats | float]
) -> dict[str, Floats]:
    """Return launches, host work, dispatch, offloaded weights, bubble and front end as named seconds.

    Kernels, wires and the starts of messages (`spent_s`: work, latency) follow each other on the accelerator; the host
    issues ahead of them, and a step lasts no less than that takes.
    """
    factors = reached.factors
    working_s, latency_s = spent_s
    launches = sum((o.repeats * o.launches for o in operators), start=np.zeros(1))
    gaps = launches * factors["kernel_gap_s"][:, None]
    issued = _issued_s(operators, launches, reached, launch)
    launched = np.maximum(gaps, issued - working_s - latency_s)
    found = {"launch": launched, "host": np.zeros_like(gaps)}
    if launch.offload_bytes:
        found["host link"] = host_link_s(launch, reached)[:, None]
    longest = working_s + latency_s + launched
    if launch.stages > 1:
        apart_s = np.maximum(launch.slowest_stage * (working_s + gaps) + latency_s, launch.slowest_stage * issued)
        found["bubble"] = np.maximum(apart_s - longest, 0.0)
        longest = longest + found["bubble"]
    sent = factors["front_token_s"][:, None] * launch.sequences[None, :]
    tended = factors["host_sequence_s"][:, None] * launch.sequences[None, :] / launch.schedulers
    if launch.front_inside:
        tended = tended + sent
    exposed = np.maximum(tended - longest, 0.0) if launch.overlapped else tended
    found["host"] = factors["host_step_s"][:, None] + exposed
    dispatched = dispatch_s(operators, reached)
    if dispatched.any():
        found["dispatch"] = dispatched[:, None]
    if launch.front_end and not launch.front_inside:
        found["front end"] = np.maximum(sent - sum(found.values(), start=working_s + latency_s), 0.0)
    return found


def _issued_s(operators: Sequence[Operator], launches: Floats | float, reached: Reached, launch: Launch) -> Floats:
    """Return how long the host takes to issue those `launches` that no recorded graph holds, shape [M, B].

    An engine that records nothing issues steps with prompts no faster than one whose graphs such steps do not fit.
    """
    factors, issued = reached.factors, np.zeros((1, 1))
    if launch.eager:
        issued = (launches + apart(operators)) * factors["eager_launch_s"][:, None]
    if launch.unrecorded is None:
        return issued
    by_kernel = (launches - _recorded(operators, launch)) * factors["prefill_launch_s"][:, None]
    return np.maximum(issued, launch.unrecorded * by_kernel)


def apart(operators: Sequence[Operator]) -> Floats:
    """Return the launches of a step beside its kernels where nothing is compiled: small operations, and messages."""
    found = np.zeros(1)
    for operator in operators:
        found = found + operator.repeats * (operator.uncompiled + len(operator.collectives))
    return found


def _recorded(operators: Sequence[Operator], launch: Launch) -> Floats | float:
    """Return the launches of a step with prompts that recorded pieces hold, shape [B]."""
    if launch.pieces is None:
        return 0.0
    held = (o.repeats * o.launches for o in operators if o.part not in ATTENTION)
    return launch.pieces * sum(held, start=np.zeros(1))


def host_link_s(launch: Launch, reached: Reached) -> Floats:
    """Return seconds to bring the offloaded weights of a step over the host link, shape [M]."""
    seconds: Floats = launch.offload_bytes / (reached.machines.host_link_bytes_per_s * reached.factors["link_host"])
    return seconds


def dispatch_s(operators: Sequence[Operator], reached: Reached) -> Floats:
    """Return seconds to hand a step to several nodes and back, shape [M]; none where one node holds the replica."""
    seconds: Floats = (reached.machines.node_gpus < _ranks(operators)) * reached.factors["far_step_s"]
    return seconds


def _ranks(operators: Sequence[Operator]) -> int:
    """Return the accelerators that take part in a step, as far as their messages tell."""
    return max((c.ranks * c.stride for o in operators for c in o.collectives), default=1)
