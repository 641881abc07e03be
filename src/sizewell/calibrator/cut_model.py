"""A model with fewer layers and, where memory is short, fewer experts, at its full width."""

from __future__ import annotations

from dataclasses import replace

from sizewell.specs.errors import BadInputError
from sizewell.specs.layers import Layer, MoeMlp
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor, whole


def cut_model(model: ModelSpec, layers: int, experts: int = 0) -> ModelSpec:
    """Return the last `layers` layers of a model, with `experts` routed experts each where that is not 0.

    The last layers are taken because the first of a mixture are often dense. Raises BadInputError for more layers
    than the model has, or fewer experts than a token chooses.
    """
    if not 0 < layers <= len(model.layers):
        raise BadInputError(f"{model.name} has {len(model.layers)} layers; {layers} cannot be cut from it")
    kept = tuple(_with_experts(model, layer, experts) for layer in model.layers[-layers:])
    return replace(model, layers=kept, mtp_layers=(), vision=(), exact_sizes=None)


def _with_experts(model: ModelSpec, layer: Layer, experts: int) -> Layer:
    if not experts or not isinstance(layer.mlp, MoeMlp):
        return layer
    if not layer.mlp.top_k <= experts <= layer.mlp.experts:
        raise BadInputError(f"{model.name}: experts={experts} must lie in {layer.mlp.top_k} … {layer.mlp.experts}")
    tensors = tuple(_fewer(tensor, experts) for tensor in layer.tensors)
    return replace(layer, mlp=replace(layer.mlp, experts=experts), tensors=tensors)


def _fewer(tensor: Tensor, experts: int) -> Tensor:
    if tensor.role == "routed-experts":
        return replace(tensor, matrices=experts)
    return replace(tensor, rows=(whole(experts),)) if tensor.role == "router" else tensor
