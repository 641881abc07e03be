"""What `sizewell calibrate --from-runs` is fitted to: kept measured runs with the deployments they ran on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from sizewell.cli.keeping import CACHED
from sizewell.cli.output import show, table, talk
from sizewell.cli.plan_file import named_in
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.calibrator.beliefs import Belief, Floats
    from sizewell.calibrator.fit import Evidence
    from sizewell.calibrator.measured_runs import MeasuredRun, RunEvidence
    from sizewell.calibrator.own import Own, Which
    from sizewell.cli.questions import Setup
    from sizewell.records.store import Records, RunEntry
    from sizewell.specs.deployment import Deployment

SAY_EVERY_S = 5.0
"""Seconds after each of which a fit tells how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """A run that was learnt from: simulated over measured TTFT and TPOT, before and with what it taught."""

    run: int
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The machine and engine of some runs, in words, and what becomes of each run."""

    machine: str
    learnt: tuple[Learnt, ...]

    @property
    def runs(self) -> tuple[int, ...]:
        """The numbers of the runs."""
        return tuple(each.run for each in self.learnt)

    @property
    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        fits = [
            {
                "run": each.run,
                "ttft_before_ratio": each.before[0], "ttft_after_ratio": each.after[0],
                "tpot_before_ratio": each.before[1], "tpot_after_ratio": each.after[1],
            }
            for each in self.learnt
        ]  # fmt: skip
        return {"about": self.machine, "runs": self.runs, "fits": fits}

    def show(self) -> None:
        """Print what becomes of each run."""
        rows = [
            (str(each.run), *(f"{ratio:.2f}" for pair in zip(each.before, each.after, strict=True) for ratio in pair))
            for each in self.learnt
        ]
        heads = ("run", ">TTFT before", ">with it", ">TPOT before", ">with it")
        show(table(f"{self.machine}: predicted over measured", heads, rows))


def fitted(numbers: Sequence[str], save: str | None) -> tuple[Own, About]:
    """Return what kept runs say of their machine, beside all calibrations in force but the one that is written again.

    Raises BadInputError for numbers that are none, runs of several machines or engines, and runs that say nothing.
    """
    import numpy as np

    from sizewell.calibrator.measured_runs import ASKED, RunEvidence, run_beliefs
    from sizewell.calibrator.own import fit_own
    from sizewell.catalog.calibrations import read_efficiencies
    from sizewell.catalog.machine_code import CodeFolder
    from sizewell.records.store import Records

    records = Records.usual()
    entries = _entries(records, numbers)
    runs, machine = _measured(records, entries, lenient=not numbers), " under ".join(_place(entries[0]))
    evidence = RunEvidence(runs=runs, reference=read_efficiencies(without=save), store=CodeFolder.usual())
    beliefs, told_s = run_beliefs(runs), [monotonic()]
    runs = _possible(evidence, beliefs, lenient=not numbers)
    evidence = replace(evidence, runs=runs, known={}, sloped=[])
    talk(f"{machine}: runs {', '.join(str(each.number) for each in runs)}")

    def observe(logs: Floats, free: Which) -> Evidence:
        seen = evidence.observe(beliefs, logs, free)
        if monotonic() - told_s[-1] > SAY_EVERY_S:
            told_s.append(monotonic())
            talk(
                f"{len(evidence.known):,} machines tried, now {np.expm1(np.abs(seen.errors).mean()):.1%} off on average"
            )
        return seen

    own = fit_own(observe, beliefs, evidence.apart, ASKED, lambda logs: evidence.errors(beliefs, logs))
    ratios = (evidence.ratios(beliefs, logs).tolist() for logs in (0 * own.fitted.logs, own.fitted.logs))
    learnt = (
        Learnt(run=each.number, before=tuple(before), after=tuple(after))
        for each, before, after in zip(runs, *ratios, strict=True)
    )
    return own, About(machine=machine, learnt=tuple(learnt))


def _possible(evidence: RunEvidence, beliefs: Sequence[Belief], *, lenient: bool) -> tuple[MeasuredRun, ...]:
    """Return the runs a stated machine can have given; raises BadInputError where one, or all if `lenient`, are not."""
    beyond = evidence.impossible(beliefs)
    for run in (each for each, faster in zip(evidence.runs, beyond, strict=True) if faster):
        why = (
            f"run {run.number}: its tokens came faster than {run.deployment.model.name} gives them there at every "
            "stated rate: it is another machine, model or format than was stated"
        )
        if not lenient or beyond.all():
            raise BadInputError(why)
        talk(f"left out: {why}")
    return tuple(each for each, faster in zip(evidence.runs, beyond, strict=True) if not faster)


def _entries(records: Records, numbers: Sequence[str]) -> list[RunEntry]:
    """Return the runs that are named, else all measured ones of the newest one's machine and engine."""
    odd = [word for word in numbers if not word.isdecimal()]
    if odd:
        raise BadInputError(f"{odd[0]!r} is no number of a run: `sizewell runs list` shows them")
    if not numbers:
        able = [one for one in records.runs() if one.origin == "measured" and "gpu" in one.deployment]
        if not able:
            raise BadInputError(
                "no measured run of a stated deployment is kept: sizewell bench MODEL --on GPU --keep NAME"
            )
        return [one for one in able if _place(one) == _place(able[-1])]
    entries = [records.run(number)[0] for number in sorted({int(word) for word in numbers})]
    for one in entries:
        if one.origin != "measured" or "gpu" not in one.deployment:
            raise BadInputError(f"run {one.id} was not measured on a stated deployment: name others")
        if _place(one) != _place(entries[0]):
            raise BadInputError(f"runs {entries[0].id} and {one.id} are of {_place(entries[0])} and {_place(one)}: "
                                "name runs of one machine and engine")  # fmt: skip
    return entries


def _place(entry: RunEntry) -> tuple[str, str]:
    return str(entry.deployment["gpu"]), str(entry.deployment["engine"]["name"])


def _measured(records: Records, entries: Sequence[RunEntry], *, lenient: bool) -> tuple[MeasuredRun, ...]:
    """Return the runs made ready; where nobody named them (`lenient`) one that says nothing is left out."""
    from sizewell.calibrator.measured_runs import MeasuredRun

    found = []
    for entry in entries:
        concurrency = entry.workload.get("concurrency")
        try:
            found.append(MeasuredRun.of(
                entry.id, _deployment(entry), records.run(entry.id)[1], int(concurrency) if concurrency else None,
                float(entry.workload.get(CACHED, 0.0)),
            ))  # fmt: skip
        except BadInputError as error:
            if not lenient:
                raise
            talk(f"left out: {error}")
    if not found:
        raise BadInputError("none of the kept runs says enough: bench some loads of 24 requests and more")
    return tuple(found)


def _deployment(entry: RunEntry) -> Deployment:
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions
    from sizewell.traffic.workload import Workload

    model, machine, nodes, node, setup = _restated(f"run {entry.id}", entry.deployment)
    place = questions.machine(machine, nodes, node, setup.stated.replicas or 1)
    return questions.stated_on(
        read_model(model), place, Workload(input_tokens=1.0, answer_tokens=1.0, users=1.0), setup
    )  # fmt: skip


def _restated(path: str, found: Mapping[str, Any]) -> tuple[str, str, int, str, Setup]:
    """Return the same of a deployment as it was written; `path` names it in errors."""
    from sizewell.cli.questions import Setup
    from sizewell.planner.stated import Stated
    from sizewell.specs.deployment import Formats

    if len(found["pools"]) != 1:
        raise BadInputError(f"{path}: {len(found['pools'])} pools: only a plan of one pool is predicted")
    (pool,) = found["pools"]
    cut, said = pool["parallelism"], pool["settings"]
    stated = Stated(
        tp=cut["tp"], pp=cut["pp"], dp=cut["dp"], ep=cut["ep"], replicas=pool["replicas"],
        max_num_seqs=said["max_num_seqs"], max_num_batched_tokens=said["max_num_batched_tokens"],
        max_model_len_tokens=said["max_model_len_tokens"], memory_fraction=said["memory_fraction"],
        enforce_eager=said["enforce_eager"], offload_bytes=said["offload_bytes"],
        speculative_tokens=said["speculative_tokens"], kv_cache_bytes=said.get("kv_cache_bytes", 0.0),
        by_priority=said.get("by_priority", False),
    )  # fmt: skip
    formats = Formats(weight=found["weight_format"], kv=found["kv_format"])
    engine = f"{found['engine']['name']}@{found['engine']['version']}"
    setup = Setup(engine=engine, formats=formats, stated=stated)
    return (
        named_in(found),
        f"{found['gpus_per_node']}x{found['gpu']}",
        found["nodes"],
        found["node"],
        setup,
    )
