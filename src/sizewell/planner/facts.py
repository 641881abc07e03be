"""The facts a search is handed: it looks nothing up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sizewell.planner.candidates import Machine
from sizewell.simulator.compiled import CodeStore
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.engine import EngineName, EngineSpec
from sizewell.specs.hardware import StorageSpec
from sizewell.specs.prices import PriceBook
from sizewell.specs.quality import QualityTable


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Machines that may be used, engines by name in order of preference, and what is known of them.

    `code` is where the simulator keeps its compiled code.
    """

    machines: tuple[Machine, ...]
    engines: Mapping[EngineName, EngineSpec]
    efficiencies: Efficiencies
    prices: PriceBook
    quality: QualityTable
    storages: tuple[StorageSpec, ...] = ()
    code: CodeStore | None = None
