"""Which weights lie in host memory: whole groups of the first layers, those that a token reads least of first.

Routed experts leave before feed-forward blocks, and those before attention; embedding, head, norms and routers stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from sizewell.costs.weights import Weights, rank_tensor_bytes
from sizewell.specs.deployment import EngineSettings, Parallelism
from sizewell.specs.engine import EngineSpec
from sizewell.specs.layers import MoeMlp
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor
from sizewell.specs.weight_format import stored_encoding

Group = Literal["routed experts", "feed-forward", "attention"]
GROUPS: tuple[Group, ...] = ("routed experts", "feed-forward", "attention")
_GROUP_OF_ROLE: dict[str, Group] = {
    "routed-experts": "routed experts", "mlp": "feed-forward", "shared-experts": "feed-forward",
    "attention": "attention", "recurrent": "attention",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Weights of one group that lie in host memory: those of the layers numbered `blocks`, per rank.

    `layers` of `of_layers` that have the group moved; `touched_bytes` is what one token reads of them: of routed
    experts only those it is sent to. `share` is the part of the group's bytes that moved.
    """

    group: Group
    blocks: tuple[int, ...]
    of_layers: int
    bytes: float
    touched_bytes: float
    share: float

    @property
    def layers(self) -> int:
        """How many layers moved, of one pipeline stage."""
        return len(self.blocks)


def host_layers(model: ModelSpec, weight_format: str, cut: Parallelism, host_bytes: float) -> tuple[Moved, ...]:
    """Return what moves so that `host_bytes` of a rank, or a layer's group more, lie in host memory.

    Stages of a pipeline are alike: blocks are those of the first one.
    """
    return tuple(_moves(model, weight_format, cut, host_bytes))


def bytes_on_host(weights: Weights, cut: Parallelism, settings: EngineSettings, engine: EngineSpec) -> float:
    """Return what of a rank lies in host memory: engines that compute there move whole groups of layers."""
    if engine.offload == "streams" or not settings.offload_bytes:
        return settings.offload_bytes
    moved = host_layers(weights.model, weights.weight_format, cut, settings.offload_bytes)
    return max(settings.offload_bytes, sum(each.bytes for each in moved))


def _moves(model: ModelSpec, weight_format: str, cut: Parallelism, host_bytes: float) -> Iterator[Moved]:
    left = host_bytes
    for group in GROUPS:
        sizes = {block: pair for block, pair in _sizes(model, weight_format, cut, group) if pair[0]}
        before = accumulate((size for size, _ in sizes.values()), initial=0.0)
        taken = [block for block, moved in zip(sizes, before, strict=False) if moved < left]
        if taken:
            size, touched = (sum(sizes[block][part] for block in taken) for part in (0, 1))
            whole = sum(each for each, _ in sizes.values())
            left -= size
            yield Moved(
                group=group, blocks=tuple(taken), of_layers=len(sizes), bytes=size, touched_bytes=touched,
                share=size / whole,
            )  # fmt: skip


def _sizes(
    model: ModelSpec, weight_format: str, cut: Parallelism, group: Group
) -> Iterator[tuple[int, tuple[float, float]]]:
    """Yield for each layer of the first stage its number, its bytes of the group and what one token touches of them."""
    for block, layer in enumerate(model.layers[: -(-len(model.layers) // cut.pp)]):
        held = [tensor for tensor in layer.tensors if _group(tensor) == group]
        size = sum(rank_tensor_bytes(t, stored_encoding(t, model, weight_format), cut) for t in held)
        routed = group == "routed experts" and isinstance(layer.mlp, MoeMlp)
        used = layer.mlp.top_k / layer.mlp.experts if routed and isinstance(layer.mlp, MoeMlp) else 1.0
        yield block, (size, size * used)


def _group(tensor: Tensor) -> Group | None:
    return _GROUP_OF_ROLE.get(tensor.role) if tensor.is_matrix else None
