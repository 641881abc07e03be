"""What a configuration says beside its layers: activation type, context length, rope tables, state type.

The context length follows vLLM's `_get_and_verify_max_len`; see docs/cost-model.md.
"""

from __future__ import annotations

from sizewell.catalog.config_fields import Fields
from sizewell.specs.encoding import BF16, FP16, FP32, Encoding
from sizewell.specs.layers import Attention, CompressedAttention, LatentAttention, Layer

POSITION_FIELDS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "max_seq_length",
    "seq_len",
)  # fmt: skip
DEFAULT_CONTEXT_TOKENS = 2048
"""What vLLM falls back on when a configuration names no limit."""

ALREADY_SCALED = frozenset({"su", "longrope", "llama3", "default", "mrope"})
"""Rope kinds whose factor is already part of the stated number of positions."""

NO_ROPE = frozenset({"JambaForCausalLM", "NemotronHForCausalLM", "FalconMambaForCausalLM", "Mamba2ForCausalLM"})

_TYPES = {"bfloat16": BF16, "float16": FP16, "float32": FP32, "half": FP16, "bf16": BF16, "fp16": FP16}


def activation_type(text: Fields) -> Encoding:
    """Return the type the engine computes in: float32 checkpoints are served in 16 bits."""
    section: Fields | None = text
    while section is not None:
        for name in ("dtype", "torch_dtype"):
            if isinstance(section.values.get(name), str):
                found = _TYPES.get(section.text(name).removeprefix("torch."), BF16)
                return FP16 if found is FP32 else found
        section = section.parent
    return BF16


def rope_section(text: Fields) -> Fields | None:
    """Return the rope settings; newer files keep one set per kind of layer, of which the full one counts."""
    name = "rope_parameters" if "rope_parameters" in text else "rope_scaling"
    rope = text.section(name)
    if rope is not None and "full_attention" in rope:
        return rope.section("full_attention")
    return rope


def stated_positions(text: Fields) -> int | None:
    """Return the least number of positions any field states, None without one."""
    stated = [text.size(name) for name in POSITION_FIELDS if name in text]
    return min(stated) if stated else None


def max_context_tokens(text: Fields) -> int:
    """Return the longest context an engine accepts without further flags."""
    tokens = stated_positions(text)
    if "model_max_length" in text:
        tokens = text.size("model_max_length")
    if tokens is None:
        return DEFAULT_CONTEXT_TOKENS
    return _scaled(text, tokens)


def _scaled(text: Fields, tokens: int) -> int:
    rope = rope_section(text)
    if rope is None or "gemma3" in text.text("model_type"):
        return tokens
    kind = rope.text("rope_type", rope.text("type", "default"))
    if kind in ALREADY_SCALED:
        return tokens
    factor = rope.number("factor", 1.0)
    if not 1.0 <= factor <= 1e6:
        raise rope.wrong("factor", factor, "1 to 1000000")
    if kind == "yarn":
        tokens = rope.size("original_max_position_embeddings", tokens)
    return int(tokens * factor)


def rope_tables(text: Fields, architecture: str, layers: tuple[Layer, ...]) -> tuple[tuple[int, int], ...]:
    """Return (positions, rotary width) of each cos/sin table an engine keeps: one per head width and base."""
    if architecture in NO_ROPE or text.flag("mla_use_nope", False):
        return ()
    positions = max_context_tokens(text)
    rope = rope_section(text)
    share = text.number("partial_rotary_factor", rope.number("partial_rotary_factor", 1.0) if rope else 1.0)
    widths = _rotary_widths(layers)
    tables = [(positions, int(width * share) if partial else width) for width, partial in sorted(widths)]
    twice = "rope_local_base_freq" in text or "gemma3" in text.text("model_type")
    return tuple(tables * 2 if twice else tables)


def _rotary_widths(layers: tuple[Layer, ...]) -> set[tuple[int, bool]]:
    widths: set[tuple[int, bool]] = set()
    for mixer in {id(layer): layer.mixer for layer in layers}.values():
        if isinstance(mixer, Attention):
            widths.add((mixer.head_dim, True))
        elif isinstance(mixer, LatentAttention):
            widths.add((mixer.qk_rope_head_dim, False))
        elif isinstance(mixer, CompressedAttention):
            widths.add((mixer.rope_head_dim, False))
    return widths


def recurrent_state_bytes(text: Fields, activation: Encoding) -> int:
    """Return the bytes of one recurrent state element: what the checkpoint asks for, else the activation type."""
    for name in ("mamba_ssm_cache_dtype", "mamba_ssm_dtype"):
        if name in text:
            return 4 if text.text(name) == "float32" else 2
    return int(activation.bits_per_weight) // 8
