"""The attention halves of decoder layers, made of PyTorch's operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sizewell.observer.measure.attention import FastestAttention
from sizewell.observer.measure.attention_probes import latent_attention
from sizewell.observer.measure.bench import Bench
from sizewell.specs.layers import Attention, LatentAttention, Mixer

Mix = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShape:
    """`tokens` of each of `sequences` pass through the layers; decode reads `context_tokens` of cache, prefill none."""

    sequences: int
    tokens: int
    context_tokens: int

    @property
    def rows(self) -> int:
        """Tokens of the whole batch."""
        return self.sequences * self.tokens

    def by_head(self, rows: Any) -> Any:
        """Return [rows, heads, width] as [sequences, heads, tokens, width]."""
        return rows.reshape(self.sequences, self.tokens, *rows.shape[1:]).transpose(1, 2)


def mixer_of(bench: Bench, mixer: Mixer | None, weights: Mapping[str, Any], shape: StepShape) -> Mix:
    """Return the attention of one layer as a function of its rows; RuntimeError for a mixer not built here."""
    if isinstance(mixer, Attention):
        return _Grouped(bench, mixer, weights, shape)
    if isinstance(mixer, LatentAttention) and mixer.q_lora_rank:
        return _Latent(bench, mixer, weights, shape)
    raise RuntimeError(f"layers with {type(mixer).__name__} are not built here")


class _Mixer:
    def __init__(self, bench: Bench, weights: Mapping[str, Any], shape: StepShape) -> None:
        self.bench, self.weights, self.shape = bench, weights, shape
        self.functional = bench.torch.nn.functional

    def times(self, rows: Any, name: str) -> Any:
        """Return the product of rows with a weight matrix."""
        return self.bench.torch.mm(rows, self.weights[f"self_attn.{name}"].t())

    def normed(self, rows: Any, weight: Any) -> Any:
        """Return rows over their root mean square."""
        return self.functional.rms_norm(rows, rows.shape[-1:], weight)

    def cached(self, *shape: int) -> Any:
        """Return a cache in the type of the weights."""
        return self.bench.filled(*shape).to(self.weights["self_attn.o_proj"].dtype)


class _Grouped(_Mixer):
    def __init__(self, bench: Bench, mixer: Attention, weights: Mapping[str, Any], shape: StepShape) -> None:
        super().__init__(bench, weights, shape)
        self.mixer = mixer
        decodes = bool(shape.context_tokens)
        self.attend = FastestAttention(bench, causal=not decodes, grouped=not decodes)
        each = (shape.sequences, mixer.kv_heads, shape.context_tokens, mixer.head_dim)
        self.cache = [self.cached(*each) for _ in range(2)] if shape.context_tokens else []

    def __call__(self, rows: Any) -> Any:
        mixer, shape = self.mixer, self.shape
        heads = self.times(rows, "qkv_proj").view(shape.rows, -1, mixer.head_dim)
        query, key, value = heads.split([mixer.heads, mixer.kv_heads, mixer.kv_heads], dim=1)
        norms = self.weights.get("self_attn.qk_norm")
        if norms is not None:
            query, key = self.normed(query, norms[0]), self.normed(key, norms[1])
        if self.cache:
            groups = query.reshape(shape.sequences, mixer.kv_heads, -1, mixer.head_dim)
            seen = self.attend(groups, *self.cache)
        else:
            parts = [shape.by_head(part) for part in (query, key, value)]
            seen = self.attend(*parts).transpose(1, 2)
        return self.times(seen.reshape(shape.rows, -1), "o_proj")


class _Latent(_Mixer):
    """Absorbed in decode: queries are moved into the latent's space. In prefill keys and values are expanded."""

    def __init__(self, bench: Bench, mixer: LatentAttention, weights: Mapping[str, Any], shape: StepShape) -> None:
        super().__init__(bench, weights, shape)
        self.mixer = mixer
        self.attend = FastestAttention(bench, causal=True)
        each = (shape.sequences, shape.context_tokens, mixer.latent_elements)
        self.cache = self.cached(*each) if shape.context_tokens else None

    def __call__(self, rows: Any) -> Any:
        mixer, shape, weights = self.mixer, self.shape, self.weights
        first = self.times(rows, "fused_qkv_a_proj")
        low, latent, turned = first.split([mixer.q_lora_rank, mixer.kv_lora_rank, mixer.qk_rope_head_dim], dim=-1)
        low = self.normed(low, weights["self_attn.q_a_layernorm"])
        latent = self.normed(latent, weights["self_attn.kv_a_layernorm"])
        query = self.times(low, "q_b_proj").view(shape.rows, mixer.heads, -1)
        seen = self._expanded(query, latent, turned) if self.cache is None else self._absorbed(query)
        return self.times(seen.reshape(shape.rows, -1), "o_proj")

    def _absorbed(self, query: Any) -> Any:
        torch, mixer = self.bench.torch, self.mixer
        expansion = self.weights["self_attn.kv_b_proj"].view(mixer.heads, -1, mixer.kv_lora_rank)
        keys, values = expansion.split([mixer.qk_nope_head_dim, mixer.v_head_dim], dim=1)
        scaled = query * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim) ** -0.5
        plain, turned = scaled.split([mixer.qk_nope_head_dim, mixer.qk_rope_head_dim], dim=-1)
        moved = torch.bmm(plain.transpose(0, 1), keys).transpose(0, 1)
        seen = latent_attention(self.bench, torch.cat([moved, turned], dim=-1), self.cache, mixer.kv_lora_rank)
        return torch.bmm(seen.transpose(0, 1), values.transpose(1, 2)).transpose(0, 1)

    def _expanded(self, query: Any, latent: Any, turned: Any) -> Any:
        mixer = self.mixer
        expanded = self.times(latent, "kv_b_proj").view(self.shape.rows, mixer.heads, -1)
        plain, value = expanded.split([mixer.qk_nope_head_dim, mixer.v_head_dim], dim=-1)
        key = self.bench.torch.cat([plain, turned.unsqueeze(1).expand(-1, mixer.heads, -1)], dim=-1)
        parts = [self.shape.by_head(part) for part in (query, key, value)]
        return self.attend(*parts).transpose(1, 2)
