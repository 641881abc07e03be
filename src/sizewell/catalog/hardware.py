"""Accelerators, nodes, clusters and storages by name; the user's own files win over the shipped ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

from sizewell.catalog.facts import Facts
from sizewell.catalog.gpu_names import gpu_heads, gpu_key_in_log, gpu_keys_by_name, gpu_names, plain
from sizewell.catalog.machines import gpu_from, host_from, link_from, storage_from
from sizewell.catalog.nodes import NodeFile, fitted
from sizewell.catalog.overlay import data_files, overlay_folder, remembered_files
from sizewell.specs.errors import BadInputError, UnknownNameError
from sizewell.specs.hardware import ClusterSpec, GpuSpec, HostSpec, LinkSpec, NodeSpec, StorageSpec

CLOUDS = ("aws-", "azure-", "gcp-")
"""How keys of rented nodes begin; what follows is the cloud's own name."""


def read_gpu(name: str) -> GpuSpec:
    """Return the accelerator of a key or alias, however it is spelt (`h200`, `RTX 4090`, `NVIDIA L4`).

    Raises UnknownNameError with the nearest names, BadInputError when its file is broken.
    """
    own = overlay_folder()
    key = name.strip().lower()
    if key not in remembered_files("gpus", own):
        key = gpu_keys_by_name(own).get(plain(name), "")
    if not key:
        raise UnknownNameError("GPU", name, gpu_names(own))
    return _gpu(own, key)


def is_gpu(name: str) -> bool:
    """Return whether a name as it stands is an accelerator's key or alias, however it is spelt."""
    own = overlay_folder()
    return name.strip().lower() in remembered_files("gpus", own) or plain(name) in gpu_keys_by_name(own)


def gpu_in_log(name: str, memory_gib: float | None = None, *, name_alone: bool = False) -> GpuSpec:
    """Return the accelerator an engine's log means by a device name and, where it printed it, its total memory.

    Memory decides where variants share a name (A100 40 and 80 GB, a re-fitted RTX 4090); memory without a
    known name finds the likeliest unless `name_alone`. Raises UnknownNameError when nothing tells.
    """
    own = overlay_folder()
    return _gpu(own, gpu_key_in_log(name, memory_gib, list_gpus(), name_alone=name_alone))


def list_gpus() -> tuple[GpuSpec, ...]:
    """Return every accelerator of the catalogue in the order of their keys."""
    own = overlay_folder()
    return tuple(_gpu(own, key) for key in sorted(remembered_files("gpus", own)))


def read_node(key: str) -> NodeSpec:
    """Return the node of a key as its file states it; a template is not yet fitted to a card."""
    own = overlay_folder()
    return _node(own, _node_key(own, key))


def is_node(name: str) -> bool:
    """Return whether a name as it stands is a node's key or a cloud's own name of it, however it is spelt."""
    return plain(name) in _node_keys(remembered_files("nodes", overlay_folder()))


def unknown_machine(name: str) -> UnknownNameError:
    """Return the error for a name neither an accelerator nor a node has."""
    own = overlay_folder()
    return UnknownNameError("GPU or node", name, [*gpu_names(own), *remembered_files("nodes", own)])


def list_nodes() -> tuple[NodeSpec, ...]:
    """Return every node of the catalogue in the order of their keys."""
    own = overlay_folder()
    return tuple(_node(own, key) for key in sorted(remembered_files("nodes", own)))


def nodes_for(gpu: GpuSpec) -> tuple[NodeSpec, ...]:
    """Return the nodes that hold an accelerator, fitted to it: the standard one first, clouds and templates last."""
    own = overlay_folder()
    return tuple(fitted(_node(own, key), gpu, partial(_link, own)) for key in _holding(own, gpu.key, gpu.form_factor))


def cluster(
    gpu: str, *, gpus_per_node: int, nodes: int = 1, node: str | None = None, joined: int | None = None
) -> ClusterSpec:
    """Return `nodes` nodes with `gpus_per_node` accelerators in use in each, `joined` of them at a time (None: all).

    Without `node` the best node that holds so many is taken: one node may be used in part, several are preferred whole.
    Raises UnknownNameError for names, BadInputError for counts no node holds.
    """
    card = read_gpu(gpu)
    choices = _choices(card, node)
    fitting = [c for c in choices if 1 <= gpus_per_node <= c.max_gpus]
    if not fitting:
        raise BadInputError(_too_many(card, gpus_per_node, choices))
    whole = [c for c in fitting if gpus_per_node in c.gpu_counts] if nodes > 1 else []
    best = next(iter([c for c in whole or fitting if (joined or nodes) <= c.max_nodes]), None)
    if best is None or nodes < 1:
        most = max(fitting, key=lambda c: c.max_nodes)
        raise BadInputError(f"{nodes} nodes of {card.key}: {most.key} is joined in 1 to {most.max_nodes}")
    return ClusterSpec(gpu=card, node=best.holding(gpus_per_node), gpus_per_node=gpus_per_node, nodes=nodes)


def _choices(card: GpuSpec, node: str | None) -> tuple[NodeSpec, ...]:
    everything = nodes_for(card)
    if not everything:
        raise BadInputError(f"no node holds {card.key} (form factor {card.form_factor!r}); add nodes/<key>.toml for it")
    if node is None:
        return everything
    key = _node_key(overlay_folder(), node)
    chosen = tuple(choice for choice in everything if choice.key == key)
    if not chosen:
        fitting = ", ".join(choice.key for choice in everything[:4])
        raise BadInputError(f"{key} does not hold {card.key}; {fitting} {'do' if len(everything) > 1 else 'does'}")
    return chosen


def _too_many(card: GpuSpec, count: int, choices: Iterable[NodeSpec]) -> str:
    largest = sorted(choices, key=lambda node: -node.max_gpus)[:3]
    held = "; ".join(f"{node.key} holds {', '.join(map(str, node.gpu_counts))}" for node in largest)
    return f"no node holds {count} x {card.key}: {held}; use several nodes or add your own under nodes/"


def read_storage(key: str) -> StorageSpec:
    """Return a storage by key, e.g. `nvme-gen4`."""
    files = data_files("storage")
    if key.lower() not in files:
        raise UnknownNameError("storage", key, files)
    return storage_from(_known(files[key.lower()]))


def list_storage() -> tuple[StorageSpec, ...]:
    """Return every storage of the catalogue in the order of their keys."""
    return tuple(storage_from(_known(path)) for _, path in sorted(data_files("storage").items()))


def read_link(key: str) -> LinkSpec:
    """Return the network called `key`, e.g. `infiniband-ndr-400`. Raises UnknownNameError."""
    return _link(overlay_folder(), key)


def list_links() -> tuple[LinkSpec, ...]:
    """Return every network of the catalogue in the order of their keys."""
    own = overlay_folder()
    return tuple(_link(own, key) for key in sorted(remembered_files("networks", own)))


def list_hosts() -> tuple[HostSpec, ...]:
    """Return every host of the catalogue in the order of their keys."""
    own = overlay_folder()
    return tuple(_host(own, key) for key in sorted(remembered_files("hosts", own)))


@cache
def _gpu(own: Path, key: str) -> GpuSpec:
    return gpu_from(_known(remembered_files("gpus", own)[key]))


def _known(path: Path) -> Facts:
    """Return the facts of a file, whose every field is one its kind has."""
    facts = Facts.read(path)
    facts.only_known()
    return facts


@cache
def _link(own: Path, key: str) -> LinkSpec:
    files = remembered_files("networks", own)
    if key not in files:
        raise UnknownNameError("network", key, files)
    return link_from(_known(files[key]))


@cache
def _host(own: Path, key: str) -> HostSpec:
    files = remembered_files("hosts", own)
    if key not in files:
        raise UnknownNameError("host", key, files)
    return host_from(_known(files[key]))


@cache
def _node_file(own: Path, key: str) -> NodeFile:
    file = NodeFile(_known(remembered_files("nodes", own)[key]), partial(_link, own), partial(_host, own))
    cards = {head.text("key") for head in gpu_heads(own)}
    unknown = [card for card in file.gpu_keys if card not in cards]
    if unknown:
        raise file.facts.error("gpu", f"names {unknown[0]!r}, which is not in gpus/")
    return file


@cache
def _node(own: Path, key: str) -> NodeSpec:
    file = _node_file(own, key)
    cards = {head.text("key"): head.text("form_factor") for head in gpu_heads(own)}
    return file.build(tuple(card for card, form in cards.items() if file.holds(card, form)))


@cache
def _holding(own: Path, card: str, form_factor: str) -> tuple[str, ...]:
    """Return the keys of the nodes that hold an accelerator, best first."""
    files = [_node_file(own, key) for key in remembered_files("nodes", own)]
    fitting = [file for file in files if file.holds(card, form_factor)]
    return tuple(file.key for file in sorted(fitting, key=lambda file: file.rank(card, form_factor)))


def _node_key(own: Path, name: str) -> str:
    by_name = {plain(alias): key for key in remembered_files("nodes", own) for alias in _node_file(own, key).aliases}
    by_name |= _node_keys(remembered_files("nodes", own))
    if plain(name) not in by_name:
        raise UnknownNameError("node", name, remembered_files("nodes", own))
    return by_name[plain(name)]


def _node_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return keys by their plain spelling, and by the clouds' own names: `p5.48xlarge`, `Standard_ND96isr_H100_v5`."""
    rented = [(key.partition("-")[2], key) for key in keys if key.startswith(CLOUDS)]
    named = {f"{before}{plain(name)}": key for name, key in rented for before in ("", "standard")}
    return named | {plain(key): key for key in keys}
