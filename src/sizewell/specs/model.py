"""What a model *is*: its layers in order, their tensors, its formats and its limits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from sizewell.specs.encoding import BF16, Encoding
from sizewell.specs.layers import (
    Attention,
    Cached,
    CompressedAttention,
    GatedDeltaNet,
    KimiDelta,
    LatentAttention,
    Layer,
    Mamba2,
    Recurrent,
)
from sizewell.specs.tensor import Role, Tensor

FileClass = Literal["embedding", "head", "experts", "vision", "mtp", "layers"]
"""Classes of tensors that the names in any checkpoint tell apart."""


def file_class(role: Role) -> FileClass:
    """Return the class a tensor is counted in among files."""
    return _FILE_CLASSES.get(role, "layers")


_FILE_CLASSES: dict[Role, FileClass] = {
    "embedding": "embedding", "head": "head", "routed-experts": "experts", "vision": "vision", "mtp": "mtp",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactSizes:
    """Sizes read from safetensors headers or the index: they win over arithmetic where both exist.

    `by_class` are the bytes of each class where headers tell them. `scales` is what to multiply counted bytes of a
    class by so that they are the files'; empty where the files cannot be those of the configuration.
    """

    total_bytes: int
    parameters: int
    files: int
    source: str
    by_class: tuple[tuple[FileClass, int], ...] = ()
    scales: tuple[tuple[FileClass, float], ...] = ()

    def scale(self, role: Role) -> float:
        """Return bytes in the files over counted ones for tensors of a role; 1 where nothing is known."""
        return dict(self.scales).get(file_class(role), 1.0)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model reduced to layers and tensors.

    `weight_format` names the format the checkpoint is stored in (`bf16`, `fp8-block128`, `awq-int4` …);
    each tensor's `stored` encoding is the exact truth. `kv_format` is the cache format the checkpoint asks for
    (`auto` = the activation type). `rope_tables` are (positions, rotary width) pairs the engine keeps resident.
    An encoder gives `encoder_outputs` rows of the hidden width for each of up to `encoder_item_tokens` tokens an item,
    merged from `encoder_patches_per_token` patches each (zero: not known).
    `assumed` lists every fact taken on somebody's word instead of from the config.
    """

    name: str
    architecture: str
    hidden: int
    vocabulary: int
    max_context_tokens: int
    layers: tuple[Layer, ...]
    embedding: Tensor
    head: Tensor | None
    final_norm: tuple[Tensor, ...]
    mtp_layers: tuple[Layer, ...] = ()
    vision: tuple[Tensor, ...] = ()
    encoder_outputs: int = 1
    encoder_item_tokens: int = 0
    encoder_patches_per_token: int = 0
    extra: tuple[Tensor, ...] = ()
    dtype: Encoding = BF16
    weight_format: str = "bf16"
    kv_format: str = "auto"
    recurrent_state_dtype_bytes: int = 2
    rope_tables: tuple[tuple[int, int], ...] = ()
    exact_sizes: ExactSizes | None = None
    assumed: tuple[str, ...] = field(default=())

    @property
    def tied(self) -> bool:
        """Whether the output head is the embedding."""
        return self.head is None

    @cached_property
    def layer_counts(self) -> dict[Layer, int]:
        """Distinct layers with how often each occurs, in order of first appearance."""
        # Readers build equal layers once: counting objects first spares hashing every tensor of every layer.
        objects = {id(layer): layer for layer in self.layers}
        counts: dict[Layer, int] = {}
        for key, count in Counter(map(id, self.layers)).items():
            counts[objects[key]] = counts.get(objects[key], 0) + count
        return counts

    @cached_property
    def parameters(self) -> int:
        """All parameters of the language model, the vision tower and connectors; MTP layers not included."""
        return self.text_parameters + self.vision_parameters

    @cached_property
    def text_parameters(self) -> int:
        """Parameters of embedding, layers, final norm and head (a tied head counts once)."""
        outside = (self.embedding, *self.final_norm, *self.extra, *((self.head,) if self.head else ()))
        inside: int = sum(count * layer.parameters for layer, count in self.layer_counts.items())
        around: int = sum(tensor.parameters for tensor in outside)
        return inside + around

    @property
    def vision_parameters(self) -> int:
        """Parameters of vision towers and their connectors."""
        return sum(t.parameters for t in self.vision)

    @property
    def mtp_parameters(self) -> int:
        """Parameters of multi-token-prediction layers: in the checkpoint, loaded only for speculation."""
        return sum(layer.parameters for layer in self.mtp_layers)

    @cached_property
    def active_parameters(self) -> int:
        """Text parameters one token touches: of the routed experts only top_k, embedding and head whole."""
        idle: int = sum(n * (la.parameters - la.active_parameters) for la, n in self.layer_counts.items())
        return self.text_parameters - idle

    @cached_property
    def is_moe(self) -> bool:
        """Whether any layer routes tokens to experts."""
        return any(t.role == "routed-experts" for layer in self.layer_counts for t in layer.tensors)

    @cached_property
    def is_latent(self) -> bool:
        """Whether attention caches a latent that tensor parallelism cannot share out."""
        return any(isinstance(la.mixer, LatentAttention | CompressedAttention) for la in self.layer_counts)

    @cached_property
    def is_recurrent(self) -> bool:
        """Whether any layer keeps a state in place of the tokens it has seen."""
        return any(isinstance(la.mixer, Recurrent) for la in self.layer_counts)

    @property
    def cached_layers(self) -> tuple[Cached, ...]:
        """The attention mixers, in layer order."""
        return tuple(la.mixer for la in self.layers if isinstance(la.mixer, Cached))

    def legal_tp(self, tp: int) -> bool:
        """Return whether heads divide over `tp` ranks the way engines demand (kv heads may replicate)."""
        return all(_divides(la, tp) for la in self.layer_counts)

    def tensors(self) -> tuple[Tensor, ...]:
        """Return every tensor an engine loads for text and vision, layer tensors repeated."""
        per_layer = tuple(t for layer in self.layers for t in layer.tensors)
        return (self.embedding, *per_layer, *self.final_norm, *self.extra, *((self.head,) if self.head else ()))


def _divides(layer: Layer, tp: int) -> bool:
    mixer = layer.mixer
    if isinstance(mixer, Attention):
        return mixer.heads % tp == 0 and (mixer.kv_heads % tp == 0 or tp % mixer.kv_heads == 0)
    if isinstance(mixer, LatentAttention | CompressedAttention):
        return mixer.heads % tp == 0
    if isinstance(mixer, GatedDeltaNet):
        return mixer.value_heads % tp == 0
    if isinstance(mixer, Mamba2 | KimiDelta):
        return mixer.heads % tp == 0
    return True
