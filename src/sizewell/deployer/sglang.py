"""SGLang's words: `python3 -m sglang.launch_server` with the limits that were priced, and those words read back.

SGLang counts TP over all ranks that share experts, and its limits over them too: with attention data parallelism it
divides running requests and chunks by the ranks (schedulers and server arguments of 0.4.6 to 0.5.23).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from sizewell.deployer.launch import Flag, Launch, Variable
from sizewell.deployer.remote_code import trusted
from sizewell.deployer.terms import Terms, spoken
from sizewell.planner.support import AITER_ON, SGLANG_EQUAL_CUTS
from sizewell.specs.deployment import EngineSettings, Parallelism, PoolRole
from sizewell.specs.engine import AMPERE
from sizewell.specs.errors import BadInputError
from sizewell.specs.kv_format import parse_kv_format

KV_WORDS = {"fp8": "fp8_e4m3", "bf16": "bf16", "fp4": "fp4_e2m1"}
QUANTIZATION = {"gptq-int4": "gptq_marlin", "fp8": "fp8", "int8": "w8a8_int8", "nvfp4": "modelopt_fp4"}
UNCHUNKED = "-1"


def program(launch: Launch) -> tuple[str, ...]:
    """Return the words before the flags."""
    del launch
    return ("python3", "-m", "sglang.launch_server")


def flags(launch: Launch) -> Iterator[Flag]:
    """Yield the words one node is told, in the order a reader wants them, without those that join nodes."""
    site = launch.site
    yield Flag(name="--model-path", value=site.model_path, why="the checkpoint")
    yield Flag(name="--served-model-name", value=site.served_name, why="what clients ask for")
    yield launch.listens
    yield Flag(name="--port", live="port", why="where clients connect")
    yield from _cut(launch)
    yield from _limits(launch)
    yield from _host_cache(launch)
    yield from _formats(launch)
    yield Flag(name="--enable-metrics", why="/metrics is off by default")
    if site.reasoning_parser:
        yield Flag(name="--reasoning-parser", value=site.reasoning_parser, why="thinking apart from the answer")
    yield from trusted(launch)


def _cut(launch: Launch) -> Iterator[Flag]:
    cut = launch.pool.parallelism
    yield Flag(name="--tp-size", value=str(cut.tp * cut.dp), why="all ranks of one stage: TP × attention DP")
    if cut.pp > 1:
        yield Flag(name="--pp-size", value=str(cut.pp), why="stages the layers are cut into")
    if cut.dp > 1:
        yield Flag(name="--dp-size", value=str(cut.dp), why="attention ranks, each with a cache of its own")
        yield Flag(name="--enable-dp-attention", why="attention is copied, experts are shared")
    if cut.ep > 1:
        if launch.flags.knows("--enable-ep-moe"):
            yield Flag(name="--enable-ep-moe", why="this release spreads experts only when told so")
        yield Flag(name="--ep-size", value=str(cut.ep), why="experts lie whole on ranks instead of cut over them")


def _limits(launch: Launch) -> Iterator[Flag]:
    settings, ranks = launch.pool.settings, launch.pool.parallelism.dp
    running, tokens = str(settings.max_num_seqs * ranks), str(settings.max_num_batched_tokens * ranks)
    if settings.kv_cache_bytes:
        raise BadInputError("sglang is not told the size of its cache in bytes: leave --kv-cache-memory out")
    fraction, length = repr(settings.memory_fraction), str(settings.max_model_len_tokens)
    chunk = tokens if settings.chunked_prefill else UNCHUNKED
    yield Flag(name="--max-running-requests", value=running, why="sequences of one step, as priced, over all ranks")
    yield Flag(name="--chunked-prefill-size", value=chunk, why="prompt tokens of one step, as priced, over all ranks")
    yield Flag(name="--max-prefill-tokens", value=tokens, why="the same, for prompts that are not cut")
    yield Flag(name="--context-length", value=length, why="longest sequence, as priced")
    yield Flag(name="--mem-fraction-static", value=fraction, why="share of memory for weights and cache, as priced")
    if settings.enforce_eager:
        yield Flag(name="--disable-cuda-graph", why="priced without CUDA graphs")
    if settings.by_priority:
        yield Flag(name="--enable-priority-scheduling", why="by priority, as played, not in order of arrival")
        yield Flag(name="--schedule-low-priority-values-first", why="the lowest number first, as with vLLM")
    if not settings.prefix_caching:
        yield Flag(name="--disable-radix-cache", why="priced without a prefix cache")
    if settings.offload_bytes:
        if settings.offload_bytes % 2**30:
            raise BadInputError(
                f"sglang moves whole GiB to host memory, not {settings.offload_bytes / 2**30:g}: round --offload-bytes"
            )
        offload = str(int(settings.offload_bytes / 2**30))
        yield Flag(name="--cpu-offload-gb", value=offload, why="GiB of weights in host memory, per accelerator")


def _formats(launch: Launch) -> Iterator[Flag]:
    model, drafts = launch.deployment.model, launch.pool.settings.speculative_tokens
    kv, weights = parse_kv_format(launch.deployment.kv_format), launch.deployment.weight_format
    stored = model.weight_format if weights == "native" else weights
    if kv != "auto":
        if kv not in KV_WORDS:
            raise BadInputError(f"sglang keeps no {kv} cache: choose auto or one of {', '.join(KV_WORDS)}")
        yield Flag(name="--kv-cache-dtype", value=KV_WORDS[kv], why="format of the KV cache, as priced")
    if stored == "awq-int4":
        yield Flag(name="--quantization", value=_awq_kernels(launch), why="kernels for 4-bit weights")
        yield Flag(name="--dtype", value="half", why="AWQ kernels multiply in fp16")
    elif weights in QUANTIZATION:
        yield Flag(name="--quantization", value=QUANTIZATION[weights], why="kernels for the weights, as priced")
    if drafts:
        yield Flag(name="--speculative-algorithm", value="EAGLE", why="drafts from the model's own prediction layers")
        yield Flag(name="--speculative-num-steps", value=str(drafts), why="tokens drafted, one after the other")
        yield Flag(name="--speculative-eagle-topk", value="1", why="a chain of drafts, no tree, as priced")
        yield Flag(name="--speculative-num-draft-tokens", value=str(drafts + 1), why="the drafts and the token before")


def _awq_kernels(launch: Launch) -> str:
    """Return what multiplies 4-bit weights: those made for an Ampere run on none before it and on no other maker's."""
    gpu = launch.deployment.cluster.gpu
    if gpu.vendor != "nvidia" or float(gpu.compute_capability or 0) < AMPERE:
        return "awq"
    return "moe_wna16" if launch.deployment.model.is_moe else "awq_marlin"


def _host_cache(launch: Launch) -> Iterator[Flag]:
    held, ranks = launch.pool.settings.kv_host_bytes, launch.pool.parallelism.gpus
    if not held:
        return
    if launch.pool.role == "decode":
        raise BadInputError("sglang's decode pools keep no cache in host memory: leave --kv-host-memory out")
    if held % (ranks * 10**9):
        whole = ceil(held / ranks / 10**9) * ranks
        raise BadInputError(f"sglang keeps whole GB of cache for each of {ranks} ranks: say --kv-host-memory {whole}GB")
    yield Flag(name="--enable-hierarchical-cache", why="what the accelerator forgets stays in host memory")
    yield Flag(name="--hicache-size", value=str(int(held / ranks / 10**9)), why="GB of it, for each rank")


def handover(launch: Launch) -> Iterator[Flag]:
    """Yield what hands caches from pool to pool; raises BadInputError where the release cannot."""
    prefill, decode = (part.pool.parallelism for part in launch.parts)
    ranks = sorted((prefill.tp * prefill.dp, decode.tp * decode.dp))
    told = launch.flags.knows("--disaggregation-decode-tp")
    if ranks[1] % ranks[0] or (prefill != decode and launch.flags.release == SGLANG_EQUAL_CUTS):
        raise BadInputError(f"sglang {launch.flags.release} hands no cache from {prefill} to {decode}: cut both alike")
    yield Flag(name="--disaggregation-mode", value=launch.pool.role, why="what this pool does, as priced")
    yield Flag(name="--disaggregation-transfer-backend", value="nixl", why="what carries caches from pool to pool")
    # Only these releases keep the ranks of a request equal by themselves when told to.
    in_turn = decode.dp > 1 and "--prefill-round-robin-balance" in launch.flags.switches
    if launch.pool.role == "prefill":
        yield Flag(name="--disaggregation-bootstrap-port", live="handover", why="where the other pool asks for a cache")
        if told:
            ranks_there = str(decode.tp * decode.dp)
            yield Flag(name="--disaggregation-decode-tp", value=ranks_there, why="ranks of the pool that answers")
            yield Flag(name="--disaggregation-decode-dp", value=str(decode.dp), why="attention ranks there")
        if in_turn:
            yield Flag(
                name="--load-balance-method", value="round_robin", why="the other pool counts ranks the same way"
            )
        return
    if told and prefill.pp > 1:
        yield Flag(name="--disaggregation-prefill-pp", value=str(prefill.pp), why="stages of the pool that prompts")
    if in_turn:
        yield Flag(name="--prefill-round-robin-balance", why="ranks of the other pool take prompts in turn")


def joining(launch: Launch) -> Iterator[Flag]:
    """Yield what every node is told to find the others."""
    if launch.site.slurm.launcher == "ray":
        raise BadInputError("sglang starts its nodes itself: leave --launcher ray out")
    yield Flag(name="--nnodes", value=str(launch.nodes), why="nodes of one replica")
    yield Flag(name="--node-rank", live="rank", why="this node's number")
    yield Flag(name="--dist-init-addr", live="meeting", why="where ranks meet, on the first node")
    if launch.flags.knows("--dist-timeout"):
        yield Flag(name="--dist-timeout", value=str(launch.patience_s), why="loading takes longer than its default")


FOLLOWER: Flag | None = None
"""SGLang tells the nodes after the first nothing besides."""


def environment(launch: Launch) -> Iterator[Variable]:
    """Yield the variables the engine reads."""
    if launch.deployment.cluster.gpu.architecture in AITER_ON:
        yield Variable(name="SGLANG_USE_AITER", value="1", why="AMD's own kernels")


def read(words: Sequence[str], variables: frozenset[str]) -> Terms:
    """Return what a command line tells the engine."""
    del variables
    said = spoken(words)
    ranks, stages = int(said.get("--dp-size") or 1), int(said.get("--pp-size") or 1)
    every = int(said["--tp-size"] or 1) * stages
    roles: dict[str | None, PoolRole] = {"prefill": "prefill", "decode": "decode"}
    return Terms(
        model_path=said["--model-path"] or "",
        served_name=said["--served-model-name"] or "",
        kv_format=parse_kv_format(said.get("--kv-cache-dtype") or "auto"),
        parallelism=Parallelism(
            tp=int(said["--tp-size"] or 1) // ranks,
            pp=stages,
            dp=ranks,
            ep=int(said.get("--ep-size") or 1),
        ),
        settings=EngineSettings(
            max_num_seqs=int(said["--max-running-requests"] or 0) // ranks,
            max_num_batched_tokens=int(said["--max-prefill-tokens"] or 0) // ranks,
            max_model_len_tokens=int(said["--context-length"] or 0),
            memory_fraction=float(said["--mem-fraction-static"] or 0),
            enforce_eager="--disable-cuda-graph" in said,
            by_priority="--enable-priority-scheduling" in said,
            prefix_caching="--disable-radix-cache" not in said,
            chunked_prefill=said["--chunked-prefill-size"] != UNCHUNKED,
            speculative_tokens=int(said.get("--speculative-num-steps") or 0),
            offload_bytes=float(said.get("--cpu-offload-gb") or 0) * 2**30,
            kv_host_bytes=float(said.get("--hicache-size") or 0) * 10**9 * every,
        ),
        role=roles.get(said.get("--disaggregation-mode"), "both"),
    )
