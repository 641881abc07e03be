"""One change at a time: what could be set or cut differently on the same accelerators, whatever it brings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, floor

from sizewell.advisor.mix import Mix
from sizewell.advisor.pace import held, seats
from sizewell.costs.ledger import GIB, MemoryLedger, ledger
from sizewell.specs.deployment import Deployment, EngineSettings, Parallelism
from sizewell.specs.engine import EngineSpec

MOST_BUDGET = 16_384
LARGEST_FRACTION = 0.95
DRAFTS = (1, 3)
FLAG, CUT, RELEASE, NUMBERS = range(4)
"""What a change asks for: another flag, other ranks, another release, other numbers, by which answers change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A changed deployment with its name and why; `cached_fraction` is what the cache then finds of prompts.

    `settles`: sequences no longer lose their cache, because fewer are let in.
    """

    name: str
    why: str
    effort: int
    deployment: Deployment
    cached_fraction: float | None = None
    settles: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What is changed: the deployment, its memory, the mix it works on, and what else is known.

    `newest` is the newest release of the engine that may be installed.
    """

    deployment: Deployment
    memory: MemoryLedger
    mix: Mix
    expected_cached_fraction: float | None = None
    newest: EngineSpec | None = None


def candidates(before: Before) -> Iterator[Candidate]:
    """Yield every change that might help; none of them is priced yet."""
    yield from _flags(before)
    yield from _cache_flags(before)
    yield from _cuts(before.deployment)
    yield from _releases(before)
    yield from _numbers(before.deployment)


def _flags(before: Before) -> Iterator[Candidate]:
    deployment, mix = before.deployment, before.mix
    settings, engine = deployment.pools[0].settings, deployment.engine
    if settings.enforce_eager and engine.launch != "eager":
        yield _with_graphs(deployment)
    budget = settings.max_num_batched_tokens
    for tokens in (budget * 2, budget * 4):
        if mix.computed_tokens and tokens <= MOST_BUDGET:
            yield _set(
                deployment,
                f"max_num_batched_tokens {tokens}",
                "larger chunks of prompts",
                max_num_batched_tokens=tokens,
            )
    if deployment.model.mtp_layers and not settings.speculative_tokens:
        for drafts in DRAFTS:
            yield _set(
                deployment, f"draft tokens: {drafts}", "the model's own layers propose, a step verifies",
                speculative_tokens=drafts,
            )  # fmt: skip


def _with_graphs(deployment: Deployment) -> Candidate:
    """Return the change to recorded steps, with as much less memory for the engine as graphs lack beside it."""
    settings, why = deployment.pools[0].settings, "hosts need not issue every kernel"
    recorded = _set(deployment, "record CUDA graphs", why, enforce_eager=False)
    memory = ledger(recorded.deployment)
    if memory.verdict != "overcommitted":
        return recorded
    fraction = floor(100 * (settings.memory_fraction + memory.headroom_bytes / memory.gpu_bytes)) / 100
    name = f"record CUDA graphs, memory fraction {fraction:g}"
    return _set(deployment, name, why, enforce_eager=False, memory_fraction=fraction)


def _cache_flags(before: Before) -> Iterator[Candidate]:
    deployment, mix, settings = before.deployment, before.mix, before.deployment.pools[0].settings
    ranks = seats(deployment) / settings.max_num_seqs
    room = held(deployment, before.memory, mix.context_tokens)
    if seats(deployment) < mix.in_flight and seats(deployment) < room:
        more = min(ceil(mix.in_flight / ranks), floor(room / ranks))
        yield _set(deployment, f"max_num_seqs {more}", "there is room for more at once", max_num_seqs=max(more, 1))
    if mix.lost_tokens:
        yield from _fewer_at_once(before)
    if settings.kv_cache_bytes:
        why = "the cache takes all of the memory fraction"
        yield _set(deployment, "no stated size of the KV cache", why, kv_cache_bytes=0.0)
    elif settings.memory_fraction < LARGEST_FRACTION:
        yield _set(
            deployment, f"memory fraction {LARGEST_FRACTION:g}", "more of the memory for cache",
            memory_fraction=LARGEST_FRACTION,
        )  # fmt: skip
    expected = before.expected_cached_fraction
    if expected and expected > mix.cached_fraction:
        on = _set(deployment, "prefix caching", "what prompts share is computed once", prefix_caching=True)
        if settings.prefix_caching:
            why = "it is found, if each conversation stays with one server"
            on = replace(on, name="what prompts share at their beginning", why=why)
        yield replace(on, cached_fraction=expected)
    if settings.offload_bytes:
        yield from _less_in_host_memory(before)


def _fewer_at_once(before: Before) -> Iterator[Candidate]:
    """Yield limits on sequences: as many as end without losing their cache, and as many as hold it on average."""
    deployment, mix = before.deployment, before.mix
    settings = deployment.pools[0].settings
    ranks = seats(deployment) / settings.max_num_seqs
    for context, why, settles in (
        (mix.prompt_tokens + mix.output_tokens, "as many as keep their cache to the end", True),
        (mix.context_tokens, "as many as the cache holds on average", False),
    ):
        fewer = max(floor(held(deployment, before.memory, context) / ranks), 1)
        if fewer < settings.max_num_seqs:
            yield replace(_set(deployment, f"max_num_seqs {fewer}", why, max_num_seqs=fewer), settles=settles)


def _less_in_host_memory(before: Before) -> Iterator[Candidate]:
    """Yield the least of the weights in host memory with which the cache still holds whoever is there."""
    deployment, mix, memory = before.deployment, before.mix, before.memory
    (pool, *_) = deployment.pools
    sequences = mix.in_flight / pool.replicas / pool.parallelism.dp
    needed = max(sequences * (mix.prompt_tokens + mix.output_tokens), pool.settings.max_model_len_tokens)
    spare = memory.kv_bytes - needed * memory.kv_bytes_per_token
    gib = max(ceil((pool.settings.offload_bytes - spare) / GIB), 0)
    if gib * GIB < pool.settings.offload_bytes:
        why = "fewer weights come over the host's link"
        yield _set(deployment, f"offloaded weights, GiB: {gib}", why, offload_bytes=float(gib * GIB))


def _set(deployment: Deployment, name: str, why: str, **settings: object) -> Candidate:
    (pool, *_) = deployment.pools
    changed: EngineSettings = replace(pool.settings, **settings)  # type: ignore[arg-type]
    return Candidate(
        name=name, why=why, effort=FLAG, deployment=replace(deployment, pools=(replace(pool, settings=changed),))
    )


def cut_as(deployment: Deployment, replicas: int, cut: Parallelism) -> Candidate:
    """Return the change to another cut."""
    (pool, *_) = deployment.pools
    many = f"{replicas} × {cut}" if replicas > 1 else str(cut)
    changed = replace(deployment, pools=(replace(pool, replicas=replicas, parallelism=cut),))
    return Candidate(name=f"cut {many}", why=_why(deployment, cut), effort=CUT, deployment=changed)


def _cuts(deployment: Deployment) -> Iterator[Candidate]:
    """Yield every other cut of as many accelerators, and more but smaller replicas."""
    (pool, *_) = deployment.pools
    whole = pool.replicas * pool.parallelism.gpus
    for replicas in _divisors(whole):
        for cut in _parallelisms(deployment, whole // replicas):
            if (replicas, cut) != (pool.replicas, pool.parallelism):
                yield cut_as(deployment, replicas, cut)


def _parallelisms(deployment: Deployment, gpus: int) -> Iterator[Parallelism]:
    model, each = deployment.model, deployment.cluster.gpus_per_node
    for tp in _divisors(gpus):
        for pp in _divisors(gpus // tp):
            dp = gpus // tp // pp
            if not model.legal_tp(tp) or pp > len(model.layers) or (dp > 1 and not (model.is_moe and pp == 1)):
                continue
            # Ranks that do not fill whole nodes cannot be started.
            if gpus > each and gpus % each:
                continue
            yield Parallelism(tp=tp, pp=pp, dp=dp)
            if model.is_moe and tp * dp > 1:
                yield Parallelism(tp=tp, pp=pp, dp=dp, ep=tp * dp)


def _why(deployment: Deployment, cut: Parallelism) -> str:
    each = deployment.cluster.gpus_per_node
    if cut.dp > 1:
        return "attention and its cache are shared out by sequences"
    if cut.pp > 1 and cut.tp <= each:
        return "messages of every layer stay inside a node"
    return "fewer ranks to wait for, or more of them to share the work"


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _releases(before: Before) -> Iterator[Candidate]:
    newest, engine = before.newest, before.deployment.engine
    if newest is not None and newest.version != engine.version and newest.name == engine.name:
        yield Candidate(
            name=f"{newest.name} {newest.version}", why="a newer release does less between steps", effort=RELEASE,
            deployment=replace(before.deployment, engine=newest),
        )  # fmt: skip


def _numbers(deployment: Deployment) -> Iterator[Candidate]:
    if deployment.engine.name == "llama.cpp":
        yield from _quantized(deployment)
        return
    gpu = deployment.cluster.gpu
    narrow = gpu.peak_flops_per_s("fp8") > gpu.peak_flops_per_s("bf16")
    if "fp8" not in deployment.kv_format and narrow:
        yield Candidate(
            name="KV cache in fp8", why="half the bytes of every cached token; answers change a little", effort=NUMBERS,
            deployment=replace(deployment, kv_format="fp8"),
        )  # fmt: skip
    if _whole_weights(deployment):
        # Without arithmetic of that width weights are widened in the kernel: fewer bytes all the same.
        yield Candidate(
            name="weights in fp8", why="half the bytes of every weight; answers change a little", effort=NUMBERS,
            deployment=replace(deployment, weight_format="fp8"),
        )  # fmt: skip


def _quantized(deployment: Deployment) -> Iterator[Candidate]:
    """Yield what llama.cpp keeps of whole weights in fewer bits."""
    if not _whole_weights(deployment):
        return
    for name, why in (
        ("gguf-q8_0", "half the bytes of every weight; answers hardly change"),
        ("gguf-q4_k_m", "a third of the bytes of every weight; answers change"),
    ):
        changed = replace(deployment, weight_format=name)
        yield Candidate(name=f"weights in {name}", why=why, effort=NUMBERS, deployment=changed)


def _whole_weights(deployment: Deployment) -> bool:
    stored = deployment.model.weight_format in ("bf16", "fp16")
    return deployment.weight_format in ("bf16", "fp16") or (deployment.weight_format == "native" and stored)
