"""What runs on a given machine: each model in the least compressed format that fits, with what one user gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.planner.prediction import steady_state
from sizewell.planner.stated import Stated, stated_deployment
from sizewell.planner.support import engine_runs, format_runs, lacks_arithmetic
from sizewell.planner.weight_choice import EIGHT_BIT, SIXTEEN_BIT
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.deployment import Deployment, Formats
from sizewell.specs.engine import EngineName, EngineSpec
from sizewell.specs.errors import BadInputError
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.model import ModelSpec
from sizewell.specs.quality import QualityTable
from sizewell.traffic.workload import Workload

FORMATS_TRIED = (
    "native", "fp8", "gguf-q8_0", "gguf-q6_k", "gguf-q5_k_m", "awq-int4", "gguf-q4_k_m", "gguf-q3_k_m", "gguf-q2_k",
)  # fmt: skip
"""From what loses nothing to what loses most."""
SEQUENCES = 16
"""Sequences the engine is started for: a desktop serves few, and its sampler then takes little memory."""
MARGIN_FRACTION = 0.005
"""Share of a card left free when the engine's share is lowered; covers its rounding to whole percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The machine, the engines by preference and the beliefs every model is tried with."""

    cluster: ClusterSpec
    engines: Mapping[EngineName, EngineSpec]
    efficiencies: Efficiencies
    quality: QualityTable
    weight_formats: tuple[str, ...] = FORMATS_TRIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """A model that runs: how, how much of its cache fits, and what one user of an idle machine gets.

    `tokens_per_s` and `ttft_s` are means for the workload; `recovery_fraction` is None where nobody published it.
    `longest_context_tokens` is the longest single sequence the cache holds, at most the model's own; `users` how many
    of the context asked for it holds at once.
    """

    deployment: Deployment
    memory: MemoryLedger
    tokens_per_s: float
    ttft_s: float
    recovery_fraction: float | None
    longest_context_tokens: int
    users: float

    @property
    def model(self) -> ModelSpec:
        """The model."""
        return self.deployment.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A model that does not run, and what its nearest format lacks."""

    model: ModelSpec
    reason: str


def fit(
    models: Iterable[ModelSpec], workload: Workload, bench: Bench
) -> tuple[tuple[Fitting, ...], tuple[Misfit, ...]]:
    """Return the models that run on a machine, the largest first, and those that do not."""
    results = [_one(model, workload, bench) for model in models]
    fitting = [result for result in results if isinstance(result, Fitting)]
    misfits = [result for result in results if isinstance(result, Misfit)]
    fitting.sort(key=lambda each: (-each.model.parameters, each.model.name))
    return tuple(fitting), tuple(sorted(misfits, key=lambda each: (each.model.parameters, each.model.name)))


def _one(model: ModelSpec, workload: Workload, bench: Bench) -> Fitting | Misfit:
    reason = f"no engine has kernels for {model.weight_format} on {bench.cluster.gpu.architecture}"
    if workload.context_tokens > model.max_context_tokens:
        reason = f"holds {model.max_context_tokens:,} tokens of context, {workload.context_tokens:,.0f} were asked for"
        return Misfit(model=model, reason=reason)
    for engine, weight_format in _ways(model, bench):
        try:
            deployment = _deployment(model, engine, weight_format, workload, bench.cluster)
        except BadInputError as error:
            reason = str(error)
            continue
        deployment, memory = _within(deployment, ledger(deployment))
        if memory.fits:
            return _fitting(deployment, memory, workload, bench)
        short = memory.gpu_bytes - memory.headroom_bytes
        reason = f"{memory.verdict} as {weight_format}: {short / 2**30:,.1f} of {memory.gpu_bytes / 2**30:,.1f} GiB"
    return Misfit(model=model, reason=reason)


def _ways(model: ModelSpec, bench: Bench) -> Iterator[tuple[EngineSpec, str]]:
    """Yield engine and format pairs that run, the least compressed first."""
    for weight_format in _formats(model, bench.weight_formats):
        stored = model.weight_format if weight_format == "native" else weight_format
        gpu = bench.cluster.gpu
        for name, engine in bench.engines.items():
            runs = engine_runs(engine, gpu) and not lacks_arithmetic(model, engine, gpu)
            if runs and format_runs(name, stored, gpu):
                yield engine, weight_format


def _formats(model: ModelSpec, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the checkpoint's own format and those that make it smaller; one of four bits stays as it is."""
    if model.weight_format in SIXTEEN_BIT:
        return asked
    if model.weight_format.startswith(EIGHT_BIT):
        return tuple(name for name in asked if not name.startswith((*EIGHT_BIT, "gguf-q8"))) or ("native",)
    return ("native",)


def _deployment(
    model: ModelSpec, engine: EngineSpec, weight_format: str, workload: Workload, cluster: ClusterSpec
) -> Deployment:
    stated = Stated(max_num_seqs=SEQUENCES, max_model_len_tokens=int(workload.context_tokens))
    return stated_deployment(model, cluster, engine, Formats(weight=weight_format), stated)


def _within(deployment: Deployment, memory: MemoryLedger) -> tuple[Deployment, MemoryLedger]:
    """Lower the engine's share of a small card until what lies beside it fits too, as its users do by hand."""
    if memory.verdict != "overcommitted":
        return deployment, memory
    pool = deployment.pools[0]
    spare = MARGIN_FRACTION - memory.headroom_bytes / memory.gpu_bytes
    settings = replace(pool.settings, memory_fraction=round(pool.settings.memory_fraction - spare, 2))
    lowered = replace(deployment, pools=(replace(pool, settings=settings),))
    return lowered, ledger(lowered)


def _fitting(deployment: Deployment, memory: MemoryLedger, workload: Workload, bench: Bench) -> Fitting:
    given = steady_state(deployment, workload, bench.efficiencies)
    known = bench.quality.recovery(deployment.weight_format, deployment.model.name, deployment.model.parameters)
    return Fitting(
        deployment=deployment,
        memory=memory,
        tokens_per_s=1 / given.tpot_s.value,
        ttft_s=given.ttft_s.value,
        recovery_fraction=known.fraction if known else None,
        longest_context_tokens=memory.layout.longest_sequence(memory.kv_blocks, deployment.model.max_context_tokens),
        users=memory.concurrency(int(workload.context_tokens)),
    )


def one_of_each(models: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return models without those that differ from an earlier one in name alone."""
    seen: dict[tuple[object, ...], ModelSpec] = {}
    for model in models:
        seen.setdefault((model.layers, model.embedding, model.weight_format, model.max_context_tokens), model)
    return tuple(seen.values())
