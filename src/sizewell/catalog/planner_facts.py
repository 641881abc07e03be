"""Everything a search is handed, read from the catalogue."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engines import read_named_engine
from sizewell.catalog.hardware import list_gpus, nodes_for, read_gpu, read_node, read_storage
from sizewell.catalog.machine_code import CodeFolder
from sizewell.catalog.prices import read_prices
from sizewell.catalog.quality import read_quality
from sizewell.planner.candidates import machines
from sizewell.planner.facts import Facts
from sizewell.specs.engine import EngineName, EngineSpec
from sizewell.specs.errors import BadInputError
from sizewell.specs.hardware import GpuSpec, NodeSpec, StorageSpec

NODES_TRIED = 3
"""Node kinds tried for each accelerator, best first; the rest differ in maker or cloud."""

STORAGES = ("nvme-gen4", "vast-nfs", "s3-stream")
"""Storages whose load times are shown: a local drive, a fast shared file system, an object store."""


def shown_storages() -> tuple[StorageSpec, ...]:
    """Return the storages whose load times plans and explanations show."""
    return tuple(read_storage(key) for key in STORAGES)


def read_facts(
    engine: str = "auto", gpus: Sequence[str] = (), nodes: Sequence[str] = (),
    *, bought: bool = False, offload: bool = False,
) -> Facts:  # fmt: skip
    """Return the facts for a search over some accelerators and kinds of node (none named: all cards, the usual nodes).

    `engine` is `auto` (vLLM where it runs, llama.cpp elsewhere) or a name with an optional version, `vllm@0.19`;
    `bought` adds nodes of every kind, full or not, for the machine around a card has its price, and leaves out those of
    clouds; `offload` adds them too: what counts then is the host memory beside a card.
    Raises UnknownNameError for names the catalogue does not know, BadInputError where no node named holds any card.
    """
    cards = [read_gpu(name) for name in gpus] or list_gpus()
    kinds = [(card, _kinds(card, {read_node(name).key for name in nodes}, bought=bought)) for card in cards]
    if nodes and not any(found for _, found in kinds):
        why = "is rented, not sold" if bought and not gpus else f"does not hold {' or '.join(gpus)}"
        raise BadInputError(f"{' or '.join(nodes)} {why}: name another kind of node, or none")
    tried = None if offload or bought or nodes else NODES_TRIED
    return Facts(
        machines=machines(
            [(card, found[:tried]) for card, found in kinds],
            bought=bought,
            every_count=offload,
            every_host=offload or bought,
        ),
        engines=_engines(engine),
        efficiencies=read_efficiencies(),
        prices=read_prices(),
        quality=read_quality(),
        storages=shown_storages(),
        code=CodeFolder.usual(),
    )


def _kinds(card: GpuSpec, named: Collection[str], *, bought: bool) -> tuple[NodeSpec, ...]:
    """Return the kinds of node of an accelerator, the usual ones first, only those `named` if any are; nobody sells a
    cloud's.
    """
    there = (node for node in nodes_for(card) if not named or node.key in named)
    return tuple(node for node in there if not (bought and node.provider))


def _engines(text: str) -> dict[EngineName, EngineSpec]:
    named = ("vllm", "llama.cpp") if text == "auto" else (text,)
    found = [read_named_engine(name) for name in named]
    return {engine.name: engine for engine in found}
