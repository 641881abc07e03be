"""Decoders whose every layer is softmax attention and a dense MLP: Llama, Qwen, Mistral, Phi-3 and their kin."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizewell.catalog.architectures.attention import PLAIN, AttentionTraits, HeadShape, Reach, attention, read_heads
from sizewell.catalog.architectures.mlp import dense
from sizewell.catalog.architectures.outline import Ends, Outline, layer, norms, outline, stack
from sizewell.catalog.architectures.windows import every_nth_full, listed, reaches, same_everywhere
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import Layer
from sizewell.specs.tensor import Tensor, replicated, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseTraits:
    """How the layers of a dense decoder differ from Llama's."""

    attention: AttentionTraits = PLAIN
    norms: int = 2
    norm_bias: bool = False
    gated: bool = True
    mlp_bias: bool = False
    others: tuple[Tensor, ...] = ()


LLAMA_LIKE = DenseTraits()


def dense_layers(
    text: Fields, shape: HeadShape, spans: list[Reach], traits: DenseTraits = LLAMA_LIKE
) -> tuple[Layer, ...]:
    """Return one layer per span."""
    hidden = text.size("hidden_size")
    mlp = dense(hidden, text.size("intermediate_size"), gated=traits.gated, bias=traits.mlp_bias)
    around = (norms(hidden, traits.norms, bias=traits.norm_bias), *traits.others)
    return stack(spans, lambda span: layer(attention(hidden, shape, traits.attention, span), mlp, *around))


def llama(text: Fields) -> Outline:
    """Llama: `attention_bias` covers all four projections."""
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), _llama_traits(text)))


def cwm(text: Fields) -> Outline:
    """CWM: Llama layers of which `layer_types` says which slide."""
    spans = reaches(text, listed(text) or every_nth_full(text, 4), text.count("sliding_window", 8192) or None)
    return outline(text, dense_layers(text, read_heads(text, head_dim=128), spans, _llama_traits(text)))


def olmo(text: Fields) -> Outline:
    """OLMo: Llama layers whose norms have no weights."""
    bias = text.flag("attention_bias", False)
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=bias, out_bias=bias), norms=0)
    built = outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits))
    return replace(built, final_norm=())


def _llama_traits(text: Fields) -> DenseTraits:
    bias = text.flag("attention_bias", False)
    return DenseTraits(attention=AttentionTraits(qkv_bias=bias, out_bias=bias), mlp_bias=text.flag("mlp_bias", False))


def smollm3(text: Fields) -> Outline:
    """SmolLM3: Llama layers, tied unless said otherwise."""
    return outline(
        text, dense_layers(text, read_heads(text), _qwen_reaches(text), _llama_traits(text)), Ends(tied=True)
    )


def internlm(text: Fields) -> Outline:
    """InternLM: Llama layers whose `bias` covers all four projections."""
    bias = text.flag("bias", True)
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=bias, out_bias=bias))
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits))


def internlm3(text: Fields) -> Outline:
    """InternLM3: `bias` covers output and MLP, `qkv_bias` the rest; transformers 5 calls them by Llama's names."""
    rest = text.flag("mlp_bias", text.flag("bias", False))
    heads = AttentionTraits(qkv_bias=text.flag("attention_bias", text.flag("qkv_bias", False)), out_bias=rest)
    traits = DenseTraits(attention=heads, mlp_bias=rest)
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits))


def mistral(text: Fields) -> Outline:
    """Mistral, Ministral: `sliding_window` holds for every layer unless `layer_types` says which."""
    local = listed(text) or [True] * text.layers()
    spans = reaches(text, local, text.optional_count("sliding_window"))
    return outline(text, dense_layers(text, read_heads(text, kv_heads=_mistral_kv_heads(text)), spans))


def phi3(text: Fields) -> Outline:
    """Phi-3 and Phi-4: Mistral's layers; a window as wide as the context is none."""
    window = text.optional_count("sliding_window")
    if window is not None and window >= text.count("max_position_embeddings", 0) > 0:
        window = None
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text, window)))


def qwen2(text: Fields) -> Outline:
    """Qwen2 and Qwen2.5: query, key and value always carry a bias."""
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=True))
    return outline(text, dense_layers(text, read_heads(text), _qwen_reaches(text), traits))


def qwen3(text: Fields) -> Outline:
    """Qwen3: a norm on the query and key heads; the head width defaults to 128."""
    bias = text.flag("attention_bias", False)
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=bias, out_bias=bias, qk_norm="head"))
    return outline(text, dense_layers(text, read_heads(text, head_dim=128), _qwen_reaches(text), traits))


def mimo(text: Fields) -> Outline:
    """MiMo-7B: Qwen2 layers and a dense multi-token-prediction layer."""
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=text.flag("attention_bias", True)))
    layers = dense_layers(text, read_heads(text), _qwen_reaches(text), traits)
    hidden = text.size("hidden_size")
    joined = (replicated("mtp.input_proj", "mtp", 2 * hidden, hidden), norms(hidden, 3))
    extended = Layer(mixer=layers[-1].mixer, mlp=layers[-1].mlp, tensors=(*layers[-1].tensors, *joined))
    return outline(text, layers, mtp_layers=(extended,) * text.count("num_nextn_predict_layers", 0))


def seed_oss(text: Fields) -> Outline:
    """Seed-OSS: biases on query, key and value, a separate switch for the output."""
    traits = DenseTraits(
        attention=AttentionTraits(
            qkv_bias=text.flag("attention_bias", True), out_bias=text.flag("attention_out_bias", False)
        ),
        mlp_bias=text.flag("mlp_bias", False),
    )
    return outline(text, dense_layers(text, read_heads(text, head_dim=128), same_everywhere(text), traits))


def glm(text: Fields) -> Outline:
    """GLM-4-9B: biases on query, key and value by default."""
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=text.flag("attention_bias", True)))
    return outline(text, dense_layers(text, read_heads(text, kv_heads=2, head_dim=128), same_everywhere(text), traits))


def glm4(text: Fields) -> Outline:
    """GLM-4-32B-0414: GLM with two more norms after the blocks."""
    return _glm4(text, read_heads(text, kv_heads=2, head_dim=128))


def glm4v(text: Fields) -> Outline:
    """GLM-4.1V: GLM-4-0414 whose head width follows from the hidden one."""
    return _glm4(text, read_heads(text, kv_heads=2))


def _glm4(text: Fields, shape: HeadShape) -> Outline:
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=text.flag("attention_bias", True)), norms=4)
    return outline(text, dense_layers(text, shape, same_everywhere(text), traits))


def olmo2(text: Fields) -> Outline:
    """OLMo 2: norms over the whole query and key projections, both layer norms after their block."""
    bias = text.flag("attention_bias", False)
    traits = DenseTraits(attention=AttentionTraits(qk_norm="full", qkv_bias=bias, out_bias=bias))
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits))


def exaone4(text: Fields) -> Outline:
    """EXAONE 4: norms on heads; three of four layers slide where the pattern says so."""
    window = text.optional_count("sliding_window")
    local = listed(text) or every_nth_full(text, 4 if window else 0)
    traits = DenseTraits(attention=AttentionTraits(qk_norm="head"))
    return outline(text, dense_layers(text, read_heads(text), reaches(text, local, window), traits))


def cohere(text: Fields) -> Outline:
    """Command R: attention and MLP in parallel behind one norm, tied; optional norms over all heads."""
    bias, normed = text.flag("attention_bias", False), text.flag("use_qk_norm", False)
    heads = AttentionTraits(qkv_bias=bias, out_bias=bias, qk_norm="full" if normed else "none")
    traits = DenseTraits(attention=heads, norms=1)
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits), Ends(tied=True))


def apertus(text: Fields) -> Outline:
    """Apertus: norms on heads, an ungated MLP whose activation has two learned scalars."""
    scalars = Tensor(name="mlp.act_fn", role="norm", rows=(whole(2),))
    traits = DenseTraits(attention=AttentionTraits(qk_norm="head"), gated=False, others=(scalars,))
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits))


def ernie(text: Fields) -> Outline:
    """ERNIE 4.5 dense: `use_bias` covers all projections; tied by default."""
    bias = text.flag("use_bias", False)
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=bias, out_bias=bias), mlp_bias=bias)
    shape = read_heads(text, kv_heads=2, head_dim=128)
    return outline(text, dense_layers(text, shape, same_everywhere(text), traits), Ends(tied=True))


def olmo3(text: Fields) -> Outline:
    """OLMo 3: OLMo 2 with three of four layers sliding."""
    local = listed(text) or every_nth_full(text, 4)
    bias = text.flag("attention_bias", False)
    traits = DenseTraits(attention=AttentionTraits(qk_norm="full", qkv_bias=bias, out_bias=bias))
    spans = reaches(text, local, text.count("sliding_window", 4096) or None)
    return outline(text, dense_layers(text, read_heads(text), spans, traits))


def cohere2(text: Fields) -> Outline:
    """Command R7B and Command A: one norm a layer, three of four layers sliding, tied."""
    local = listed(text) or every_nth_full(text, text.size("sliding_window_pattern", 4))
    bias = text.flag("attention_bias", False)
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=bias, out_bias=bias), norms=1)
    spans = reaches(text, local, text.count("sliding_window", 4096) or None)
    return outline(text, dense_layers(text, read_heads(text), spans, traits), Ends(tied=True))


def hunyuan_vl(text: Fields) -> Outline:
    """HunyuanVL and HunyuanOCR: Hunyuan dense, tied where the file is silent."""
    return hunyuan_dense(text, tied=True)


def hunyuan_dense(text: Fields, *, tied: bool = False) -> Outline:
    """Hunyuan dense: Llama with norms on query and key heads."""
    bias = text.flag("attention_bias", False)
    traits = DenseTraits(attention=AttentionTraits(qkv_bias=bias, out_bias=bias, qk_norm="head"))
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits), Ends(tied=tied))


def arcee(text: Fields) -> Outline:
    """Arcee AFM: Llama with an ungated MLP."""
    bias = text.flag("attention_bias", False)
    traits = DenseTraits(
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias), gated=False, mlp_bias=text.flag("mlp_bias", False)
    )
    return outline(text, dense_layers(text, read_heads(text), same_everywhere(text), traits))


def _mistral_kv_heads(text: Fields) -> int:
    return min(8, text.size("num_attention_heads"))


def _qwen_reaches(text: Fields) -> list[Reach]:
    """Return all-full unless `use_sliding_window`; then layers from `max_window_layers` on slide."""
    if not text.flag("use_sliding_window", False):
        return same_everywhere(text)
    first = text.count("max_window_layers", 28)
    local = listed(text) or [i >= first for i in range(text.layers())]
    return reaches(text, local, text.optional_count("sliding_window"))
