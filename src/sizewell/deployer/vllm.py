"""vLLM's words: `vllm serve` with the limits that were priced, and those words read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import inf

from sizewell.deployer.launch import Flag, Launch, Variable
from sizewell.deployer.remote_code import trusted
from sizewell.deployer.terms import Terms, Words, spoken
from sizewell.planner.support import AITER_ON, VLLM_ANY_RATIO
from sizewell.specs.deployment import EngineSettings, Parallelism, PoolRole
from sizewell.specs.encoding import BF16
from sizewell.specs.engine import AMPERE
from sizewell.specs.errors import BadInputError
from sizewell.specs.kv_format import parse_kv_format
from sizewell.specs.release import release_numbers

KV_WORDS = {"fp8": "fp8", "fp8_ds_mla": "fp8_ds_mla", "bf16": "bfloat16", "nvfp4": "nvfp4"}
QUANTIZATION = {"awq-int4": "awq_marlin", "gptq-int4": "gptq_marlin", "fp8": "fp8"}
"""Weight formats a checkpoint does not announce clearly enough; the others are read from its own config."""
TURING, MARLIN_ON_TURING = 7.5, (0, 14)
"""Before, Marlin wanted an Ampere; AMD's accelerators take the names without it in every release."""
KV_ROLES: Mapping[PoolRole, str] = {"prefill": "kv_producer", "decode": "kv_consumer"}
SIDE_HOST, SIDE_PORT = "VLLM_NIXL_SIDE_CHANNEL_HOST", "VLLM_NIXL_SIDE_CHANNEL_PORT"
"""Where two engines agree before a cache travels; data-parallel ranks use the ports after it."""
ANY_STAGES = (0, 33)
"""Of the releases read, the first whose NIXL connector takes stages."""
DRAIN_S = 90
"""Seconds running requests get to end; less than schedulers wait between their two signals."""
CACHE_SIZE = "--kv-cache-memory-bytes"
READY, READY_S = "VLLM_ENGINE_READY_TIMEOUT_S", 600
"""How long those who answer clients wait for the weights, and how long by default."""
MISTRAL_ALONE, MISTRAL_FOUND = ("devstral", "magistral"), (0, 14)
"""Parts of the names of checkpoints whose one tokenizer is Mistral's own, and the first of the releases read that finds
it unasked."""
ANY_MTP = (0, 11)
"""From here on one method name stands for the prediction layers of every model."""


def program(launch: Launch) -> tuple[str, ...]:
    """Return the words before the flags."""
    return ("vllm", "serve", launch.site.model_path)


def flags(launch: Launch) -> Iterator[Flag]:
    """Yield the words one node is told, in the order a reader wants them, without those that join nodes."""
    site = launch.site
    yield Flag(name="--served-model-name", value=site.served_name, why="what clients ask for")
    yield launch.listens
    yield Flag(name="--port", live="port", why="where clients connect")
    yield from _cut(launch)
    yield from _limits(launch.pool.settings)
    yield from _host_cache(launch)
    yield from _cache_size(launch)
    yield from _formats(launch)
    if _asks_for_mistral(launch):
        yield Flag(name="--tokenizer-mode", value="mistral", why="the checkpoint holds no other tokenizer")
    if launch.flags.knows("--shutdown-timeout"):
        yield Flag(name="--shutdown-timeout", value=str(DRAIN_S), why="running requests end before it stops")
    if site.reasoning_parser:
        if launch.flags.knows("--enable-reasoning"):
            yield Flag(name="--enable-reasoning", why="this release splits thinking from answers only when told so")
        yield Flag(name="--reasoning-parser", value=site.reasoning_parser, why="thinking apart from the answer")
    yield from trusted(launch)


def _asks_for_mistral(launch: Launch) -> bool:
    alone = any(part in launch.deployment.model.name.lower() for part in MISTRAL_ALONE)
    return alone and release_numbers(launch.flags.release) < MISTRAL_FOUND


def _cut(launch: Launch) -> Iterator[Flag]:
    cut = launch.pool.parallelism
    yield Flag(name="--tensor-parallel-size", value=str(cut.tp), why="accelerators each matrix is cut over")
    if cut.pp > 1:
        yield Flag(name="--pipeline-parallel-size", value=str(cut.pp), why="stages the layers are cut into")
    if cut.dp > 1:
        yield Flag(name="--data-parallel-size", value=str(cut.dp), why="ranks that share experts, each with a cache")
    if cut.ep > 1:
        yield Flag(name="--enable-expert-parallel", why="experts lie whole on ranks instead of cut over them")


def _limits(settings: EngineSettings) -> Iterator[Flag]:
    cached, chunked = settings.prefix_caching, settings.chunked_prefill
    yield Flag(name="--max-num-seqs", value=str(settings.max_num_seqs), why="sequences of one step, as priced")
    yield Flag(
        name="--max-num-batched-tokens", value=str(settings.max_num_batched_tokens), why="tokens of one step, as priced"
    )
    yield Flag(name="--max-model-len", value=str(settings.max_model_len_tokens), why="longest sequence, as priced")
    yield Flag(
        name="--gpu-memory-utilization", value=repr(settings.memory_fraction), why="share of memory, headroom left out"
    )
    states = "" if cached else ": more states of recurrent layers would be kept"
    yield Flag(name=f"--{'' if cached else 'no-'}enable-prefix-caching", why=f"said because releases differ{states}")
    yield Flag(name=f"--{'' if chunked else 'no-'}enable-chunked-prefill", why="said because releases differ")
    if settings.enforce_eager:
        yield Flag(name="--enforce-eager", why="priced without CUDA graphs")
    if settings.by_priority:
        yield Flag(name="--scheduling-policy", value="priority", why="the lowest number first, as played")
    if settings.offload_bytes:
        offload = repr(settings.offload_bytes / 2**30)
        yield Flag(name="--cpu-offload-gb", value=offload, why="GiB of weights in host memory, per accelerator")


def _cache_size(launch: Launch) -> Iterator[Flag]:
    stated = launch.pool.settings.kv_cache_bytes
    if not stated:
        return
    if not launch.flags.knows(CACHE_SIZE):
        raise BadInputError(f"vllm {launch.flags.release} is not told the size of its cache: leave --kv-cache-memory")
    yield Flag(
        name=CACHE_SIZE, value=str(int(stated)), why="KV cache of each rank, as priced; the share then says nothing"
    )


def _formats(launch: Launch) -> Iterator[Flag]:
    deployment, drafts = launch.deployment, launch.pool.settings.speculative_tokens
    kv, weights = parse_kv_format(deployment.kv_format), _stored(launch)
    if kv != "auto":
        if kv not in KV_WORDS:
            raise BadInputError(f"vllm keeps no {kv} cache: choose auto or one of {', '.join(KV_WORDS)}")
        yield Flag(name="--kv-cache-dtype", value=KV_WORDS[kv], why="format of the KV cache, as priced")
    if weights in QUANTIZATION:
        kernels = QUANTIZATION[weights] if _runs_marlin(launch) else QUANTIZATION[weights].removesuffix("_marlin")
        yield Flag(name="--quantization", value=kernels, why="kernels for the weights, as priced")
    if weights == "awq-int4":
        yield Flag(name="--dtype", value="float16", why="AWQ kernels multiply in fp16")
    elif deployment.model.dtype == BF16 and _capability(launch) < AMPERE:
        yield Flag(name="--dtype", value="float16", why="this accelerator has no arithmetic in bf16")
    if drafts:
        said = json.dumps({"method": _method(launch), "num_speculative_tokens": drafts}, separators=(",", ":"))
        yield Flag(name="--speculative-config", value=said, why="drafts from the model's own prediction layers")


def _runs_marlin(launch: Launch) -> bool:
    least = TURING if release_numbers(launch.flags.release) >= MARLIN_ON_TURING else AMPERE
    return launch.deployment.cluster.gpu.vendor == "nvidia" and _capability(launch) >= least


def _capability(launch: Launch) -> float:
    """Return NVIDIA's number for the generation; of other accelerators, that they are none of its old ones."""
    gpu = launch.deployment.cluster.gpu
    return float(gpu.compute_capability or 0) if gpu.vendor == "nvidia" else inf


def _stored(launch: Launch) -> str:
    model, weights = launch.deployment.model, launch.deployment.weight_format
    if weights == "native" and model.weight_format in ("awq-int4", "gptq-int4"):
        return model.weight_format
    return weights


def _method(launch: Launch) -> str:
    if release_numbers(launch.flags.release) >= ANY_MTP:
        return "mtp"
    if not launch.deployment.model.architecture.startswith("DeepseekV3"):
        raise BadInputError(f"vllm {launch.flags.release} drafts with DeepSeek's prediction layers only")
    return "deepseek_mtp"


def joining(launch: Launch) -> Iterator[Flag]:
    """Yield what every node is told to find the others; vLLM's own launcher, or Ray on the first node alone."""
    copies = launch.pool.parallelism.dp
    if launch.site.slurm.launcher == "ray":
        if copies > 1:
            raise BadInputError("data parallelism over nodes is not rendered for Ray: leave --launcher ray out")
        yield Flag(name="--distributed-executor-backend", value="ray", why="Ray places the ranks on the nodes")
        return
    if not launch.flags.knows("--nnodes"):
        by_ray = "choose a newer --engine" if copies > 1 else "--target slurm --launcher ray"
        raise BadInputError(f"vllm {launch.flags.release} joins nodes by Ray alone: {by_ray}")
    yield Flag(name="--distributed-executor-backend", value="mp", why="vLLM's own processes, no Ray")
    yield Flag(name="--nnodes", value=str(launch.nodes), why="nodes of one replica")
    yield Flag(name="--node-rank", live="rank", why="this node's number")
    yield Flag(name="--master-addr", live="head", why="the first node")
    yield Flag(name="--master-port", live="rendezvous", why="where ranks meet, free on the first node")
    if copies > 1:
        local = max(launch.gpus_per_node // (launch.pool.parallelism.tp * launch.pool.parallelism.pp), 1)
        yield Flag(name="--data-parallel-size-local", value=str(local), why="ranks that begin on this node")
        yield Flag(name="--data-parallel-address", live="head", why="where all ranks report")
        yield Flag(name="--data-parallel-rpc-port", live="dispatch", why="where the first node hands requests on")


def handover(launch: Launch) -> Iterator[Flag]:
    """Yield what hands caches from pool to pool; raises BadInputError where the release cannot."""
    release, (prefill, decode) = launch.flags.release, (part.pool.parallelism for part in launch.parts)
    _refuse_without_nixl(launch)
    if max(prefill.pp, decode.pp) > 1 and release_numbers(release) < ANY_STAGES:
        raise BadInputError(f"vllm {release} hands caches over between pools of one stage: cut without PP")
    wide, narrow = max(prefill.tp, decode.tp), min(prefill.tp, decode.tp)
    if wide % narrow or (decode.tp < prefill.tp and release_numbers(release) < VLLM_ANY_RATIO):
        raise BadInputError(f"vllm {release} hands no cache from {prefill} to {decode}: choose multiples, or equal TP")
    said = json.dumps(_connector(launch), separators=(",", ":"))
    yield Flag(name="--kv-transfer-config", value=said, why="NIXL carries caches from pool to pool")


def _refuse_without_nixl(launch: Launch) -> None:
    if SIDE_PORT not in launch.flags.environment:
        release = launch.flags.release
        raise BadInputError(f"vllm {release} hands no cache from pool to pool over NIXL: --engine vllm@0.10.2 or later")


def _connector(launch: Launch) -> dict[str, object]:
    """Return who carries caches: NIXL, and beside it what keeps them in host memory (a flag would replace NIXL)."""
    nixl = {"kv_connector": "NixlConnector", "kv_role": KV_ROLES[launch.pool.role]}
    if not launch.pool.settings.kv_host_bytes:
        return {**nixl}
    launch.flags.check("--kv-offloading-size", takes_value=True)  # the connector is as old as its flag
    held = {"cpu_bytes_to_use": round(launch.pool.settings.kv_host_bytes / launch.pool.parallelism.dp)}
    host = {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": held}
    both = {"connectors": [nixl, host]}
    return {"kv_connector": "MultiConnector", "kv_role": nixl["kv_role"], "kv_connector_extra_config": both}


def _host_cache(launch: Launch) -> Iterator[Flag]:
    settings = launch.pool.settings
    if settings.kv_host_bytes and not launch.split:
        gib = repr(settings.kv_host_bytes / launch.pool.parallelism.dp / 2**30)
        yield Flag(name="--kv-offloading-size", value=gib, why="GiB of cache in host memory, of a data-parallel rank")
        yield Flag(name="--kv-offloading-backend", value="native", why="vLLM's own, no other package")


FOLLOWER = Flag(name="--headless", why="only the first node answers clients")
"""What the nodes after the first are told besides."""


def environment(launch: Launch) -> Iterator[Variable]:
    """Yield the variables the engine reads."""
    if launch.deployment.cluster.gpu.vendor == "amd":
        yield Variable(name="SAFETENSORS_FAST_GPU", value="1", why="weights go to the accelerator directly")
    if launch.deployment.cluster.gpu.architecture in AITER_ON:
        yield Variable(name="VLLM_ROCM_USE_AITER", value="1", why="AMD's own kernels")
        if launch.deployment.model.is_moe:
            yield Variable(name="VLLM_ROCM_USE_AITER_MOE", value="1", why="AMD's own kernels for experts")
    yield Variable(name="VLLM_NO_USAGE_STATS", value="1", why="nothing is reported to anybody")
    if launch.patience_s > READY_S and READY in launch.flags.environment:
        yield Variable(name=READY, value=str(launch.patience_s), why="as long as weights may take, not 10 minutes")
    if launch.split:
        _refuse_without_nixl(launch)
        yield Variable(name=SIDE_HOST, live="address", why="where the other pool asks for a cache")
        yield Variable(name=SIDE_PORT, live="handover", why="no other engine's; each rank takes the next one")


def read(words: Sequence[str], variables: frozenset[str]) -> Terms:
    """Return what a command line tells the engine."""
    del variables
    said = spoken(words)
    cut = Parallelism(
        tp=int(said["--tensor-parallel-size"] or 1),
        pp=int(said.get("--pipeline-parallel-size") or 1),
        dp=int(said.get("--data-parallel-size") or 1),
    )
    spread = cut.tp * cut.dp if "--enable-expert-parallel" in said else 1
    drafting = json.loads(said.get("--speculative-config") or "{}")
    role, held_bytes = _read_connector(said)
    return Terms(
        model_path=words[2],
        served_name=said["--served-model-name"] or "",
        kv_format=parse_kv_format(said.get("--kv-cache-dtype") or "auto"),
        parallelism=Parallelism(tp=cut.tp, pp=cut.pp, dp=cut.dp, ep=spread),
        settings=EngineSettings(
            max_num_seqs=int(said["--max-num-seqs"] or 0),
            max_num_batched_tokens=int(said["--max-num-batched-tokens"] or 0),
            max_model_len_tokens=int(said["--max-model-len"] or 0),
            memory_fraction=float(said["--gpu-memory-utilization"] or 0),
            enforce_eager="--enforce-eager" in said,
            by_priority=said.get("--scheduling-policy") == "priority",
            prefix_caching="--enable-prefix-caching" in said,
            chunked_prefill="--enable-chunked-prefill" in said,
            speculative_tokens=drafting.get("num_speculative_tokens", 0),
            offload_bytes=float(said.get("--cpu-offload-gb") or 0) * 2**30,
            kv_host_bytes=(held_bytes or float(said.get("--kv-offloading-size") or 0) * 2**30) * cut.dp,
            kv_cache_bytes=float(said.get(CACHE_SIZE) or 0),
        ),
        role=role,
    )


def _read_connector(said: Words) -> tuple[PoolRole, float]:
    """Return a pool's role and the host memory of its cache, as its connector says."""
    connector = json.loads(said.get("--kv-transfer-config") or "{}")
    if not connector:
        return "both", 0.0
    role: PoolRole = next(role for role, word in KV_ROLES.items() if word == connector["kv_role"])
    inside = connector.get("kv_connector_extra_config", {}).get("connectors", [])
    held = (each.get("kv_connector_extra_config", {}).get("cpu_bytes_to_use", 0.0) for each in inside)
    return role, float(sum(held))
