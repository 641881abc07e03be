"""A deployment from a file: a plan of `sizewell plan --json`, an answer that states one, or flags as YAML or TOML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.specs.errors import BadInputError, NoFeasiblePlanError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sizewell.cli.options import Decorator
    from sizewell.specs.deployment import Deployment

MOST_BYTES = 256 * 2**20
STATED, TAKEN = "sizewell.plan_file", "sizewell.plan_taken"
HELP = "Take the best plan of `sizewell plan --json`, a file or the number of a kept one; MODEL and flags given win."
SETTINGS = ("max_num_seqs", "max_num_batched_tokens", "memory_fraction", "speculative_tokens")
"""Settings that are called the same in a plan and as a flag."""
SWITCHES = ("enforce_eager", "pin_prefixes", "by_priority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The deployment a file holds, and the load and the limits it was planned for."""

    path: str
    deployment: Mapping[str, Any]
    workload: Mapping[str, Any]
    limits: Mapping[str, Any]

    def flags(self) -> dict[str, Any]:
        """Return the flags that state the deployment, by parameter name; raises BadInputError where one is missing."""
        try:
            return self._flags()
        except KeyError as error:
            raise BadInputError(f"{self.path}: the plan says nothing of {error}: plan again") from error

    def _flags(self) -> dict[str, Any]:
        said = self.deployment
        settings, engine = said["pools"][0]["settings"], said["engine"]
        values = {
            "model": named_in(said),
            "machine": f"{said['gpus_per_node']}x{said['gpu']}",
            "nodes": said["nodes"],
            "node": said["node"],
            **self._pools(),
            "engine": f"{engine['name']}@{engine['version']}",
            "weight_format": said["weight_format"],
            "kv_format": said["kv_format"],
            "max_model_len": settings["max_model_len_tokens"],
            "offload_bytes": _gib(settings["offload_bytes"]),
            "kv_cache_memory": _gib(settings.get("kv_cache_bytes", 0)),
            "kv_host_memory": _gib(settings.get("kv_host_bytes", 0)),
            **{name: settings[name] for name in SETTINGS},
        }
        spoken = {name: str(value) for name, value in values.items() if value != 0}
        return spoken | {name: settings.get(name, False) for name in SWITCHES}

    def _pools(self) -> dict[str, Any]:
        """Return how the replicas of one pool are cut, or those of two."""
        pools, network = self.deployment["pools"], self.deployment.get("kv_network")
        if len(pools) == 1:
            return {"replicas": pools[0]["replicas"], **pools[0]["parallelism"]}
        named = {"kv_network": network} if network else {}
        apart = self.deployment.get("decode_on")
        if apart:
            named["decode_on"] = f"{apart['gpus_per_node'] * apart['nodes']}x{apart['gpu']}"
        for pool in pools:
            cut = "x".join(f"{name}{size}" for name, size in pool["parallelism"].items())
            named[pool["role"]] = f"{pool['replicas']}x{cut}"
        return named

    def load_flags(self) -> dict[str, str]:
        """Return the flags that state the load."""
        load = self.workload
        words = ("input", "answer", "think", "shared_prefix")
        values = {word: load.get(f"{word}_tokens") for word in words}
        values |= {word: load.get(word) for word in ("users", "growth")}
        said = {word: repr(value) for word, value in values.items() if value}
        return said | {"rate": f"{load['rate_per_s']!r}/s"} if load.get("rate_per_s") else said

    def limit_flags(self) -> dict[str, str]:
        """Return the flags that state the limits on what users feel."""
        limits, speed = self.limits, self.limits.get("tokens_per_s_per_user")
        tpot_s = min(filter(None, (limits.get("tpot_s"), 1 / speed if speed else None)), default=None)
        values = {word: limits.get(f"{word}_s") for word in ("ttft", "ttfa", "e2e")} | {"tpot": tpot_s}
        said = {word: f"{value!r}s" for word, value in values.items() if value}
        return said | {"statistic": limits.get("statistic", "mean")}


def read_planned(path: str | Path, number: int = 1, split: int | None = None) -> Planned:
    """Return the `number`-th plan of `sizewell plan --json`, or what `explain` or `simulate --json` deployed.

    `split` chooses one of its plans of two pools instead. Raises BadInputError where the file is none of them or holds
    no such plan or split, NoFeasiblePlanError where nothing held.
    """
    answer = _answer(path)
    found, which, what = answer.get("plans", [answer]), number, "plan"
    try:
        if split is not None:
            found, which, what = answer.get("splits", []), split, "split"
        elif not found:
            other = (
                f": --split 1 takes its best of two pools, {len(answer['splits'])} held" if answer.get("splits") else ""
            )
            raise NoFeasiblePlanError(f"{path}: no plan{' of one pool' if other else ''} held its limits{other}")
        if not 1 <= which <= len(found):
            raise BadInputError(f"{path}: holds {len(found)} {what}s, there is no --{what} {which}")
        deployment = found[which - 1]["deployment"]
        asked = answer.get("question", answer)
        limits = asked.get("limits") or {}
        planned = Planned(
            path=str(path), deployment=deployment, workload=asked.get("workload") or {},
            limits={**limits, **(limits.get("slo") or {})},
        )  # fmt: skip
        for pool in deployment["pools"]:
            _ = pool["role"], int(pool["replicas"]), int(pool["settings"]["max_num_seqs"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInputError(f"{path}: holds no deployment ({error}): write it with `sizewell plan --json`") from error
    return planned


def _gib(size_bytes: float) -> str | int:
    return f"{size_bytes / 2**30!r}GiB" if size_bytes else 0


def is_kept(plan: str | Path) -> bool:
    """Return whether a plan is named by its number in the records, and no file is called so."""
    return str(plan).isdecimal() and not Path(plan).exists()


def _answer(path: str | Path) -> dict[str, Any]:
    if is_kept(path):
        from sizewell.records.store import Records

        return dict(Records.usual().document("plans", int(str(path))))
    try:
        with Path(path).open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        answer = json.loads(text) if len(text) <= MOST_BYTES else None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: cannot be read, it is not JSON: {error}") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("plans", []), list):
        raise BadInputError(f"{path}: holds no plan: write it with `sizewell plan --json`")
    return answer


def is_of_a_model(path: str) -> bool:
    """Return whether a file is the configuration of a model, whatever it is called."""
    try:
        return path.lower().endswith(".json") and not {"architectures", "model_type"}.isdisjoint(_answer(path))
    except BadInputError:
        return False


def planned_window(path: Path) -> int:
    """Return how many sequences the planned engines take at once, all replicas together."""
    pools = read_planned(path).deployment["pools"]
    return sum(pool["replicas"] * pool["settings"]["max_num_seqs"] for pool in pools if pool["role"] != "prefill")


def plan_flag() -> Decorator:
    """Return the flag that fills in a deployment from a file, and where a command offers requests, load and limits."""
    return click.option("--plan", metavar="FILE|N", is_eager=True, expose_value=False, callback=_filled, help=HELP)


def _filled(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    from sizewell.cli.options import fill_in

    if value is not None:
        planned = read_planned(value)
        offers = any(param.name == "users" for param in ctx.command.params)
        asked = {**planned.load_flags(), **planned.limit_flags()} if offers else {}
        fill_in(ctx, {**_flags_for(planned, ctx), **asked}, of_plan=True)
        ctx.meta[TAKEN] = value


def _flags_for(planned: Planned, ctx: click.Context) -> dict[str, Any]:
    """Return a plan's flags; raises BadInputError for several pools where the command has no flags for them."""
    pools = len(planned.deployment["pools"])
    if pools != 1 and not any(param.name == "prefill" for param in ctx.command.params):
        raise BadInputError(
            f"--plan {planned.path}: {pools} pools: `sizewell {ctx.info_name}` takes a plan of one pool only"
        )
    if planned.deployment.get("decode_on") and all(param.name != "decode_on" for param in ctx.command.params):
        raise BadInputError(
            f"--plan {planned.path}: its pools stand on two kinds of accelerators: only `sizewell simulate` takes it"
        )
    return planned.flags()


def read_deployment_file(path: str, number: int, ctx: click.Context, split: int | None = None) -> dict[str, Any]:
    """Return a file's values by parameter name of the command being run; of several plans, the `number`-th.

    `path` may be the number of a kept plan; `split` chooses one of its plans of two pools. One file of flags
    serves `render`, `up` and `doctor`: each takes what it knows of it. Raises BadInputError for a file that is neither
    a plan nor flags, and for a plan or split it does not hold.
    """
    if not (path.lower().endswith(".json") or is_kept(path)):
        from sizewell.cli import doctor, render, up
        from sizewell.cli.workload_file import read_workload_file

        return read_workload_file(path, ctx, (render.command, up.command, doctor.command))
    planned = read_planned(path, number, split)
    ctx.meta[STATED] = planned.deployment
    limits = planned.limit_flags()
    if limits["statistic"] != "mean" and all(param.name != "statistic" for param in ctx.command.params):
        limits = {}
    return {**_flags_for(planned, ctx), **planned.load_flags(), **limits}


def named_in(document: Mapping[str, Any]) -> str:
    """Return what names the model of a deployment that was written down: where it was read from, where that is told."""
    return str(document.get("read_from", document["model"]))


def rebuilt(document: Mapping[str, Any], model: str, assumed: tuple[str, ...]) -> Deployment:
    """Return the deployment a document states, of a model as it was named."""
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions
    from sizewell.planner.stated import Stated
    from sizewell.specs.deployment import Formats
    from sizewell.traffic.workload import Workload

    pools, engine = document["pools"], document["engine"]
    replicas = sum(pool["replicas"] for pool in pools)
    unstated = ("prefix_caching", "chunked_prefill")
    settings = {name: value for name, value in pools[0]["settings"].items() if name not in unstated}
    return questions.stated_on(
        read_model(model, assume=assumed),
        questions.machine(
            f"{document['gpus_per_node']}x{document['gpu']}", document["nodes"], document["node"], replicas
        ),
        Workload(input_tokens=1.0, answer_tokens=1.0, users=1.0),
        questions.Setup(
            engine=f"{engine['name']}@{engine['version']}",
            formats=Formats(weight=document["weight_format"], kv=document["kv_format"]),
            stated=Stated(**_stated_pools(document), **settings),
        ),
    )


def _stated_pools(document: Mapping[str, Any]) -> dict[str, Any]:
    from sizewell.catalog.hardware import read_link
    from sizewell.cli import questions
    from sizewell.planner.stated import StatedPool
    from sizewell.specs.deployment import Parallelism

    pools, network = document["pools"], document.get("kv_network")
    if len(pools) == 1:
        return {"replicas": pools[0]["replicas"], **pools[0]["parallelism"]}
    said = {
        pool["role"]: StatedPool(replicas=pool["replicas"], cut=Parallelism(**pool["parallelism"])) for pool in pools
    }
    apart = document.get("decode_on")
    there = (
        questions.machine(f"{apart['gpus_per_node']}x{apart['gpu']}", apart["nodes"], apart["node"]) if apart else None
    )
    return {**said, "kv_network": read_link(network) if network else None, "decode_on": there}


def check_as_planned(deployment: Deployment, ctx: click.Context) -> None:
    """Refuse a deployment that is not, field by field, the one the plan holds; raises BadInputError.

    Flags given beside the file change it on purpose: then there is nothing to compare.
    """
    from sizewell.cli.documents import deployment_object
    from sizewell.cli.output import json_ready

    stated = ctx.meta.get(STATED)
    if stated is None or _changed(ctx):
        return
    built = json_ready(deployment_object(deployment))
    different = [name for name in built if name in stated and stated[name] != built[name]]
    if different:
        raise BadInputError(
            f"the plan's {different[0]} is {stated[different[0]]!r}, here it is {built[different[0]]!r}: "
            "it was made by another catalogue or another version of sizewell; plan again"
        )


def _changed(ctx: click.Context) -> bool:
    spoken = click.core.ParameterSource.COMMANDLINE
    said = {"model", "machine", "nodes", "node", "replicas", "tp", "pp", "dp", "ep", "engine", "weight_format"}
    said |= {"kv_format", "max_model_len", "offload_bytes", "kv_cache_memory", *SETTINGS, *SWITCHES}
    said |= {"prefill", "decode", "kv_network", "kv_host_memory"}
    return any(ctx.get_parameter_source(name) == spoken for name in said)
