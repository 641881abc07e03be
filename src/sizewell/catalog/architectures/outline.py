"""What a family says about its language model, and the pieces every family shares."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import Layer, Mixer, Mlp
from sizewell.specs.tensor import Part, Tensor, column_parallel, replicated, split, whole

Kind = TypeVar("Kind", bound=Hashable)


class MixerBlock(NamedTuple):
    """A mixer and its tensors."""

    kind: Mixer
    tensors: tuple[Tensor, ...]


class MlpBlock(NamedTuple):
    """A feed-forward block and its tensors."""

    kind: Mlp
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A language model as its family builds it, before formats and limits are known."""

    hidden: int
    vocabulary: int
    layers: tuple[Layer, ...]
    embedding: Tensor
    head: Tensor | None
    final_norm: tuple[Tensor, ...]
    mtp_layers: tuple[Layer, ...] = ()
    extra: tuple[Tensor, ...] = ()
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How a family begins and ends: tying when the configuration is silent, biases, extra tensors."""

    tied: bool = False
    norm_bias: bool = False
    head_bias: bool = False
    extra: tuple[Tensor, ...] = ()
    assumed: tuple[str, ...] = ()


def norms(hidden: int, count: int = 1, *, bias: bool = False, name: str = "norms") -> Tensor:
    """Return `count` norms over the hidden width as one stacked vector."""
    return Tensor(name=name, role="norm", rows=(whole(hidden),), matrices=count, bias=bias)


def small(name: str, *parts: Part, count: int = 1) -> Tensor:
    """Return a small vector beside the matrices: a norm over heads, sinks, decays."""
    return Tensor(name=name, role="norm", rows=parts, matrices=count)


def layer(mixer: MixerBlock | None, mlp: MlpBlock | None, *others: Tensor) -> Layer:
    """Return a layer of an optional mixer, an optional MLP and its norms."""
    tensors = (*(mixer.tensors if mixer else ()), *(mlp.tensors if mlp else ()), *others)
    return Layer(mixer=mixer.kind if mixer else None, mlp=mlp.kind if mlp else None, tensors=tensors)


def stack(kinds: list[Kind], build: Callable[[Kind], Layer]) -> tuple[Layer, ...]:
    """Return one layer per kind, each distinct kind built once so that equal layers are one object."""
    built: dict[Kind, Layer] = {}
    for kind in kinds:
        if kind not in built:
            built[kind] = build(kind)
    return tuple(built[kind] for kind in kinds)


def is_tied(text: Fields, default: bool) -> bool:
    """Return whether head and embedding are one: the wrapper says it for its sections, else they, else the class."""
    stated = text.flag("tie_word_embeddings", default)
    return stated if text.parent is None else is_tied(text.parent, stated)


def outline(
    text: Fields, layers: tuple[Layer, ...], ends: Ends | None = None, mtp_layers: tuple[Layer, ...] = ()
) -> Outline:
    """Return the whole language model around `layers`."""
    ends = ends or Ends()
    hidden, vocabulary = text.size("hidden_size"), text.size("vocab_size")
    tied = is_tied(text, ends.tied)
    return Outline(
        hidden=hidden,
        vocabulary=vocabulary,
        layers=layers,
        embedding=column_parallel("embed_tokens", "embedding", hidden, split(vocabulary)),
        head=None if tied else column_parallel("lm_head", "head", hidden, split(vocabulary), bias=ends.head_bias),
        final_norm=(norms(hidden, bias=ends.norm_bias, name="norm"),),
        mtp_layers=mtp_layers,
        extra=ends.extra,
        assumed=ends.assumed,
    )


def next_token_layers(text: Fields, last: Layer) -> tuple[Layer, ...]:
    """Return the multi-token-prediction layers: one more layer with a joining matrix and three norms.

    Copies of embedding and head that some checkpoints store are left out: engines share the model's own.
    """
    hidden = text.size("hidden_size")
    count = text.count("num_nextn_predict_layers", 0)
    if count > 8:
        raise text.wrong("num_nextn_predict_layers", count, "at most 8")
    joined = (replicated("eh_proj", "mtp", 2 * hidden, hidden), norms(hidden, 3))
    return (Layer(mixer=last.mixer, mlp=last.mlp, tensors=(*last.tensors, *joined)),) * count
