"""Evaluators of what memory holds: weights, KV cache, activations and what fits where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

from sizewell.costs.cache_kinds import layer_kinds
from sizewell.costs.kv_cache import cache_layout
from sizewell.costs.ledger import MemoryLedger
from sizewell.costs.rank_memory import cache_rules, rank_memory
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism
from sizewell.specs.layers import LatentAttention, MoeMlp
from sizewell.specs.model import ModelSpec
from tools.docs.evaluators.deployments import MEMORY_FRACTION, deployment, engine_of, ledger_of, model_of
from tools.docs.units import digits, shown
from tools.docs.verdict import Finding

TENSOR_SIZES = (1, 2, 4, 8, 16)
KV_BYTES_16_BIT = 2
WINDOWED_MODEL = "google/gemma-3-27b-it"


def _settings(max_num_seqs: int, context_tokens: int, batched_tokens: int = 8192) -> EngineSettings:
    return EngineSettings(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=batched_tokens,
        max_model_len_tokens=context_tokens,
        memory_fraction=MEMORY_FRACTION,
    )


def weights_of(model: str, weight_format: str, gpus: int = 1) -> float:
    """Return the weight bytes of all ranks of a tensor-parallel replica."""
    return gpus * _rank(model, weight_format, gpus, 256, 4096).weight_bytes


def _rank(model: str, weight_format: str, gpus: int, max_num_seqs: int, context_tokens: int):  # type: ignore[no-untyped-def]
    return rank_memory(
        model_of(model),
        Formats(weight=weight_format),
        Parallelism(tp=gpus),
        _settings(max_num_seqs, context_tokens),
        engine_of(),
    )


def parameters(model: str) -> Finding:
    """Return all parameters of the language model."""
    return Finding(value=model_of(model).text_parameters)


def active_parameters(model: str) -> Finding:
    """Return the parameters one token passes through."""
    return Finding(value=model_of(model).active_parameters)


def layer_count(model: str) -> Finding:
    """Return the decoder layers."""
    return Finding(value=len(model_of(model).layers))


def head_count(model: str) -> Finding:
    """Return the query heads of a layer."""
    mixer = model_of(model).layers[0].mixer
    return Finding(value=getattr(mixer, "heads", 0))


def max_context_tokens(model: str) -> Finding:
    """Return the longest context the model was made for."""
    return Finding(value=model_of(model).max_context_tokens)


def checkpoint_files(model: str) -> Finding:
    """Return the files of the checkpoint."""
    sizes = model_of(model).exact_sizes
    return Finding(value=sizes.files if sizes else 0)


def weight_bytes(model: str, weight_format: str, gpus: int = 1) -> Finding:
    """Return the weight bytes of all ranks together."""
    spec = model_of(model)
    return Finding(
        value=weights_of(model, weight_format, gpus),
        notes={
            "parameters": f"{spec.text_parameters / 1e9:,.1f} × 10⁹",
            "r1": shown(weights_of("deepseek-ai/DeepSeek-R1", "bf16"), "bytes"),
        },
    )


def bytes_per_parameter(model: str, weight_format: str) -> Finding:
    """Return weight bytes over parameters."""
    return Finding(value=weights_of(model, weight_format) / model_of(model).text_parameters)


def weight_reduction(model: str, weight_format: str) -> Finding:
    """Return the share of 16-bit weights a format saves."""
    seventy = "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"
    return Finding(
        value=_saved(model, weight_format), notes={"seventy": shown(_saved(seventy, weight_format), "fraction")}
    )


def _saved(model: str, weight_format: str) -> float:
    return 1 - weights_of(model, weight_format) / weights_of(model, "bf16")


def kv_per_token(model: ModelSpec, kv_format: str) -> float:
    """Return the cache bytes of one token on one rank, all layers."""
    engine = engine_of()
    rules = cache_rules(model, _settings(256, 4096), engine)
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
    return mixer.heads * (key + mixer.v_head_dim) * KV_BYTES_16_BIT


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
    rules = cache_rules(spec, _settings(256, 4096), engine_of())
    kinds = layer_kinds(spec, spec.layer_counts.items(), "auto", 1, rules)

    def kept(length: int) -> float:
        spans = ((kind, kind.span_tokens or length) for kind in kinds)
        return sum(kind.layers * (kind.token_bytes * min(span, length) + kind.state_bytes) for kind, span in spans)

    return kept(2 * tokens) / kept(tokens)


def block_rounding(model: str, tokens: int) -> Finding:
    """Return the worst factor by which whole blocks exceed the tokens they hold."""
    block = _rank(model, "native", 8, 256, 4096).layout.block_tokens
    worst = tokens - tokens % block + 1
    return Finding(value=ceil(worst / block) * block / worst)


def engine_block_tokens(engine: str) -> Finding:
    """Return an engine's default block size."""
    return Finding(value=engine_of(engine).block_tokens)


def kv_blocks(model: str, gpu: str, gpus: int) -> Finding:
    """Return the 16-token blocks a replica holds."""
    held = ledger_of(deployment(model, gpu, gpus=gpus))
    return Finding(value=held.kv_tokens / engine_of().block_tokens)


def sequences_in_bytes(model: str, tokens: int, capacity_bytes: float) -> Finding:
    """Return how many sequences' caches lie in so many bytes."""
    served = ledger_of(deployment("deepseek-ai/DeepSeek-R1", "h200-sxm-141gb", gpus=8, context_tokens=tokens))
    one = kv_per_token(model_of(model), "auto") * tokens
    notes = {"one": shown(one, "bytes"), "eight_h200": f"{served.concurrency(tokens):,.0f}"}
    return Finding(value=int(capacity_bytes / one), notes=notes)


def memory_need(model: str, weight_format: str, context_tokens: int, max_num_seqs: int, gpus: int = 1) -> Finding:
    """Return the memory a GPU must have for an engine to start and hold one sequence of `context_tokens`."""
    notes = {
        "weights": shown(weights_of(model, weight_format), "bytes"),
        "small": shown(_need("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "bf16", context_tokens, max_num_seqs), "bytes"),
        "sixteen_bit": shown(_need(model, "bf16", context_tokens, max_num_seqs, gpus), "bytes"),
    }
    return Finding(value=_need(model, weight_format, context_tokens, max_num_seqs, gpus), notes=notes)


def memory_need_of_replica(model: str, weight_format: str, context_tokens: int, max_num_seqs: int, gpus: int) -> Finding:
    """Return the memory all accelerators of a replica must have together."""
    return Finding(value=gpus * _need(model, weight_format, context_tokens, max_num_seqs, gpus))


def _need(model: str, weight_format: str, context_tokens: int, max_num_seqs: int, gpus: int = 1) -> float:
    """Solve the ledger for the accelerator: the engine's share must hold residents and one sequence's blocks."""
    memory = rank_memory(
        model_of(model), Formats(weight=weight_format), Parallelism(tp=gpus),
        _settings(max_num_seqs, context_tokens, batched_tokens=2048), engine_of(),
    )  # fmt: skip
    sequence = memory.layout.request_blocks(context_tokens) * memory.layout.bytes_per_block
    inside = memory.resident_bytes + sequence
    return max(inside / MEMORY_FRACTION, inside + memory.outside_bytes)


def least_gpus(model: str, weight_format: str, gpu: str, context_tokens: int, max_num_seqs: int) -> Finding:
    """Return the fewest accelerators, cut by tensor parallelism, that hold a model and one sequence."""
    count = _least(model, weight_format, gpu, context_tokens, max_num_seqs)
    held = _fit(model, weight_format, gpu, context_tokens, max_num_seqs, count)
    notes = {
        "smaller_card": str(_least(model, weight_format, "a100-sxm-40gb", context_tokens, max_num_seqs)),
        "int4": str(_least(model, "awq-int4", gpu, context_tokens, max_num_seqs)),
        "tokens": f"{held.kv_tokens:,}",
    }
    return Finding(value=count, notes=notes)


def _least(model: str, weight_format: str, gpu: str, context_tokens: int, max_num_seqs: int) -> int:
    sizes = (n for n in TENSOR_SIZES if _fit(model, weight_format, gpu, context_tokens, max_num_seqs, n).fits)
    return next(sizes)


def _fit(
    model: str, weight_format: str, gpu: str, context_tokens: int, max_num_seqs: int, gpus: int
) -> MemoryLedger:
    return ledger_of(
        deployment(
            model, gpu, weight_format=weight_format, gpus=gpus, context_tokens=context_tokens,
            max_num_seqs=max_num_seqs, max_num_batched_tokens=2048,
        )
    )  # fmt: skip


def largest_parameters(gpu: str, like: str, weight_format: str) -> Finding:
    """Return the size of a model shaped like `like` whose weights leave nothing for the cache."""
    held = _fit(like, weight_format, gpu, 4096, 8, 1)
    room = held.weight_bytes + held.kv_bytes
    per_parameter = held.weight_bytes / model_of(like).text_parameters
    return Finding(value=room / per_parameter, notes={"tokens": f"{held.kv_tokens:,}"})


def _replica(  # noqa: PLR0913 - the fields of a claim
    model: str, gpu: str, gpus: int, gpus_per_node: int, max_num_seqs: int, max_num_batched_tokens: int,
    memory_fraction: float, eager: bool,
) -> MemoryLedger:  # fmt: skip
    return ledger_of(
        deployment(
            model, gpu, gpus=gpus, gpus_per_node=gpus_per_node, max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens, memory_fraction=memory_fraction, eager=eager,
        )
    )  # fmt: skip


def kv_pool_bytes(gpus: int, **fields: object) -> Finding:
    """Return the cache bytes of all ranks together."""
    held = _replica(gpus=gpus, **fields)  # type: ignore[arg-type]
    return Finding(value=held.kv_bytes * gpus, notes={"distinct": shown(held.kv_bytes, "bytes")})


def kv_pool_tokens(**fields: object) -> Finding:
    """Return the tokens the cache of a replica holds."""
    return Finding(value=_replica(**fields).kv_tokens)  # type: ignore[arg-type]


def occupied_bytes(gpus: int, **fields: object) -> Finding:
    """Return all bytes in use on all ranks together."""
    return Finding(value=_replica(gpus=gpus, **fields).total_bytes * gpus)  # type: ignore[arg-type]


def activation_share(
    model: str, weight_format: str, gpu: str, gpus: int, max_num_seqs: int, max_num_batched_tokens: int
) -> Finding:
    """Return activations over weights of a replica."""
    held = ledger_of(
        deployment(
            model, gpu, weight_format=weight_format, gpus=gpus, max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
        )
    )  # fmt: skip
    peak = sum(line.bytes for line in held.lines if line.name.startswith(("activation", "expert")))
    return Finding(value=peak / held.weight_bytes, notes={"activations": shown(peak, "bytes")})


def overhead_share(
    model: str, weight_format: str, gpu: str, gpus: int, max_num_seqs: int, max_num_batched_tokens: int
) -> Finding:
    """Return what is neither weights nor cache nor activations, over weights."""
    held = ledger_of(
        deployment(
            model, gpu, weight_format=weight_format, gpus=gpus, max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
        )
    )  # fmt: skip
    counted = ("weights: ", "activation", "expert", "KV cache")
    other = sum(line.bytes for line in held.lines if not line.name.startswith(counted))
    return Finding(value=other / held.weight_bytes, notes={"overhead": f"{shown(other, 'bytes')} a GPU"})


def tokens_computed(input_tokens: int, think_tokens: int, answer_tokens: int) -> Finding:
    """Return the tokens of a request that pass through the model: its prompt, and all it generates but the last."""
    return Finding(value=input_tokens + think_tokens + answer_tokens - 1)


def routed_experts(model: str) -> tuple[int, int]:
    """Return (experts, experts per token) of a mixture-of-experts model."""
    mlp = next(layer.mlp for layer in model_of(model).layers if isinstance(layer.mlp, MoeMlp))
    return mlp.experts, mlp.top_k


EVALUATORS: Mapping[str, Callable[..., Finding]] = {
    evaluator.__name__: evaluator
    for evaluator in (
        parameters, active_parameters, layer_count, head_count, max_context_tokens, checkpoint_files, weight_bytes,
        bytes_per_parameter, weight_reduction, kv_bytes_per_token, kv_bytes_per_token_layer,
        kv_bytes_per_token_layer_unlatent, latent_reduction, kv_bytes_per_sequence, kv_growth, block_rounding,
        engine_block_tokens, kv_blocks, sequences_in_bytes, memory_need, memory_need_of_replica, least_gpus, largest_parameters, kv_pool_bytes,
        kv_pool_tokens, occupied_bytes, activation_share, overhead_share, tokens_computed,
    )
}  # fmt: skip
