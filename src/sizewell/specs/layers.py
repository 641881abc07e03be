"""The kinds of layer a model is made of, reduced to what memory and step cost depend on.

A mixer moves information between tokens (attention or a recurrent state); an MLP works on each token alone.
Sizes are elements, counts are per layer, windows are tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.specs.tensor import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Softmax attention with one cache row per token: MHA (kv_heads = heads), GQA or MQA (kv_heads = 1).

    `window_tokens` is a sliding window; `chunk_tokens` a chunked-local span (Llama 4). Both None = full attention.
    `sparse_top_k_tokens` bounds what a decode step reads when an index selects blocks (MiniMax M3).
    `reuses_cache`: the layer reads the rows an earlier one wrote and keeps none of its own (Gemma 3n).
    """

    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    window_tokens: int | None = None
    chunk_tokens: int | None = None
    sparse_top_k_tokens: int | None = None
    index_elements: int = 0
    reuses_cache: bool = False

    @property
    def span_tokens(self) -> int | None:
        """How many tokens back a query can see, None for all."""
        return self.window_tokens or self.chunk_tokens

    def rank_kv_heads(self, tp: int) -> int:
        """Return the key/value heads one rank stores: shared out until tp = kv_heads, then replicated."""
        return max(1, self.kv_heads // tp)

    def rank_kv_elements_per_token(self, tp: int) -> int:
        """Return cached elements (keys and values) per token and rank."""
        return self.rank_kv_heads(tp) * (self.head_dim + self.v_head_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """The DSA selector that picks `top_k_tokens` for sparse latent attention (DeepSeek V3.2, GLM-5)."""

    heads: int
    head_dim: int
    top_k_tokens: int

    @property
    def cache_bytes_per_token(self) -> int:
        """FP8 key plus one float32 scale for each 128 elements."""
        return self.head_dim + 4 * -(-self.head_dim // 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek V2/V3/R1, Kimi, GLM-5): one compressed row per token for all heads.

    The latent has a single head, so every tensor-parallel rank stores it whole.
    """

    heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    indexer: Indexer | None = None

    @property
    def latent_elements(self) -> int:
        """Cached elements per token: compressed latent plus the shared rope key."""
        return self.kv_lora_rank + self.qk_rope_head_dim

    def rank_kv_elements_per_token(self, tp: int) -> int:
        """Return cached elements per token and rank: the same for every `tp` because the latent is replicated."""
        del tp
        return self.latent_elements


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedAttention:
    """DeepSeek V4: a window of raw latents plus one state for each `compress_ratio` tokens (0 = window only)."""

    heads: int
    head_dim: int
    rope_head_dim: int
    window_tokens: int
    compress_ratio: int
    indexer: Indexer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2:
    """A Mamba-2 state-space mixer: fixed state per sequence, whatever its length."""

    heads: int
    head_dim: int
    state_size: int
    groups: int
    conv_kernel: int

    def rank_conv_elements(self, tp: int) -> int:
        """Return convolution state elements per sequence and rank; groups are raised to a multiple of tp."""
        groups = self.groups if self.groups % tp == 0 else -(-self.groups // tp) * tp
        channels = self.heads * self.head_dim + 2 * groups * self.state_size
        return channels // tp * (self.conv_kernel - 1)

    def rank_state_elements(self, tp: int) -> int:
        """Return recurrent state elements per sequence and rank."""
        return self.heads // tp * self.head_dim * self.state_size


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedDeltaNet:
    """Gated delta rule mixer (Qwen3-Next, Qwen3.5): state of value_dim × key_dim per value head."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int

    def rank_conv_elements(self, tp: int) -> int:
        """Return convolution state elements per sequence and rank."""
        channels = 2 * self.key_dim * self.key_heads + self.value_dim * self.value_heads
        return channels // tp * (self.conv_kernel - 1)

    def rank_state_elements(self, tp: int) -> int:
        """Return recurrent state elements per sequence and rank."""
        return self.value_heads // tp * self.value_dim * self.key_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class KimiDelta:
    """Linear attention with a square state per head: Kimi delta attention (Kimi-Linear, K3), lightning (MiniMax-01).

    `conv_kernel` 1 is no convolution.
    """

    heads: int
    head_dim: int
    conv_kernel: int

    def rank_conv_elements(self, tp: int) -> int:
        """Return convolution state elements (q, k and v) per sequence and rank."""
        return 3 * self.heads * self.head_dim // tp * (self.conv_kernel - 1)

    def rank_state_elements(self, tp: int) -> int:
        """Return recurrent state elements per sequence and rank."""
        return self.heads // tp * self.head_dim * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortConvolution:
    """A gated short convolution (LFM2): the last kernel − 1 inputs are its whole state."""

    channels: int
    kernel: int

    def rank_conv_elements(self, tp: int) -> int:
        """Return convolution state elements per sequence and rank."""
        return self.channels // tp * (self.kernel - 1)

    def rank_state_elements(self, tp: int) -> int:
        """Return recurrent state elements per sequence and rank: none beyond the convolution."""
        del tp
        return 0


Recurrent = Mamba2 | GatedDeltaNet | KimiDelta | ShortConvolution
Cached = Attention | LatentAttention | CompressedAttention
Mixer = Cached | Recurrent


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseMlp:
    """A feed-forward block every token passes through; gated ones (SwiGLU) have three matrices, others two."""

    intermediate: int
    gated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeMlp:
    """Routed experts of which each token uses `top_k`, plus an optional shared expert."""

    experts: int
    top_k: int
    intermediate: int
    shared_intermediate: int = 0
    gated: bool = True


Mlp = DenseMlp | MoeMlp


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One decoder layer: an optional mixer, an optional MLP, and every tensor of both and their norms."""

    mixer: Mixer | None
    mlp: Mlp | None
    tensors: tuple[Tensor, ...]

    @property
    def parameters(self) -> int:
        """Parameters of the layer, all experts included."""
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def active_parameters(self) -> int:
        """Parameters one token multiplies with: of the routed experts only top_k."""
        routed = sum(t.parameters for t in self.tensors if t.role == "routed-experts")
        if not routed or not isinstance(self.mlp, MoeMlp):
            return self.parameters
        return self.parameters - routed + routed * self.mlp.top_k // self.mlp.experts
