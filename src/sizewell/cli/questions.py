"""The questions sizewell answers, as Python functions: facts from the catalogue, the answer from the core.

`import sizewell` offers them; the commands read words, call these and print what they return. What only one question
needs is imported when it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engines import read_engine, read_named_engine
from sizewell.catalog.hardware import cluster, is_gpu, is_node, nodes_for, read_gpu, read_node, unknown_machine
from sizewell.catalog.machine_code import CodeFolder
from sizewell.catalog.models import list_models, read_model
from sizewell.catalog.planner_facts import read_facts, shown_storages
from sizewell.catalog.quality import read_quality
from sizewell.cli.machine_text import parse_machine
from sizewell.costs.checkpoint import checkpoint_bytes
from sizewell.costs.ledger import GIB, MemoryLedger, ledger
from sizewell.costs.machines import machine_tags
from sizewell.costs.weights import OFFLOADED
from sizewell.planner.bill_of_materials import BillOfMaterials, bill_of_materials
from sizewell.planner.plan import Answer
from sizewell.planner.question import Question
from sizewell.planner.rehearsal import Playing, Rehearsal, rehearse
from sizewell.planner.search import answer
from sizewell.planner.simulated_means import with_simulated_means
from sizewell.planner.stated import Stated, stated_deployment, within_cache
from sizewell.planner.step_table import Lengths
from sizewell.planner.support import unsupported
from sizewell.simulator.facts import Router
from sizewell.specs.deployment import Deployment, Formats
from sizewell.specs.engine import EngineName, EngineSpec
from sizewell.specs.errors import BadInputError, NoFeasiblePlanError
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.model import ModelSpec
from sizewell.specs.weight_format import parse_weight_format
from sizewell.traffic.score import NO_LIMITS
from sizewell.traffic.workload import Slo, Workload, refuse_gapless

if TYPE_CHECKING:
    from sizewell.advisor.planned import Planned
    from sizewell.planner.fit import Fitting, Misfit
    from sizewell.planner.prediction import Prediction
    from sizewell.planner.step_account import StepAccount
    from sizewell.specs.calibration import Efficiencies


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a deployment is set up where it is not as usual.

    `engine` is `auto` (as in a plan: the first of vLLM and llama.cpp that runs the weights there) or one, `vllm@0.19`.
    The `router` stands before several replicas when they are simulated.
    """

    engine: str = "auto"
    formats: Formats = field(default_factory=Formats)
    stated: Stated = field(default_factory=Stated)
    router: Router = "round-robin"


AS_USUAL = Setup()
USUAL_ENGINES: tuple[EngineName, ...] = ("vllm", "llama.cpp")
"""Engines tried when none is named, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One deployment explained: its memory, what it gives, where a step's time goes, and what its nodes need.

    `served`, `step` and `planned` (what the advisor reads) are None where it does not fit; `served` repeats the means
    of the `rehearsal`, where there is one. `calibrated_by` are the user's own calibrations of its speed.
    """

    deployment: Deployment
    workload: Workload
    memory: MemoryLedger
    served: Prediction | None
    step: StepAccount | None
    materials: BillOfMaterials
    rehearsal: Rehearsal | None = None
    planned: Planned | None = None
    calibrated_by: tuple[str, ...] = ()


def plan(question: Question, *, engine: str = "auto", top: int = 10) -> Answer:
    """Return the plans that hold, best first, and why the rest does not.

    `engine` is `auto` (the first of vLLM and llama.cpp that runs on an accelerator) or one, `vllm@0.19`.
    """
    bought = question.price_basis == "purchase"
    facts = read_facts(engine, question.limits.gpu_keys, bought=bought, offload=question.offload)
    return answer(question, facts, top)


def fit(
    on: str | ClusterSpec, workload: Workload, models: Sequence[str] = (), weight_formats: tuple[str, ...] = ()
) -> tuple[tuple[Fitting, ...], tuple[Misfit, ...]]:
    """Return which models (none named: all shipped) run on a machine, and which do not."""
    from sizewell.planner.fit import FORMATS_TRIED, Bench, one_of_each
    from sizewell.planner.fit import fit as fit_models

    names = models or [entry.id for entry in list_models()]
    known = [read_model(name) for name in names]
    bench = Bench(
        cluster=machine(on) if isinstance(on, str) else on,
        engines={name: read_engine(name) for name in USUAL_ENGINES},
        efficiencies=read_efficiencies(),
        quality=read_quality(),
        weight_formats=tuple(parse_weight_format(name) for name in weight_formats) or FORMATS_TRIED,
    )
    return fit_models(known if models else one_of_each(known), workload, bench)


def machine(text: str, nodes: int | None = None, node: str | None = None, replicas: int = 1) -> ClusterSpec:
    """Return the cluster a text such as `8xh200` names; a count no node holds is spread over several.

    A node's key stands for full nodes: `2xhgx-h100-8`; one that names an accelerator too does so without a count.
    `node` chooses the kind of node for accelerators.
    Nodes that serve `replicas` need be joined only as far as one replica reaches.
    Raises UnknownNameError for names, BadInputError for counts no node holds and nodes that hold several kinds.
    """
    count, name = parse_machine(text, lambda said: is_gpu(said) or is_node(said))
    if is_node(name) and (count is None or not is_gpu(name)):
        return _full_nodes(name, (count, nodes), node)
    if not is_gpu(name):
        raise unknown_machine(name)
    count = count or 1
    if nodes is None:
        nodes = _nodes_needed(name, count, node)
        count //= nodes
    return cluster(name, gpus_per_node=count, nodes=nodes, node=node, joined=ceil(nodes / replicas))


def _full_nodes(name: str, counts: tuple[int | None, int | None], node: str | None) -> ClusterSpec:
    named = read_node(name)
    if node is not None and read_node(node).key != named.key:
        raise BadInputError(f"--on names the node {named.key} and --node {node}: give one of the two")
    if None not in counts and counts[0] != counts[1]:
        raise BadInputError(f"--on names {counts[0]} × {named.key} and --nodes {counts[1]}: give one of the two")
    if len(named.gpu_keys) != 1:
        few = ", ".join(named.gpu_keys[:3])
        raise BadInputError(f"{named.key} takes several accelerators ({few}, …): say --on GPU --node {named.key}")
    many = counts[0] or counts[1] or 1
    return cluster(named.gpu_keys[0], gpus_per_node=named.max_gpus, nodes=many, node=named.key)


def _nodes_needed(name: str, count: int, node: str | None) -> int:
    wanted = read_node(node).key if node else None
    kinds = [kind for kind in nodes_for(read_gpu(name)) if wanted in (None, kind.key)]
    sizes = {size for kind in kinds for size in kind.gpu_counts}
    if not sizes or count <= max(sizes):
        return 1
    return next((count // size for size in sorted(sizes, reverse=True) if count % size == 0), 1)


def explain(
    model: str | ModelSpec, on: str | ClusterSpec, workload: Workload, setup: Setup = AS_USUAL, slo: Slo = NO_LIMITS
) -> Explanation:
    """Return what a stated deployment of a model on `8xh200` or a cluster holds, gives and needs."""
    return explain_deployment(stated_on(model, on, workload, setup), workload, slo)


def stated_on(
    model: str | ModelSpec, on: str | ClusterSpec, workload: Workload, setup: Setup = AS_USUAL,
    *, least_context_tokens: int = 0,
) -> Deployment:  # fmt: skip
    """Return the deployment of a model on `8xh200` or a cluster, what is left open as an engine or a plan would.

    Where no context length is stated, it suffices for the workload and for `least_context_tokens`, as far as the
    model goes, and is no longer than the cache holds.
    """
    place = machine(on) if isinstance(on, str) else on
    spec = read_model(model) if isinstance(model, str) else model
    formats = replace(setup.formats, weight=parse_weight_format(setup.formats.weight))
    runs = read_named_engine(setup.engine) if setup.engine != "auto" else _usual_engine(spec, formats.weight, place)
    stated = setup.stated.serving(spec, workload)
    if setup.stated.max_model_len_tokens is not None:
        return stated_deployment(spec, place, runs, formats, stated)
    least = min(least_context_tokens, spec.max_context_tokens)
    stated = replace(stated, max_model_len_tokens=max(stated.max_model_len_tokens or 0, least))
    return within_cache(stated_deployment(spec, place, runs, formats, stated), max(workload.context_tokens, least))


def _usual_engine(model: ModelSpec, weight_format: str, place: ClusterSpec) -> EngineSpec:
    engines = [read_engine(name) for name in USUAL_ENGINES]
    able = [engine for engine in engines if not unsupported(model, weight_format, engine, place.gpu)]
    return able[0] if able else engines[0]


def explain_deployment(deployment: Deployment, workload: Workload, slo: Slo = NO_LIMITS) -> Explanation:
    """Return the explanation of a deployment under a load, whoever built it; limits say where it saturates."""
    from sizewell.planner.prediction import steady_state
    from sizewell.planner.step_account import step_account

    refuse_gapless(workload, slo.tpot_s)
    longest = deployment.pools[0].settings.max_model_len_tokens
    if workload.context_tokens > longest:
        raise BadInputError(
            f"a request of {workload.context_tokens:,.0f} tokens exceeds the {longest:,} tokens the engine is set to"
        )
    ledgers, efficiencies = [ledger(deployment, pool) for pool in range(len(deployment.pools))], read_efficiencies()
    memory = next((each for each in ledgers if not each.fits), ledgers[-1])
    _refuse_too_much_offload(deployment, memory)
    given = steady_state(deployment, workload, efficiencies) if memory.fits else None
    lengths = Lengths.of(workload, prefix_caching=deployment.pools[0].settings.prefix_caching)
    step = rehearsal = None
    if given:
        playing = Playing(memories=tuple(ledgers), efficiencies=efficiencies, code=CodeFolder.usual())
        rehearsal = rehearse(deployment, workload, given, slo, playing)
        given = with_simulated_means(given, rehearsal).recounted(deployment.pools[-1].replicas)
        if workload.users is None:
            given = replace(given, saturated=rehearsal.overloads)
        step = step_account(deployment, lengths, given.sequences_per_replica, efficiencies)
    return Explanation(
        deployment=deployment, workload=workload, memory=memory, served=given, step=step,
        materials=_materials(deployment, memory), rehearsal=rehearsal,
        planned=_planned(deployment, ledgers[-1], workload, given, step) if given and step else None,
        calibrated_by=calibrated_by(deployment, efficiencies),
    )  # fmt: skip


def calibrated_by(deployment: Deployment, efficiencies: Efficiencies) -> tuple[str, ...]:
    """Return the calibrations of the user's that the speed of a deployment is scaled by."""
    return efficiencies.calibrated_by((*machine_tags(deployment.cluster), *deployment.tags))


def _planned(
    deployment: Deployment, memory: MemoryLedger, workload: Workload, given: Prediction, step: StepAccount
) -> Planned:
    from sizewell.advisor.planned import Planned

    replicas = deployment.pools[-1].replicas
    return Planned(
        deployment=deployment,
        memory=memory,
        workload=workload,
        sequences=given.sequences_per_replica * replicas,
        most=given.most_sequences_per_replica * replicas,
        ttft_s=given.ttft_s.value,
        tpot_s=given.tpot_s.value,
        prefill_s=step.prefill_s,
    )


def materials_that_fit(deployment: Deployment) -> BillOfMaterials:
    """Return what the nodes of a deployment need beside accelerators.

    Raises NoFeasiblePlanError for one that does not fit: nobody shall wait for its weights to load and fail.
    """
    ledgers = [ledger(deployment, pool) for pool in range(len(deployment.pools))]
    memory = next((each for each in ledgers if not each.fits), ledgers[0])
    _refuse_too_much_offload(deployment, memory)
    if not memory.fits:
        raise NoFeasiblePlanError(
            f"{memory.verdict}{_smaller(deployment)}: `sizewell explain` shows where the memory goes"
        )
    return _materials(deployment, memory)


def _smaller(deployment: Deployment) -> str:
    """Return how replicas that lie beside each other would make a larger one; nothing where there is one, or pools."""
    (first, *more), nodes = deployment.pools, deployment.cluster.nodes
    if more or first.replicas == 1:
        return ""
    size, many = ("--pp", first.parallelism.pp) if nodes > 1 else ("--tp", first.parallelism.tp)
    return f" on each of {first.replicas} × {first.parallelism}; {size} {many * first.replicas} makes them one"


def _materials(deployment: Deployment, memory: MemoryLedger) -> BillOfMaterials:
    return bill_of_materials(
        deployment,
        checkpoint_bytes=checkpoint_bytes(deployment.model, deployment.weight_format),
        rank_weight_bytes=memory.weight_bytes,
        storages=shown_storages(),
    )


def _refuse_too_much_offload(deployment: Deployment, memory: MemoryLedger) -> None:
    asked = deployment.pools[0].settings.offload_bytes
    moved = -sum(line.bytes for line in memory.lines if line.name == OFFLOADED)
    if asked > moved:
        raise BadInputError(
            f"{asked / GIB:,.1f} GiB are to lie in host memory, a GPU has {moved / GIB:,.2f} GiB of layers to move"
        )
