"""The command that states a plan's deployment again, so that `sizewell explain` prices exactly it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sizewell.cli.output import WIDTH

if TYPE_CHECKING:
    from sizewell.planner.question import Limits, Question
    from sizewell.specs.deployment import Deployment, EngineSettings
    from sizewell.traffic.workload import Workload


def explain_command(deployment: Deployment, question: Question, model: str, assume: Sequence[str] = ()) -> str:
    """Return `sizewell explain …` for a deployment that answers a question, in lines a shell joins again.

    `model` and `assume` are taken as they were typed.
    """
    facts = [word for fact in assume for word in ("--assume", fact)]
    load = [*_load(question.workload), *_limits(question.limits)]
    return _folded(["sizewell", "explain", model, *facts, *deployment_words(deployment), *load])


def deployment_words(deployment: Deployment) -> list[str]:
    """Return the flags that state a deployment; of two pools both have the same settings."""
    return [*_place(deployment), *_formats(deployment), *_settings(deployment.pools[0].settings)]


def _folded(words: Sequence[str]) -> str:
    lines = [shlex.quote(words[0])]
    for word in map(shlex.quote, words[1:]):
        if len(lines[-1]) + len(word) + 3 > WIDTH:
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(lines)


def _place(deployment: Deployment) -> Iterator[str]:
    cluster, pool = deployment.cluster, deployment.pools[0]
    yield from ("--on", f"{cluster.gpus_per_node}x{cluster.gpu.key}")
    yield from ("--nodes", str(cluster.nodes), "--node", cluster.node.key)
    if len(deployment.pools) > 1:
        yield from _pools(deployment)
        return
    cut = pool.parallelism
    yield from ("--tp", str(cut.tp), "--replicas", str(pool.replicas))
    for flag, size in (("--pp", cut.pp), ("--dp", cut.dp), ("--ep", cut.ep)):
        if size > 1:
            yield from (flag, str(size))


def _pools(deployment: Deployment) -> Iterator[str]:
    for pool in deployment.pools:
        yield from (f"--{pool.role}", f"{pool.replicas}x{str(pool.parallelism).replace('×', 'x')}")
    if deployment.kv_network:
        yield from ("--kv-network", deployment.kv_network.key)


def _formats(deployment: Deployment) -> Iterator[str]:
    yield from ("--engine", f"{deployment.engine.name}@{deployment.engine.version}")
    if deployment.weight_format != "native":
        yield from ("--weight-format", deployment.weight_format)
    if deployment.kv_format != "auto":
        yield from ("--kv-format", deployment.kv_format)


def _settings(settings: EngineSettings) -> Iterator[str]:
    yield from ("--max-num-seqs", str(settings.max_num_seqs))
    yield from ("--max-num-batched-tokens", str(settings.max_num_batched_tokens))
    yield from ("--max-model-len", str(settings.max_model_len_tokens))
    yield from ("--memory-fraction", repr(settings.memory_fraction))
    if settings.enforce_eager:
        yield "--enforce-eager"
    if settings.by_priority:
        yield "--by-priority"
    if settings.speculative_tokens:
        yield from ("--speculative-tokens", str(settings.speculative_tokens))
    if settings.draft_acceptance is not None:
        yield from ("--acceptance", repr(settings.draft_acceptance))
    if settings.kv_host_bytes:
        yield from ("--kv-host-memory", f"{settings.kv_host_bytes / 2**30!r}GiB")
    if settings.kv_cache_bytes:
        yield from ("--kv-cache-memory", f"{settings.kv_cache_bytes / 2**30!r}GiB")
    if settings.offload_bytes:
        yield from ("--offload-bytes", f"{settings.offload_bytes / 2**30!r}GiB")


def _load(workload: Workload) -> Iterator[str]:
    if workload.users is not None:
        yield from ("--users", _number(workload.users))
    if workload.rate_per_s is not None:
        yield from ("--rate", f"{workload.rate_per_s!r}/s")
    yield from ("--input", _number(workload.input_tokens), "--answer", _number(workload.answer_tokens))
    if workload.think_tokens:
        yield from ("--think", _number(workload.think_tokens))
    if workload.shared_prefix_tokens:
        yield from ("--shared-prefix", _number(workload.shared_prefix_tokens))
    if workload.growth != 1:
        yield from ("--growth", _number(workload.growth))


def _limits(limits: Limits) -> Iterator[str]:
    """Yield the limits by which headroom is told; `explain` binds means, and none where another statistic was bound."""
    if limits.slo.statistic == "mean":
        for name, limit in replace(limits.slo, tpot_s=limits.tpot_s).limits.items():
            yield from (f"--{name}", f"{limit!r}s")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
