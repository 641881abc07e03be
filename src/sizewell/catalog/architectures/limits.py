"""What a configuration says beside its layers: activation type, context length, rope tables, state type.

The context length follows vLLM's `_get_and_verify_max_len`; see docs/cost-model.md.
"""

from __future__ import annotations

from typing import NamedTuple

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

NO_ROPE = frozenset(
    {
        "BloomForCausalLM", "FalconMambaForCausalLM", "GPT2LMHeadModel", "GPTBigCodeForCausalLM", "JambaForCausalLM",
        "Mamba2ForCausalLM", "MambaForCausalLM", "MPTForCausalLM", "MptForCausalLM", "NemotronHForCausalLM",
        "OPTForCausalLM",
    }
)  # fmt: skip
LOCAL_BASES = ("rope_local_base_freq", "swa_rope_theta")
"""Fields that give sliding layers a rope base, and so a table, of their own."""

_TYPES = {
    "bfloat16": BF16, "float16": FP16, "float32": FP32, "bf16": BF16, "fp16": FP16, "fp32": FP32, "half": FP16,
    "float": FP32, "auto": BF16,
}  # fmt: skip
_TYPES_WANTED = "bfloat16, float16 or float32; say otherwise with --assume "


def activation_type(text: Fields) -> Encoding:
    """Return the type the engine computes in: float32 checkpoints are served in 16 bits.

    Raises BadInputError for a type no checkpoint is computed in.
    """
    section: Fields | None = text
    while section is not None:
        for name in ("dtype", "torch_dtype"):
            if name in section:
                found = _type_named(section, name)
                return FP16 if found is FP32 else found
        section = section.parent
    return BF16


def _type_named(section: Fields, name: str) -> Encoding:
    found = _TYPES.get(section.text(name).removeprefix("torch."))
    if found is None:
        place = f"{section.path}{name}=bfloat16"
        raise section.wrong(name, section.text(name), f"{_TYPES_WANTED}{place}")
    return found


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


class Rotation(NamedTuple):
    """A head width that is rotated: in part where the share says so, with the local base or the global one."""

    width: int
    in_part: bool
    local: bool


def rope_tables(text: Fields, architecture: str, layers: tuple[Layer, ...]) -> tuple[tuple[int, int], ...]:
    """Return (positions, rotary width) of each cos/sin table an engine keeps: one per head width and base."""
    if architecture in NO_ROPE or _turned_off(text):
        return ()
    rotations = _rotations(layers)
    if (
        not any(field in text for field in LOCAL_BASES)
        and not _per_kind(text)
        and "gemma3" not in text.text("model_type")
    ):
        rotations = {rotation._replace(local=False) for rotation in rotations}
    positions = max_context_tokens(text)
    return tuple((positions, _rotary_width(text, rotation)) for rotation in sorted(rotations))


def _turned_off(text: Fields) -> bool:
    return (
        text.flag("mla_use_nope", False)
        or text.flag("alibi", False)
        or not text.flag("use_mem_rope", True)
        or text.text("position_embedding_type") == "nope"
    )


def _per_kind(text: Fields) -> bool:
    """Return whether sliding layers rotate by a table of their own; equal settings make one table."""
    rope = text.section("rope_parameters")
    return rope is not None and rope.values.get("sliding_attention") not in (None, rope.values.get("full_attention"))


def _rotary_width(text: Fields, rotation: Rotation) -> int:
    rope = text.section("rope_parameters") if _per_kind(text) and rotation.local else rope_section(text)
    if rope is not None and "sliding_attention" in rope:
        rope = rope.section("sliding_attention")
    stated = text.number("partial_rotary_factor", text.number("rotary_pct", 1.0))
    share = rope.number("partial_rotary_factor", stated) if rope else stated
    if rotation.in_part and "rotary_dim" in text:
        return min(text.size("rotary_dim"), rotation.width)
    return int(rotation.width * share) if rotation.in_part else rotation.width


def _rotations(layers: tuple[Layer, ...]) -> set[Rotation]:
    found: set[Rotation] = set()
    for mixer in {id(layer): layer.mixer for layer in layers}.values():
        if isinstance(mixer, Attention):
            found.add(Rotation(mixer.head_dim, True, mixer.span_tokens is not None))
        elif isinstance(mixer, LatentAttention):
            found.add(Rotation(mixer.qk_rope_head_dim, False, False))
        elif isinstance(mixer, CompressedAttention):
            found.add(Rotation(mixer.rope_head_dim, False, False))
    return found


def recurrent_state_bytes(text: Fields, activation: Encoding) -> int:
    """Return the bytes of one recurrent state element: what the checkpoint asks for, else the activation type."""
    for name in ("mamba_ssm_cache_dtype", "mamba_ssm_dtype"):
        if name in text:
            return int(_type_named(text, name).bits_per_weight) // 8
    return int(activation.bits_per_weight) // 8
