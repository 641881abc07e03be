"""What commands leave in the records: plans, and runs with what was deployed, offered and predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.output import json_ready, talk
from sizewell.cli.plan_file import TAKEN, is_kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sizewell.cli.bench_runs import Answer, Point
    from sizewell.cli.simulations import Simulation
    from sizewell.records.store import Records
    from sizewell.specs.deployment import Deployment

READ_FROM = "read_from"
"""Field of a kept deployment: what the model is read from where its name alone does not tell."""
CACHED = "cached_fraction"
"""Field of what a measured run was offered: the share of its prompt tokens that a prefix cache knew, which few servers
tell of each request."""


def keep_plan(kind: str, document: Mapping[str, object], name: str, model: str) -> None:
    """Keep what a command of a `kind` answered about a `model`, as it was typed, for --plan to name by number."""
    from sizewell.records.store import Records

    told = {"schema": f"sizewell/{kind}/1", **json_ready(document)}
    plans = told.get("plans", [told])
    for each in (*plans, *told.get("splits", ())):
        each["deployment"] |= _origin(model)
    number = Records.usual().keep("plans", name, told)
    split = plans and len(plans[0]["deployment"]["pools"]) > 1
    use = f"render --plan {number} writes what starts it" if split else f"bench --plan {number} --keep NAME measures it"
    talk(f"kept as plan {number}: sizewell {use}")


def keep_simulation(found: Simulation, name: str, model: str) -> None:
    """Keep a simulated run; nothing where the deployment does not fit."""
    from sizewell.records.store import Records

    number = _keep_simulation(Records.usual(), found, name, model)
    if number is not None:
        talk(f"kept as run {number}: sizewell runs show {number}")


def keep_bench(given: Mapping[str, Any], answer: Answer) -> None:
    """Keep every load of a bench, with the run that predicted it and the plan it carried out, where there are any."""
    from sizewell.records.store import Records

    if given["keep"] is None:
        return
    records = Records.usual()
    plan = _plan_number(records, click.get_current_context().meta.get(TAKEN), given["keep"])
    asked = {} if given["imported"] else {"model": answer.model}
    numbers = [_keep_point(records, given, point, asked, plan) for point in answer.points if len(point.measured.run)]
    said = ", ".join(map(str, numbers))
    talk(f"kept as run{'s' if len(numbers) > 1 else ''} {said}: sizewell runs show {numbers[0]}" if numbers else "")


def _keep_point(
    records: Records, given: Mapping[str, Any], point: Point, asked: dict[str, Any], plan: int | None
) -> int:
    """Keep one load; of a deployment nobody stated, what the server was `asked` for."""
    from sizewell.cli.simulate_document import traffic_object
    from sizewell.cli.traffic_flags import Offered
    from sizewell.records.store import Links

    label = point.measured.offer.label
    name = f"{given['keep']} {label}".strip()
    played, predicted = point.played, None
    deployment: dict[str, Any] = asked
    if played is not None:
        deployment = kept_deployment(played.deployment, given["model"])
        predicted = _keep_simulation(records, played, name, given["model"], plan)
    offer = point.measured.offer
    traffic = json_ready(traffic_object(Offered(requests=offer.requests, until_s=offer.until_s)))
    traffic[CACHED] = point.measured.cached_fraction
    return records.keep_run(point.measured.run, name, deployment, traffic, Links(plan=plan, predicted=predicted))


def _keep_simulation(records: Records, found: Simulation, name: str, model: str, plan: int | None = None) -> int | None:
    from sizewell.cli.simulate_document import traffic_object
    from sizewell.records.store import Links

    if found.run is None:
        return None
    deployment, traffic = kept_deployment(found.deployment, model), json_ready(traffic_object(found.offered))
    return records.keep_run(found.run, name, deployment, traffic, Links(plan=plan))


def kept_deployment(deployment: Deployment, model: str) -> dict[str, Any]:
    """Return a deployment as it is kept; `model` is what was typed to name it."""
    from sizewell.cli.documents import deployment_object

    return {**json_ready(deployment_object(deployment)), **_origin(model)}


def _origin(model: str) -> dict[str, str]:
    path = Path(model).expanduser()
    return {READ_FROM: str(path.resolve())} if path.exists() else {}


def _plan_number(records: Records, plan: str | None, name: str) -> int | None:
    """Return the number of the plan that was named, kept now if it was a file."""
    if plan is None or is_kept(plan):
        return None if plan is None else int(plan)
    return records.keep("plans", name, json.loads(Path(plan).read_text(encoding="utf-8")))
