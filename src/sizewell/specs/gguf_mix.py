"""Which block type each tensor of a GGUF file has in llama.cpp's default mixes.

Source: `llama_tensor_get_type` in llama.cpp's src/llama-quant.cpp. Mixes that give some layers more bits are
blended into one encoding per tensor, since the layers of a model share their tensors here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from sizewell.specs.encoding import FP32, GGUF_BITS_PER_WEIGHT, Encoding, gguf
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor

Layers = Callable[[int, int], bool]
"""Whether layer i of n gets the richer type."""


def _more_bits(i: int, n: int) -> bool:
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def _first_eighth(i: int, n: int) -> bool:
    return i < n // 8


def _first_four(i: int, n: int) -> bool:
    del n
    return i < 4


def _first_two(i: int, n: int) -> bool:
    del n
    return i < 2


def _first_sixteenth(i: int, n: int) -> bool:
    return i < n // 16


def _all(i: int, n: int) -> bool:
    del i, n
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Richer:
    """A better block type for some layers; `rest` is what the others get (empty = the mix's own type)."""

    block: str
    where: Layers = _all
    rest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A file type: its block type and what differs for values, MLP outputs, attention output, head, embedding, experts.

    `grouped_values` holds instead of `values` for four or more query heads to a key/value head.
    """

    block: str
    values: Richer | None = None
    grouped_values: Richer | None = None
    down: Richer | None = None
    out: str = ""
    head: str = "q6_k"
    embedding: str = ""
    experts: str = ""


def _plain(block: str, head: str = "q6_k") -> Mix:
    return Mix(block=block, head=head)


MIXES: dict[str, Mix] = {
    "f16": _plain("f16", "f16"), "bf16": _plain("bf16", "bf16"), "q8_0": _plain("q8_0", "q8_0"),
    "q6_k": _plain("q6_k"), "q5_0": _plain("q5_0"), "q5_1": _plain("q5_1"), "q4_0": _plain("q4_0"),
    "q4_1": _plain("q4_1"),
    "q5_k_m": Mix(block="q5_k", values=Richer(block="q6_k", where=_more_bits),
                  down=Richer(block="q6_k", where=_more_bits)),
    "q5_k_s": _plain("q5_k"),
    "q4_k_m": Mix(block="q4_k", values=Richer(block="q6_k", where=_more_bits),
                  down=Richer(block="q6_k", where=_more_bits)),
    "q4_k_s": Mix(block="q4_k", values=Richer(block="q5_k", where=_first_four),
                  down=Richer(block="q5_k", where=_first_eighth)),
    "q3_k_l": Mix(block="q3_k", values=Richer(block="q5_k"), down=Richer(block="q5_k"), out="q5_k"),
    "q3_k_m": Mix(block="q3_k", values=Richer(block="q5_k", where=_first_two, rest="q4_k"),
                  down=Richer(block="q5_k", where=_first_sixteenth, rest="q4_k"), out="q4_k"),
    "q3_k_s": _plain("q3_k"),
    "q2_k": Mix(block="q2_k", values=Richer(block="q3_k"), grouped_values=Richer(block="q4_k"),
                down=Richer(block="q3_k"), out="q3_k"),
    "iq4_nl": Mix(block="iq4_nl", grouped_values=Richer(block="q5_k")),
    "iq4_xs": Mix(block="iq4_xs", grouped_values=Richer(block="q5_k")),
    "mxfp4_moe": Mix(block="q8_0", head="q8_0", experts="mxfp4"),
}  # fmt: skip
"""llama.cpp's file types by name; the IQ types as made with an importance matrix, which they are published with."""

ODD_WIDTH = {
    "q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0", "iq4_xs": "iq4_nl",
}  # fmt: skip
"""What replaces a block of 256 weights where a row is no multiple of it."""

SUPER_BLOCK_WEIGHTS = 256


def gguf_encoding(tensor: Tensor, model: ModelSpec, name: str) -> Encoding:
    """Return the (blended) encoding of a tensor in a GGUF file of a mix, or of one block type throughout."""
    if not tensor.is_matrix or tensor.role in ("router", "norm"):
        return FP32
    mix = MIXES.get(name) or _plain(name, name)
    blocks = _blocks(tensor, model, mix)
    bits = sum(share * _bits(block, tensor) for block, share in blocks)
    if len(blocks) == 1:
        return _single(_fitting(blocks[0][0], tensor))
    return _blended(name, bits)


@lru_cache(maxsize=256)
def _blended(name: str, bits: float) -> Encoding:
    return Encoding(name=f"gguf-{name}", bits_per_weight=bits, compute="fp16")


@lru_cache(maxsize=64)
def _single(block: str) -> Encoding:
    return gguf(block)


def _fitting(block: str, tensor: Tensor) -> str:
    columns = tensor.columns.elements if tensor.columns else 1
    return block if columns % SUPER_BLOCK_WEIGHTS == 0 else ODD_WIDTH.get(block, block)


def _bits(block: str, tensor: Tensor) -> float:
    return GGUF_BITS_PER_WEIGHT[_fitting(block, tensor)]


def _blocks(tensor: Tensor, model: ModelSpec, mix: Mix) -> list[tuple[str, float]]:
    """Return (block type, share of the tensor's weights over all layers)."""
    if tensor.role == "head" or (tensor.role == "embedding" and model.tied):
        return [(mix.head, 1.0)]
    if tensor.role == "embedding":
        return [(mix.embedding or mix.block, 1.0)]
    count = max(1, len(model.layers))
    block = (tensor.role == "routed-experts" and mix.experts) or mix.block
    if tensor.name.endswith(("down_proj", "experts.w2")):
        return _spread(mix.down, block, count, 1.0)
    if tensor.name.endswith("self_attn.o_proj"):
        return [(mix.out or mix.block, 1.0)]
    if tensor.name.endswith("self_attn.qkv_proj") and len(tensor.rows) == 3:
        return _with_values(tensor, mix, count)
    return [(block, 1.0)]


def _with_values(tensor: Tensor, mix: Mix, count: int) -> list[tuple[str, float]]:
    queries, keys, values = (part.elements for part in tensor.rows)
    richer = mix.values
    if mix.grouped_values is not None and tensor.rows[0].units >= 4 * tensor.rows[2].units:
        richer = mix.grouped_values
    share = values / (queries + keys + values)
    return [(mix.block, 1 - share), *_spread(richer, mix.block, count, share)]


def _spread(richer: Richer | None, block: str, count: int, share: float) -> list[tuple[str, float]]:
    if richer is None:
        return [(block, share)]
    fraction = sum(richer.where(i, count) for i in range(count)) / count
    if fraction == 1:
        return [(richer.block, share)]
    return [(richer.block, share * fraction), (richer.rest or block, share * (1 - fraction))]
