"""Everything a search is handed, read from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engines import read_named_engine
from sizewell.catalog.hardware import list_gpus, nodes_for, read_gpu, read_storage
from sizewell.catalog.machine_code import CodeFolder
from sizewell.catalog.prices import read_prices
from sizewell.catalog.quality import read_quality
from sizewell.planner.candidates import machines
from sizewell.planner.facts import Facts
from sizewell.specs.engine import EngineName, EngineSpec
from sizewell.specs.hardware import GpuSpec, NodeSpec, StorageSpec

NODES_TRIED = 3
"""Node kinds tried for each accelerator, best first; the rest differ in maker or cloud."""

STORAGES = ("nvme-gen4", "vast-nfs", "s3-stream")
"""Storages whose load times are shown: a local drive, a fast shared file system, an object store."""


def shown_storages() -> tuple[StorageSpec, ...]:
    """Return the storages whose load times plans and explanations show."""
    return tuple(read_storage(key) for key in STORAGES)


def read_facts(engine: str = "auto", gpus: Sequence[str] = (), *, bought: bool = False, offload: bool = False) -> Facts:
    """Return the facts for a search over some accelerators (none named: all).

    `engine` is `auto` (vLLM where it runs, llama.cpp elsewhere) or a name with an optional version, `vllm@0.19`;
    `bought` adds nodes that are not full and leaves out those of clouds; `offload` adds those that are not full, of
    every kind: what counts then is the host memory beside a card.
    Raises UnknownNameError for names the catalogue does not know.
    """
    cards = [read_gpu(name) for name in gpus] or list_gpus()
    tried = None if offload else NODES_TRIED
    return Facts(
        machines=machines(
            [(card, _kinds(card, bought=bought)[:tried]) for card in cards],
            bought=bought,
            every_count=offload,
            every_host=offload,
        ),
        engines=_engines(engine),
        efficiencies=read_efficiencies(),
        prices=read_prices(),
        quality=read_quality(),
        storages=shown_storages(),
        code=CodeFolder.usual(),
    )


def _kinds(card: GpuSpec, *, bought: bool) -> tuple[NodeSpec, ...]:
    """Return the kinds of node of an accelerator, the usual ones first; nobody sells a cloud's."""
    return tuple(node for node in nodes_for(card) if not (bought and node.provider))


def _engines(text: str) -> dict[EngineName, EngineSpec]:
    named = ("vllm", "llama.cpp") if text == "auto" else (text,)
    found = [read_named_engine(name) for name in named]
    return {engine.name: engine for engine in found}
