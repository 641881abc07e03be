"""Weights in host memory: what moves first, what a token still touches of it, and the two ways to use it.

Streaming brings weights over the host link whenever a step needs them (vLLM, SGLang); computing on the host leaves them
where they are and reads host memory instead (llama.cpp). Derivation: docs/cost-model.md#offload.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sizewell.costs.weights import rank_tensor_bytes
from sizewell.specs.deployment import Deployment, Parallelism
from sizewell.specs.layers import MoeMlp
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor
from sizewell.specs.weight_format import stored_encoding

Group = Literal["routed experts", "feed-forward", "attention"]
HOST_MEMORY_SHARE = 0.6
"""Share of stated host memory bandwidth that token generation on a CPU reaches; assumed."""
HOST_LINK_SHARE = 0.8
"""Share of the stated host link that copies of pinned memory reach; assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Weights of one group that lie in host memory: `layers` counted from the last one down.

    `touched_bytes` is what one token reads of them: of routed experts only those it is sent to.
    """

    group: Group
    layers: int
    of_layers: int
    bytes: float
    touched_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What stays on the accelerator and what moves, per rank, and how fast one user then is.

    Speeds are upper bounds by the added reading alone, at the shares named in this module.
    """

    moved: tuple[Moved, ...]
    streamed_tokens_per_s: float
    computed_tokens_per_s: float

    @property
    def bytes(self) -> float:
        """All that moved."""
        return sum(each.bytes for each in self.moved)

    @property
    def touched_bytes(self) -> float:
        """What one token reads from host memory."""
        return sum(each.touched_bytes for each in self.moved)

    @property
    def stays(self) -> str:
        """In words: embedding, head, norms and routers always stay; then what was not moved."""
        parts = [f"{each.group} of {each.of_layers - each.layers} of {each.of_layers} layers" for each in self.moved]
        return "; ".join(["embedding, head, norms and routers", *parts, "and everything not named as moved"])


def placement(deployment: Deployment, host_bytes: float, resident_step_s: float) -> Placement:
    """Return what moves to give `host_bytes` of a rank to the host, cheapest reading first.

    `resident_step_s` is a decode step for one user with all weights on the accelerator.
    """
    cut = deployment.pools[0].parallelism
    moved = tuple(_moves(deployment.model, deployment.weight_format, cut, host_bytes))
    touched = sum(each.touched_bytes for each in moved)
    host = deployment.cluster.node.host
    link = deployment.cluster.gpu.host_link_bytes_per_s or host.ram_bytes_per_s
    ranks = min(cut.gpus, deployment.cluster.gpus_per_node)
    streamed = resident_step_s + touched / (link * HOST_LINK_SHARE)
    computed = resident_step_s + touched * ranks / (host.ram_bytes_per_s * HOST_MEMORY_SHARE)
    return Placement(moved=moved, streamed_tokens_per_s=1 / streamed, computed_tokens_per_s=1 / computed)


def _moves(model: ModelSpec, weight_format: str, cut: Parallelism, host_bytes: float) -> Iterator[Moved]:
    left = host_bytes
    for group in ("routed experts", "feed-forward", "attention"):
        sizes = _sizes(model, weight_format, cut, group)
        taken = _take(sizes, left)
        if taken:
            size, touched = sum(each[0] for each in taken), sum(each[1] for each in taken)
            left -= size
            yield Moved(group=group, layers=len(taken), of_layers=len(sizes), bytes=size, touched_bytes=touched)


def _take(sizes: list[tuple[float, float]], wanted: float) -> list[tuple[float, float]]:
    """Return sizes from the last layer down until `wanted` is covered."""
    taken: list[tuple[float, float]] = []
    for size in reversed(sizes):
        if wanted <= 0:
            break
        taken.append(size)
        wanted -= size[0]
    return taken


def _sizes(model: ModelSpec, weight_format: str, cut: Parallelism, group: Group) -> list[tuple[float, float]]:
    """Return for each layer that has the group its bytes on a rank and what one token touches of them."""
    found: list[tuple[float, float]] = []
    for layer in model.layers[: -(-len(model.layers) // cut.pp)]:
        held = [t for t in layer.tensors if _group(t) == group]
        size = sum(rank_tensor_bytes(t, stored_encoding(t, model, weight_format), cut) for t in held)
        used = layer.mlp.top_k / layer.mlp.experts if group == "routed experts" and isinstance(layer.mlp, MoeMlp) else 1
        if held:
            found.append((size, size * used))
    return found


def _group(tensor: Tensor) -> Group | None:
    groups: dict[str, Group] = {
        "routed-experts": "routed experts", "mlp": "feed-forward", "shared-experts": "feed-forward",
        "attention": "attention", "recurrent": "attention",
    }  # fmt: skip
    return groups.get(tensor.role) if tensor.is_matrix else None
