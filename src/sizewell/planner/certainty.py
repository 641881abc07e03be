"""How sure a prediction is: the error left-out measurements stayed within, widened by what is not known.

ln half width = ln(1 + spread of the kind of figure under the kind of load)
                × assumed_widening ^ (facts nobody stated)
                × gpu_widening      where the accelerator was never measured
                × engine_widening   where the engine was never measured
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log1p

from sizewell.specs.calibration import Efficiencies
from sizewell.specs.figure import Figure

SPREADS = {
    "ttft": "ttft_spread", "tpot": "tpot_spread", "itl": "tpot_spread", "e2e": "e2e_spread",
    "prefill": "prefill_spread",
}  # fmt: skip


def load_tag(load: str) -> str:
    """Return the tag of a kind of load: `closed_loop`, `open_loop`, `offline`, `static_batch`, `single`."""
    return f"load:{load}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """What intervals depend on: a calibration, and the tags of the machine, the engine and the load."""

    efficiencies: Efficiencies
    tags: tuple[str, ...]

    def spread(self, metric: str, assumed: int = 0) -> float:
        """Return the half width of a metric's 80 % interval (`ttft_mean_s`, `requests_per_s`, …), as in Figure.spread.

        `assumed` counts the facts that had to be guessed.
        """
        values = self.efficiencies.values(self.tags)
        width = log1p(values[SPREADS.get(metric.split("_", 1)[0], "throughput_spread")])
        width *= values["assumed_widening"] ** assumed
        for kind in ("gpu", "engine"):
            if not self._was_measured(kind):
                width *= values[f"{kind}_widening"]
        return expm1(width)

    def figure(self, metric: str, value: float) -> Figure:
        """Return a value within its interval: calibrated where a calibration of the user's scales what it rests on."""
        own = self.efficiencies.calibrated_by(self.tags)
        return Figure.spread(value, self.spread(metric), "calibrated" if own else "derived")

    def _was_measured(self, kind: str) -> bool:
        mine = [tag for tag in self.tags if tag.startswith(f"{kind}:")]
        return not self.efficiencies.measured or not self.efficiencies.measured.isdisjoint(mine)
