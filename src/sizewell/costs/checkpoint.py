"""What a checkpoint takes on disk: every tensor as it is stored, drafts included, nothing rounded or copied."""

from __future__ import annotations

from sizewell.specs.encoding import Encoding
from sizewell.specs.model import FileClass, ModelSpec, file_class
from sizewell.specs.tensor import Tensor
from sizewell.specs.weight_format import stored_encoding

OWN_VOCABULARY = "eh_proj"
"""Prediction layers that join embedding and hidden state in this matrix are stored with copies of embedding and head
(released DeepSeek-V3 and GLM-4.5 checkpoints)."""


def checkpoint_bytes(model: ModelSpec, weight_format: str) -> float:
    """Return the bytes on disk: those of the files where they are known and served as they are, else the arithmetic."""
    if weight_format == "native" and model.exact_sizes:
        return float(model.exact_sizes.total_bytes)
    return sum(stored_bytes(model, weight_format).values())


def stored_bytes(model: ModelSpec, weight_format: str = "native") -> dict[FileClass, float]:
    """Return the stored bytes of each class of tensors, prediction layers among them; GGUF files leave those out."""
    found: dict[FileClass, float] = {}
    outside = (model.embedding, *model.final_norm, *model.extra, *model.vision, *((model.head,) if model.head else ()))
    layers = ((tensor, n) for layer, n in model.layer_counts.items() for tensor in layer.tensors)
    for tensor, count in (*((tensor, 1) for tensor in outside), *layers):
        kind = file_class(tensor.role)
        found[kind] = found.get(kind, 0.0) + count * _bytes(tensor, stored_encoding(tensor, model, weight_format))
    drafts = () if weight_format.startswith("gguf") else _draft_tensors(model)
    if drafts:
        found["mtp"] = sum(_bytes(tensor, stored_encoding(tensor, model, weight_format)) for tensor in drafts)
    return found


def _draft_tensors(model: ModelSpec) -> tuple[Tensor, ...]:
    tensors = tuple(tensor for layer in model.mtp_layers for tensor in layer.tensors)
    copies = sum(tensor.name == OWN_VOCABULARY for tensor in tensors)
    return tensors + copies * (model.embedding, *((model.head,) if model.head else ()))


def _bytes(tensor: Tensor, encoding: Encoding) -> float:
    rows = tensor.rank_rows(1)
    if not tensor.is_matrix:
        return tensor.matrices * rows * (tensor.stored.bits_per_weight if tensor.stored else 16) / 8
    bias = tensor.matrices * rows * 2 if tensor.bias else 0
    codebooks = encoding.extra_bytes * (len(tensor.rows) - 1) * tensor.matrices
    return encoding.bytes(rows, tensor.rank_columns(1), tensor.matrices) + bias + codebooks
