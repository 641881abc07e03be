"""A probe made ready to run."""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.observer.measure.bench import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Work on buffers that exist: `run` does the probe `times` over, `kernel` says how; `cold` empties caches first.

    `recorded` asks for a recorded graph where the device has them; `on_host` for the host's clock.
    """

    run: Run
    kernel: str
    times: int = 1
    cold: bool = True
    recorded: bool = False
    on_host: bool = False
