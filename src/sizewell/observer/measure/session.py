"""A measuring session: probe after probe while there is time, what failed named, what is there kept when cut short."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import median, quantiles

from sizewell.calibrator.probe_work import ProbeWork, probe_work
from sizewell.observer.measure.bench import Bench, Run
from sizewell.observer.measure.budget import Budget, Clock
from sizewell.observer.measure.decoder import Stacks
from sizewell.observer.measure.kernels import prepare_kernel
from sizewell.observer.measure.prepared import Prepared
from sizewell.observer.measure.ranks import all_reduces
from sizewell.observer.measure.throttle import ClockWatch
from sizewell.observer.measure.trial import first_line
from sizewell.specs.machine_figure import FigureKind, MachineFigure, Probe
from sizewell.specs.model import ModelSpec

_TELL_EVERY_S = 10.0
_CACHED = 8.0
"""Work on more bytes than as many last-level caches empties them by itself: no flush is needed."""
NO_TIME = "no time left for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What all figures of a session share."""

    machine: str
    versions: str
    command: str
    date: str
    seconds: float
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Probes that were not measured, and why."""

    kind: FigureKind
    op: str
    dtype: str
    reason: str
    probes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a session brought: figures in the order they were taken, what it left out, whether it was cut short.

    `remark` holds for all figures, `remarks` for those of a kind.
    """

    figures: tuple[MachineFigure, ...]
    left_out: tuple[LeftOut, ...]
    remark: str
    remarks: Mapping[FigureKind, str]
    partial: bool
    wall_s: float


@dataclass(slots=True)
class _Notes:
    figures: list[MachineFigure] = field(default_factory=list)
    left_out: Counter[tuple[FigureKind, str, str, str]] = field(default_factory=Counter)
    remarks: dict[FigureKind, str] = field(default_factory=dict)


class Session:
    """Times probes on a bench; `say` is told how it goes."""

    def __init__(
        self, bench: Bench, models: Mapping[str, ModelSpec], occasion: Occasion, say: Callable[[str], None],
        clock: Clock = time.monotonic,
    ) -> None:  # fmt: skip
        self.bench, self.models, self.occasion, self.say, self.clock = bench, models, occasion, say, clock
        self.stacks = Stacks(bench, models)
        self.notes = _Notes()

    def measure(self, probes: Sequence[Probe]) -> Measured:
        """Measure some probes, sorted by kind; Ctrl-C ends the session and keeps its figures, marked partial."""
        start = self.clock()
        self.budget = Budget(self.occasion.seconds, Counter(probe.kind for probe in probes), self.clock)
        partial = False
        with ClockWatch(None if self.bench.device.vendor == "nvidia" else "") as watch:
            try:
                for kind, group in groupby(probes, key=lambda probe: probe.kind):
                    self._kind(kind, list(group), watch)
            except KeyboardInterrupt:
                partial = True
        figures = [replace(figure, partial=partial) for figure in self.notes.figures]
        return Measured(
            figures=tuple(figures),
            left_out=tuple(
                LeftOut(kind=kind, op=op, dtype=dtype, reason=reason, probes=count)
                for (kind, op, dtype, reason), count in self.notes.left_out.items()
            ),
            remark=self.occasion.remark,
            remarks=self.notes.remarks,
            partial=partial,
            wall_s=self.clock() - start,
        )

    def _kind(self, kind: FigureKind, probes: list[Probe], watch: ClockWatch) -> None:
        began = told = self.clock()
        first = len(self.notes.figures)
        self.budget.enter(kind)
        watch.remark()
        if kind == "collective":
            self._collectives(probes)
        else:
            for done, probe in enumerate(probes):
                if self.clock() - told > _TELL_EVERY_S:
                    told = self.clock()
                    self.say(f"{kind}: {done} of {len(probes)} shapes")
                self._probe(probe)
        self.stacks.drop()
        self._remark(kind, first, watch.remark())
        taken = len(self.notes.figures) - first
        self.say(f"{kind}: {taken} of {len(probes)} shapes in {self.clock() - began:.0f} s")

    def _remark(self, kind: FigureKind, first: int, remark: str) -> None:
        if remark:
            self.say(f"{kind}: {remark}")
            self.notes.remarks[kind] = remark
            both = "; ".join(part for part in (self.occasion.remark, remark) if part)
            self.notes.figures[first:] = [replace(figure, remark=both) for figure in self.notes.figures[first:]]

    def _probe(self, probe: Probe) -> None:
        work = probe_work(probe, self.models)
        if not self.budget.allows(probe, work.flops, work.bytes):
            self._leave(probe, NO_TIME)
            return
        try:
            times, kernel = self._attempt(probe, work.bytes)
        except (RuntimeError, ValueError) as error:  # out of memory is one, a kernel that is not there another
            self._leave(probe, first_line(error))
        else:
            self._keep(probe, work, times, kernel)
        self.bench.release()

    def _attempt(self, probe: Probe, size_bytes: float) -> tuple[list[float], str]:
        """Return the seconds of each run and how it was run."""
        prepared = self.stacks.prepare(probe) if probe.kind == "layers" else prepare_kernel(self.bench, probe)
        prepared.run()
        self.bench.settle()
        run, kernel = self._issued(prepared, probe)
        flush = prepared.cold and size_bytes < _CACHED * self.bench.device.cache_bytes
        began = self.clock()
        self._runs(prepared, run, 1, flush)
        repeats = self.budget.repeats(self.clock() - began)
        return [one / prepared.times for one in self._runs(prepared, run, repeats, flush)], kernel

    def _issued(self, prepared: Prepared, probe: Probe) -> tuple[Run, str]:
        """Return the run as it is timed: a recorded graph where one is asked for and possible."""
        if not prepared.recorded:
            return prepared.run, prepared.kernel
        replay = self.bench.recorded(prepared.run)
        if replay is None and probe.kind == "launch":
            raise RuntimeError("this device has no recorded graphs")
        return replay or prepared.run, f"{prepared.kernel}, {'recorded graph' if replay else 'eager'}"

    def _runs(self, prepared: Prepared, run: Run, repeats: int, flush: bool) -> list[float]:
        if not prepared.on_host:
            return self.bench.times_s(run, repeats, flush=flush)
        found = []
        for _ in range(repeats):
            self.bench.settle()
            start = time.perf_counter()
            run()
            self.bench.settle()
            found.append(time.perf_counter() - start)
        return found

    def _collectives(self, probes: Iterable[Probe]) -> None:
        backend = "nccl" if self.bench.device.backend == "cuda" else "gloo"
        for ranks, group in groupby(probes, key=lambda probe: probe.shape["ranks"]):
            found = list(group)
            try:
                times = all_reduces(self.bench.torch, ranks, [p.shape["bytes"] for p in found], backend)
            except (RuntimeError, OSError) as error:
                for probe in found:
                    self._leave(probe, first_line(error))
                continue
            for probe in found:
                self._keep(probe, probe_work(probe, self.models), times[probe.shape["bytes"]], backend)

    def _leave(self, probe: Probe, reason: str) -> None:
        key = (probe.kind, probe.op, probe.dtype, reason)
        if reason != NO_TIME and not self.notes.left_out[key]:
            self.say(f"left out: {probe}: {reason}")
        self.notes.left_out[key] += 1

    def _keep(self, probe: Probe, work: ProbeWork, times: Sequence[float], kernel: str) -> None:
        seconds, spread = summary(times)
        rates = (work.flops / seconds, work.bytes / seconds)
        self.budget.learn(probe, *rates)
        occasion = self.occasion
        self.notes.figures.append(
            MachineFigure(
                machine=occasion.machine,
                probe=probe,
                kernel=kernel,
                seconds=seconds,
                repeats=len(times),
                spread_fraction=spread,
                flops_per_s=rates[0],
                bytes_per_s=rates[1],
                versions=occasion.versions,
                command=occasion.command,
                date=occasion.date,
                remark=occasion.remark,
            )
        )


def summary(times: Sequence[float]) -> tuple[float, float]:
    """Return the median of some times, and the distance of their quartiles over it."""
    middle = median(times)
    if len(times) < 2:
        return middle, 0.0
    low, _, high = quantiles(times, n=4, method="inclusive")
    return middle, (high - low) / middle
