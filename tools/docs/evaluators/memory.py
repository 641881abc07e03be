"""Evaluators of what memory holds: weights, KV cache, activations and what fits where."""

from __future__ import annotations

from math import ceil

from sizewell.costs.cache_kinds import layer_kinds
from sizewell.costs.engine_rules import cache_rules
from sizewell.costs.kv_cache import cache_layout
from sizewell.specs.layers import LatentAttention
from sizewell.specs.model import ModelSpec
from tools.docs.evaluators.deployments import Serving, engine_of, model_of
from tools.docs.units import digits, shown
from tools.docs.verdict import Finding

TENSOR_SIZES = (1, 2, 4, 8, 16)
KV_BYTES_16_BIT = 2
WINDOWED_MODEL = "google/gemma-3-27b-it"
R1 = "deepseek-ai/DeepSeek-R1"
SMALLEST_DISTILL = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
SEVENTY = "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"


def weights_of(model: str, weight_format: str, gpus: int = 1) -> float:
    """Return the weight bytes of all ranks of a tensor-parallel replica."""
    return gpus * Serving(model=model, weight_format=weight_format, gpus=gpus).memory.weight_bytes


def weight_bytes(model: str, weight_format: str, gpus: int = 1) -> Finding:
    """Return the weight bytes of all ranks together."""
    notes = {
        "parameters": f"{model_of(model).text_parameters / 1e9:,.1f} × 10⁹",
        "r1": shown(weights_of(R1, "bf16"), "bytes"),
    }
    return Finding(value=weights_of(model, weight_format, gpus), notes=notes)


def bytes_per_parameter(model: str, weight_format: str) -> Finding:
    """Return weight bytes over parameters."""
    return Finding(value=weights_of(model, weight_format) / model_of(model).text_parameters)


def weight_reduction(model: str, weight_format: str) -> Finding:
    """Return the share of 16-bit weights a format saves."""
    return Finding(
        value=_saved(model, weight_format), notes={"seventy": shown(_saved(SEVENTY, weight_format), "fraction")}
    )


def _saved(model: str, weight_format: str) -> float:
    return 1 - weights_of(model, weight_format) / weights_of(model, "bf16")


def kv_per_token(model: ModelSpec, kv_format: str) -> float:
    """Return the cache bytes of one token on one rank, all layers."""
    rules = cache_rules(model, Serving(model=model.name).settings, engine_of())
    return cache_layout(layer_kinds(model, model.layer_counts.items(), kv_format, 1, rules), rules).bytes_per_token


def kv_bytes_per_token(model: str, kv_format: str) -> Finding:
    """Return the cache bytes of one token, all layers."""
    return Finding(
        value=kv_per_token(model_of(model), kv_format), notes={"at_2048_by_claim": shown(2048 * 280e6, "bytes")}
    )


def kv_bytes_per_token_layer(model: str, kv_format: str) -> Finding:
    """Return the cache bytes of one token in one layer."""
    spec = model_of(model)
    return Finding(value=kv_per_token(spec, kv_format) / len(spec.cached_layers))


def kv_bytes_per_token_layer_unlatent(model: str) -> Finding:
    """Return what a token and layer would take if keys and values of all heads were cached."""
    return Finding(value=_unlatent(_latent(model)))


def _latent(model: str) -> LatentAttention:
    mixer = model_of(model).cached_layers[0]
    if not isinstance(mixer, LatentAttention):
        raise TypeError(f"{model} has no latent attention")
    return mixer


def _unlatent(mixer: LatentAttention) -> float:
    key = mixer.qk_nope_head_dim + mixer.qk_rope_head_dim
    return float(mixer.heads * (key + mixer.v_head_dim) * KV_BYTES_16_BIT)


def latent_reduction(model: str, against_kv_heads: int = 0, against_head_dim: int = 0) -> Finding:
    """Return the share of the cache that MLA saves against all heads, or against a grouped-query cache."""
    mixer, spec = _latent(model), model_of(model)
    latent = kv_per_token(spec, "auto") / len(spec.cached_layers)
    full = _unlatent(mixer)
    compared = 2 * against_kv_heads * against_head_dim * KV_BYTES_16_BIT or full
    notes = {"heads": str(mixer.heads), "full": shown(full, "bytes"), "latent": shown(latent, "bytes")}
    return Finding(value=1 - latent / compared, notes=notes)


def kv_bytes_per_sequence(model: str, kv_format: str, tokens: int, sequences: int = 1) -> Finding:
    """Return the cache bytes of sequences of so many tokens."""
    spec = model_of(model)
    one = kv_per_token(spec, kv_format)
    mixer = spec.cached_layers[0]
    own_product = 2 * tokens * len(spec.layers) * 128 * 128 * KV_BYTES_16_BIT
    heads = getattr(mixer, "heads", 1) / getattr(mixer, "kv_heads", 1)
    notes = {
        "full_heads_of_128": shown(own_product, "bytes"),
        "unshared": shown(one * tokens * heads, "bytes"),
        "weights": shown(weights_of(model, "bf16"), "bytes"),
        "tokens_in_40_gb": f"{40e9 / one:,.0f}",
    }
    return Finding(value=one * tokens * sequences, notes=notes)


def kv_growth(model: str, tokens: int) -> Finding:
    """Return how the cache grows when a sequence doubles."""
    return Finding(value=_growth(model, tokens), notes={"windowed": f"{digits(_growth(WINDOWED_MODEL, 8192))}×"})


def _growth(model: str, tokens: int) -> float:
    """Count what a sequence keeps once windows have slid, without the engine's blocks in flight."""
    spec = model_of(model)
    rules = cache_rules(spec, Serving(model=model).settings, engine_of())
    kinds = layer_kinds(spec, spec.layer_counts.items(), "auto", 1, rules)

    def kept(length: int) -> float:
        spans = ((kind, kind.span_tokens or length) for kind in kinds)
        return sum(kind.layers * (kind.token_bytes * min(span, length) + kind.state_bytes) for kind, span in spans)

    return kept(2 * tokens) / kept(tokens)


def block_rounding(model: str, tokens: int) -> Finding:
    """Return the worst factor by which whole blocks exceed the tokens they hold."""
    block = Serving(model=model, gpus=8).memory.layout.block_tokens
    worst = tokens - tokens % block + 1
    return Finding(value=ceil(worst / block) * block / worst)


def kv_blocks(model: str, gpu: str, gpus: int) -> Finding:
    """Return the blocks of the engine's default size a replica holds."""
    held = Serving(model=model, gpu=gpu, gpus=gpus).ledger
    return Finding(value=held.kv_tokens / engine_of().block_tokens)


def sequences_in_bytes(model: str, tokens: int, capacity_bytes: float) -> Finding:
    """Return how many sequences' caches lie in so many bytes."""
    served = Serving(model=R1, gpus=8, context_tokens=tokens).ledger
    one = kv_per_token(model_of(model), "auto") * tokens
    notes = {"one": shown(one, "bytes"), "eight_h200": f"{served.concurrency(tokens):,.0f}"}
    return Finding(value=int(capacity_bytes / one), notes=notes)


def memory_need(**fields: str | int) -> Finding:
    """Return the memory a GPU must have for an engine to start and hold one sequence of `context_tokens`."""
    asked = _modest(**fields)
    notes = {
        "weights": shown(weights_of(asked.model, asked.weight_format), "bytes"),
        "small": shown(_need(asked.but(model=SMALLEST_DISTILL)), "bytes"),
        "sixteen_bit": shown(_need(asked.but(weight_format="bf16")), "bytes"),
    }
    return Finding(value=_need(asked), notes=notes)


def memory_need_of_replica(**fields: str | int) -> Finding:
    """Return the memory all accelerators of a replica must have together."""
    asked = _modest(**fields)
    return Finding(value=asked.gpus * _need(asked))


def _modest(**fields: str | int) -> Serving:
    """Return a replica with the small token budget an engine takes on small accelerators."""
    return Serving(model=str(fields["model"])).but(max_num_batched_tokens=2048, **fields)


def _need(asked: Serving) -> float:
    """Solve the ledger for the accelerator: the engine's share must hold residents and one sequence's blocks."""
    memory = asked.memory
    sequence = memory.layout.request_blocks(asked.context_tokens) * memory.layout.bytes_per_block
    inside = memory.resident_bytes + sequence
    return max(inside / asked.memory_fraction, inside + memory.outside_bytes)


def least_gpus(**fields: str | int) -> Finding:
    """Return the fewest accelerators, cut by tensor parallelism, that hold a model and one sequence."""
    asked = _modest(**fields)
    count = _least(asked)
    notes = {
        "smaller_card": str(_least(asked.but(gpu="a100-sxm-40gb"))),
        "int4": str(_least(asked.but(weight_format="awq-int4"))),
        "tokens": f"{asked.but(gpus=count).ledger.kv_tokens:,}",
    }
    return Finding(value=count, notes=notes)


def _least(asked: Serving) -> int:
    return next(count for count in TENSOR_SIZES if asked.but(gpus=count).ledger.fits)


def kv_pool_bytes(asked: Serving) -> Finding:
    """Return the cache bytes of all ranks together."""
    held = asked.ledger.kv_bytes
    return Finding(value=held * asked.gpus, notes={"distinct": shown(held, "bytes")})


def kv_pool_tokens(asked: Serving) -> Finding:
    """Return the tokens the cache of a replica holds."""
    return Finding(value=asked.ledger.kv_tokens)


def occupied_bytes(asked: Serving) -> Finding:
    """Return all bytes in use on all ranks together."""
    return Finding(value=asked.ledger.total_bytes * asked.gpus)


def activation_share(asked: Serving) -> Finding:
    """Return activations over weights of a replica."""
    held = asked.ledger
    peak = sum(line.bytes for line in held.lines if line.name.startswith("activation"))
    return Finding(value=peak / held.weight_bytes, notes={"activations": shown(peak, "bytes")})


def overhead_share(asked: Serving) -> Finding:
    """Return what is neither weights nor cache nor activations, over weights."""
    held = asked.ledger
    counted = ("weights: ", "activation", "KV cache")
    other = sum(line.bytes for line in held.lines if not line.name.startswith(counted))
    return Finding(value=other / held.weight_bytes, notes={"overhead": f"{shown(other, 'bytes')} a GPU"})


EVALUATORS = (
    weight_bytes,
    bytes_per_parameter,
    weight_reduction,
    kv_bytes_per_token,
    kv_bytes_per_token_layer,
    kv_bytes_per_token_layer_unlatent,
    latent_reduction,
    kv_bytes_per_sequence,
    kv_growth,
    block_rounding,
    kv_blocks,
    sequences_in_bytes,
    memory_need,
    memory_need_of_replica,
    least_gpus,
)
OF_SERVING = (kv_pool_bytes, kv_pool_tokens, occupied_bytes, activation_share, overhead_share)
