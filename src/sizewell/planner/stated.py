"""A deployment as somebody states it: what was left open is filled in as the engine itself would."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from sizewell.costs.engine_rules import caches_prefixes
from sizewell.costs.ledger import ledger
from sizewell.costs.token_pool import usual_fraction
from sizewell.costs.weights import rank_weight_bytes
from sizewell.specs.deployment import Deployment, EngineSettings, Formats, Parallelism, Pool
from sizewell.specs.engine import EngineSpec
from sizewell.specs.errors import BadInputError
from sizewell.specs.hardware import ClusterSpec, LinkSpec
from sizewell.specs.model import ModelSpec
from sizewell.specs.weight_format import kept_format
from sizewell.traffic.workload import Workload

MOST_DRAFT_TOKENS = 32
"""Beyond it hardly a draft survives, and a step would be priced for a batch no engine forms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPool:
    """A pool of a split deployment, as somebody states it."""

    replicas: int
    cut: Parallelism


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What is known of a deployment's cut and settings; None = not said.

    With `prefill` and `decode` the deployment is split into two pools, joined by `kv_network`; both have the same
    settings, and no cut or count is stated beside them. The decode pool may stand on accelerators of its own kind,
    `decode_on`: what is not stated is then as the engine has it there.
    """

    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None
    replicas: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len_tokens: int | None = None
    memory_fraction: float | None = None
    enforce_eager: bool = False
    offload_bytes: float = 0.0
    kv_host_bytes: float = 0.0
    kv_cache_bytes: float = 0.0
    pin_prefixes: bool = False
    by_priority: bool = False
    speculative_tokens: int = 0
    draft_acceptance: float | None = None
    prefill: StatedPool | None = None
    decode: StatedPool | None = None
    kv_network: LinkSpec | None = None
    decode_on: ClusterSpec | None = None

    def serving(self, model: ModelSpec, workload: Workload) -> Stated:
        """Return the same with the longest sequence a plan for this load would start the engine with."""
        length = self.max_model_len_tokens or usual_model_length(model, workload)
        return replace(self, max_model_len_tokens=length)


def usual_model_length(model: ModelSpec, workload: Workload) -> int:
    """Return the context an engine is started with: twice the mean request in steps of 1,024, at most the model's."""
    wanted = ceil(2 * workload.context_tokens / 1024) * 1024
    return max(min(wanted, model.max_context_tokens), 1)


def within_cache(deployment: Deployment, least_tokens: float) -> Deployment:
    """Return the same with a context no longer than its cache holds, as a plan would start it, where that is enough for
    a request of `least_tokens`: a length nobody stated is no reason why nothing fits.
    """
    if len(deployment.pools) > 1 or (memory := ledger(deployment)).verdict != "one sequence does not fit":
        return deployment
    (pool,) = deployment.pools
    longest = memory.layout.longest_sequence(memory.kv_blocks, pool.settings.max_model_len_tokens)
    if longest < least_tokens:
        return deployment
    return replace(deployment, pools=(replace(pool, settings=replace(pool.settings, max_model_len_tokens=longest)),))


def stated_deployment(
    model: ModelSpec, cluster: ClusterSpec, engine: EngineSpec, formats: Formats, stated: Stated
) -> Deployment:
    """Return the deployment on a cluster: as many replicas of the cut as were stated, else as it holds.

    llama.cpp gives each accelerator some layers when no cut is stated.

    Raises BadInputError for a cut the model does not divide into, or one larger than the cluster.
    """
    pools = stated.prefill or stated.decode or stated.kv_network or stated.decode_on
    made = (_split if pools else _whole)(model, cluster, engine, formats, stated)
    return made if stated.memory_fraction else _holding_weights(made)


def _whole(model: ModelSpec, cluster: ClusterSpec, engine: EngineSpec, formats: Formats, stated: Stated) -> Deployment:
    """Return a deployment of one pool."""
    if engine.name == "llama.cpp" and stated.tp is None and stated.pp is None:
        each = max(1, cluster.gpus // (stated.replicas or 1))
        stated = replace(stated, tp=1, pp=min(each, len(model.layers)))
    cut = stated_cut(model, cluster, stated)
    pool = Pool(
        role="both",
        replicas=stated.replicas or cluster.gpus // cut.gpus,
        parallelism=cut,
        settings=stated_settings(model, cluster, engine, stated, cut),
    )
    return Deployment(
        model=model,
        weight_format=kept_format(model, engine.name, formats.weight),
        kv_format=formats.kv,
        engine=engine,
        cluster=cluster,
        pools=(pool,),
    )


def _split(model: ModelSpec, cluster: ClusterSpec, engine: EngineSpec, formats: Formats, stated: Stated) -> Deployment:
    """Return a deployment of a prefill and a decode pool."""
    if stated.prefill is None or stated.decode is None:
        raise BadInputError("pools come in pairs: say both --prefill and --decode")
    if any((stated.tp, stated.pp, stated.dp, stated.ep, stated.replicas)):
        raise BadInputError("--prefill and --decode say how the model is cut: leave --tp, --pp, --dp, --ep, --replicas")
    if engine.name == "llama.cpp":
        raise BadInputError("llama.cpp hands no cache over: say --engine vllm or sglang")
    _check_room(cluster, stated.prefill, stated.decode, stated.decode_on)
    for pool in (stated.prefill, stated.decode):
        _check_cut(model, pool.cut)
    front = stated_settings(model, cluster, engine, stated, stated.prefill.cut)
    back = stated_settings(model, stated.decode_on or cluster, engine, stated, stated.decode.cut)
    return Deployment(
        model=model, weight_format=formats.weight, kv_format=formats.kv, engine=engine, cluster=cluster,
        pools=(
            Pool(role="prefill", replicas=stated.prefill.replicas, parallelism=stated.prefill.cut, settings=front),
            Pool(role="decode", replicas=stated.decode.replicas, parallelism=stated.decode.cut, settings=back),
        ),
        kv_network=stated.kv_network, decode_cluster=stated.decode_on,
    )  # fmt: skip


def _holding_weights(deployment: Deployment) -> Deployment:
    """Return the same with another share of memory where the one SGLang works out for a cut does not hold the weights.

    With many attention ranks it reserves tens of GiB and does not start; a share nobody stated is no reason for that.
    """
    engine = deployment.engine
    if engine.fraction_rule == "fixed":
        return deployment
    pools = []
    for place, pool in enumerate(deployment.pools):
        gpu, settings = deployment.cluster_of(place).gpu, pool.settings
        held = max(rank_weight_bytes(deployment.model, deployment.weight_format, pool.parallelism))
        if held >= settings.memory_fraction * gpu.total_bytes:
            settings = replace(settings, memory_fraction=engine.memory_fraction)
        pools.append(replace(pool, settings=settings))
    return replace(deployment, pools=tuple(pools))


def _check_room(cluster: ClusterSpec, front: StatedPool, back: StatedPool, apart: ClusterSpec | None) -> None:
    """Refuse pools larger than where they stand, and caches that go from one maker's accelerators to another's."""
    if apart is not None and apart.gpu.vendor != cluster.gpu.vendor:
        raise BadInputError(
            f"--decode-on: no cache goes from {cluster.gpu.vendor} to {apart.gpu.vendor}: take one maker"
        )
    asked = {"the pools": (cluster, (front, back))} if apart is None else {
        "the prefill pool": (cluster, (front,)), "the decode pool": (apart, (back,)),
    }  # fmt: skip
    for who, (place, pools) in asked.items():
        needed = sum(pool.replicas * pool.cut.gpus for pool in pools)
        if needed > place.gpus:
            verb = "need" if len(pools) > 1 else "needs"
            raise BadInputError(f"{who} {verb} {needed} accelerators, there are {place.gpus}: lower them or add nodes")


def stated_cut(model: ModelSpec, cluster: ClusterSpec, stated: Stated) -> Parallelism:
    """Return the cut: sizes not said are tensor parallelism inside a node, then pipeline stages across nodes.

    Raises BadInputError when it is illegal for the model or too large for the cluster.
    """
    dp = stated.dp or 1
    pp = stated.pp or (cluster.nodes if stated.tp is None and stated.dp is None else 1)
    copies = stated.replicas or 1
    tp = stated.tp or _largest_tp(model, cluster.gpus // (pp * dp * copies))
    cut = Parallelism(tp=tp, pp=pp, dp=dp, ep=stated.ep or 1)
    if cut.gpus * copies > cluster.gpus:
        many = f"{copies} replicas of {cut} need" if copies > 1 else f"{cut} needs"
        raise BadInputError(
            f"{many} {cut.gpus * copies} accelerators, there are {cluster.gpus}: lower a size or add nodes"
        )
    _check_cut(model, cut)
    return cut


def _check_cut(model: ModelSpec, cut: Parallelism) -> None:
    """Refuse a cut the model does not divide into."""
    if not model.legal_tp(cut.tp):
        raise BadInputError(f"{model.name} does not divide over TP{cut.tp}: its heads allow {_legal_sizes(model)}")
    if cut.pp > len(model.layers):
        raise BadInputError(f"PP{cut.pp} has more stages than {model.name} has layers ({len(model.layers)})")
    if cut.ep not in (1, cut.tp * cut.dp):
        raise BadInputError(f"EP is 1 or TP × DP = {cut.tp * cut.dp}, not {cut.ep}")
    if cut.ep > 1 and not model.is_moe:
        raise BadInputError(f"{model.name} routes to no experts: leave --ep out")


def _largest_tp(model: ModelSpec, accelerators: int) -> int:
    sizes = [size for size in range(1, max(accelerators, 1) + 1) if accelerators % size == 0 and model.legal_tp(size)]
    return max(sizes, default=1)


def _legal_sizes(model: ModelSpec) -> str:
    return ", ".join(str(size) for size in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 32) if model.legal_tp(size))


def stated_settings(
    model: ModelSpec, cluster: ClusterSpec, engine: EngineSpec, stated: Stated, cut: Parallelism
) -> EngineSettings:
    """Return the settings in force: what was stated, else the engine's defaults for the accelerator and model.

    Raises BadInputError for a context the model does not have.
    """
    gpu = cluster.gpu
    defaults = engine.on(gpu.vendor, gpu.compute_capability).defaults_for(gpu.name, gpu.memory_bytes)
    if stated.speculative_tokens and not model.mtp_layers:
        raise BadInputError(f"{model.name} has no prediction layers to draft with: leave the speculative tokens out")
    if stated.speculative_tokens > MOST_DRAFT_TOKENS:
        raise BadInputError(f"{stated.speculative_tokens} speculative tokens: give at most {MOST_DRAFT_TOKENS}")
    if stated.kv_cache_bytes and engine.name != "vllm":
        raise BadInputError(f"{engine.name} is not told the size of its cache in bytes: leave it out or take vllm")
    length = stated.max_model_len_tokens or model.max_context_tokens
    if length > model.max_context_tokens:
        raise BadInputError(f"{model.name} holds {model.max_context_tokens} tokens of context, {length} were asked for")
    tokens = stated.max_num_batched_tokens or defaults.max_num_batched_tokens
    return EngineSettings(
        max_num_seqs=_sequences(engine, stated, tokens, defaults.max_num_seqs),
        max_num_batched_tokens=tokens,
        max_model_len_tokens=length,
        memory_fraction=stated.memory_fraction or usual_fraction(engine, model, gpu.total_bytes, cut),
        enforce_eager=stated.enforce_eager,
        offload_bytes=stated.offload_bytes,
        kv_host_bytes=stated.kv_host_bytes,
        kv_cache_bytes=stated.kv_cache_bytes,
        pin_prefixes=stated.pin_prefixes,
        by_priority=stated.by_priority,
        speculative_tokens=stated.speculative_tokens,
        draft_acceptance=stated.draft_acceptance,
        prefix_caching=caches_prefixes(model, engine),
    )


def _sequences(engine: EngineSpec, stated: Stated, tokens: int, default: int) -> int:
    """Return the sequence limit; vLLM lowers its default to the tokens of a step and refuses to start above them."""
    if engine.name != "vllm":
        return stated.max_num_seqs or default
    if stated.max_num_seqs and stated.max_num_seqs > tokens:
        raise BadInputError(
            f"{stated.max_num_seqs} sequences of one token do not fit a step of {tokens} tokens, and vLLM refuses to "
            "start: lower max_num_seqs or raise max_num_batched_tokens"
        )
    return stated.max_num_seqs or min(default, tokens)
