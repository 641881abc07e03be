"""What an engine under some settings does to weights and cache: its rules, as the ledger asks for them."""

from __future__ import annotations

from sizewell.costs.cache_kinds import CacheRules
from sizewell.costs.token_pool import WINDOW_POOL_FRACTION
from sizewell.costs.weights import VOCABULARY_PADDING, Absorbed, WeightRules
from sizewell.specs.deployment import EngineSettings
from sizewell.specs.engine import EngineSpec
from sizewell.specs.layers import Attention, CompressedAttention, LatentAttention, Mamba2
from sizewell.specs.model import ModelSpec


def weight_rules(settings: EngineSettings, engine: EngineSpec) -> WeightRules:
    """Return what the engine does to weights."""
    plain = engine.profile == "llama.cpp"
    return WeightRules(
        padding=1 if plain else VOCABULARY_PADDING,
        pp_remainder=engine.pp_remainder,
        mtp=settings.speculative_tokens > 0,
        absorbed="none" if plain else _absorbed(settings, engine),
        latent_head_on_all=engine.latent_head_on_all,
        reserved=engine.profile == "sglang" or engine.rocm,
        rope_tables=not plain,
        embedding_on_host=engine.embedding_on_host,
        latent_rope_bytes=engine.latent_rope_bytes,
        mxfp4_padding=engine.mxfp4_padding,
        rocm=engine.rocm,
        wide_output_groups=engine.wide_output_groups,
        expert_scale_copies=engine.expert_scale_copies,
    )


def sets_room_aside(engine: EngineSpec) -> bool:
    """Return whether each sequence has room of full length from the start, whatever share of the memory that takes."""
    return engine.profile == "llama.cpp"


def _absorbed(settings: EngineSettings, engine: EngineSpec) -> Absorbed:
    """Products are computed where the parameters lie: offloaded ones never reach the accelerator."""
    return "copies" if engine.absorbed == "products" and settings.offload_bytes else engine.absorbed


def cache_rules(model: ModelSpec, settings: EngineSettings, engine: EngineSpec) -> CacheRules:
    """Return what the engine does with cache blocks."""
    latent = any(isinstance(layer.mixer, LatentAttention) for layer in model.layer_counts)
    padded = engine.mla_row_elements
    paged_latent = latent and padded is None and engine.profile == "v1"
    flat = engine.profile in {"sglang", "llama.cpp"} or is_compressed(model)
    return CacheRules(
        block_tokens=engine.latent_block_tokens if paged_latent else engine.block_tokens,
        grouped=engine.grouped_cache,
        in_flight_tokens=engine.in_flight_batches * settings.max_num_batched_tokens,
        speculative_tokens=settings.speculative_tokens,
        cached_states=_cached_states(model, engine) if settings.prefix_caching else 0,
        latent_row_elements=padded,
        style="flat" if flat else "groups",
        state_element_bytes=engine.state_element_bytes,
        conv_element_bytes=engine.conv_element_bytes,
        window_pool_fraction=_window_pool(model) if engine.profile == "sglang" else None,
    )


def caches_prefixes(model: ModelSpec, engine: EngineSpec) -> bool:
    """Return whether a deployment is priced with a prefix cache, unless it says otherwise.

    Not where vLLM would keep more blocks of recurrent state for it: it finds a prefix again only where a chunk of some
    request ended on a block of hundreds or thousands of tokens.
    """
    return not (engine.name == "vllm" and model.is_recurrent)


def caches_prefixes_unasked(model: ModelSpec, engine: EngineSpec) -> bool:
    """Return whether an engine caches prefixes where nobody says anything."""
    return engine.recurrent_prefixes or caches_prefixes(model, engine)


def _cached_states(model: ModelSpec, engine: EngineSpec) -> int:
    mamba2 = any(isinstance(layer.mixer, Mamba2) for layer in model.layer_counts)
    return engine.cached_states + (engine.mamba2_checkpoints and mamba2)


def _window_pool(model: ModelSpec) -> float:
    """Windowed layers get their own pool beside layers that attend to everything; alone they use the full one."""
    spans = {bool(la.mixer.span_tokens) for la in model.layer_counts if isinstance(la.mixer, Attention)}
    return WINDOW_POOL_FRACTION if len(spans) == 2 else 1.0


def is_compressed(model: ModelSpec) -> bool:
    """Return whether any layer keeps compressed states beside its window."""
    return any(isinstance(layer.mixer, CompressedAttention) for layer in model.layer_counts)
