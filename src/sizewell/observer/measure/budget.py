"""Which probes a session has time for, and how often each is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sizewell.specs.machine_figure import FigureKind, Probe

SHARES: Mapping[FigureKind, float] = {
    "memory": 0.06, "gemm": 0.34, "experts": 0.14, "attention": 0.16,
    "launch": 0.02, "copy": 0.05, "collective": 0.08, "layers": 0.15,
}  # fmt: skip
"""Share of the session each kind gets; what one does not use the later ones share."""
LEAST_REPEATS, MOST_REPEATS = 3, 50
_GREED = 5.0
"""One probe may take as many times the even share of its kind's time."""

Clock = Callable[[], float]


class Budget:
    """The seconds of a session, shared out over kinds and within a kind over probes.

    How long a probe will take is told from the best rates its like reached so far.
    """

    def __init__(self, seconds: float, waiting: Mapping[FigureKind, int], clock: Clock) -> None:
        self._clock, self._waiting = clock, dict(waiting)
        self._end = clock() + seconds
        self._until, self._left = self._end, 0
        self._rates: dict[tuple[str, ...], tuple[float, float]] = {}

    def enter(self, kind: FigureKind) -> None:
        """Start a kind: its time is its share of what is left."""
        now = self._clock()
        others = [SHARES[name] for name in self._waiting if name != kind]
        self._left = self._waiting.pop(kind)
        self._until = now + (self._end - now) * SHARES[kind] / (SHARES[kind] + sum(others))

    def allows(self, probe: Probe, flops: float, size_bytes: float) -> bool:
        """Return whether there is time for the next probe of this kind, which asks for so much work."""
        left = self._until - self._clock()
        even, self._left = left / max(1, self._left), self._left - 1
        fastest_flops, fastest_bytes = self._rates.get(_like(probe), (0.0, 0.0))
        expected = max(_ratio(flops, fastest_flops), _ratio(size_bytes, fastest_bytes))
        return left > 0 and expected * LEAST_REPEATS <= min(left, _GREED * even)

    def repeats(self, run_s: float) -> int:
        """Return how often to run a probe whose one run takes `run_s` of the session."""
        share = (self._until - self._clock()) / max(1, self._left + 1)
        return int(min(MOST_REPEATS, max(LEAST_REPEATS, share / max(run_s, 1e-9))))

    def learn(self, probe: Probe, flops_per_s: float, bytes_per_s: float) -> None:
        """Remember what a probe reached."""
        known = self._rates.get(_like(probe), (0.0, 0.0))
        self._rates[_like(probe)] = (max(known[0], flops_per_s), max(known[1], bytes_per_s))


def _like(probe: Probe) -> tuple[str, ...]:
    return probe.kind, probe.op, probe.dtype, probe.model


def _ratio(work: float, rate: float) -> float:
    return work / rate if rate else 0.0
