"""`sizewell diagnose`: what binds a server, by what it says of itself and what its hardware should do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import (
    OnceCommand,
    as_json,
    assume,
    deployment_flags,
    format_flags,
    quantity,
    settings_flags,
    stack,
)
from sizewell.cli.pool_flags import PoolText
from sizewell.cli.quantities import COUNT, DURATION, FRACTION, USERS
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.cli.options import Decorator

TOP = 5


def _reading_flags() -> Decorator:
    return stack(
        quantity("--window", DURATION, "How long a server is watched [30s]."),
        quantity("--every", DURATION, "Time between readings [5s]."),
        click.option("--save", metavar="FILE", help="Keep the readings: a file that can be diagnosed again."),
        click.option("--api-key-env", metavar="NAME", help="Variable with the key [SIZEWELL_API_KEY, the engine's]."),
        click.option("--served-model-name", metavar="NAME", help="Which of several models on one page."),
        click.option("--plan", "plan_file", metavar="FILE|N", help="A plan's JSON, instead of MODEL --on."),
    )


def _knowledge_flags() -> Decorator:
    return stack(
        quantity("--shared", FRACTION, "Share of prompt tokens that prompts have in common [not known]."),
        quantity("--in-flight", USERS, "Requests the client keeps in flight [not known]."),
        click.option("--client", metavar="FILE", help="What the sender measured: JSON of `sizewell bench`."),
        click.option("--try", "tried", type=PoolText(), multiple=True, metavar="TP8xPP2", help="Price this cut too."),
        quantity("--top", COUNT, f"Changes shown [{TOP}]."),
    )


@click.command("diagnose", cls=OnceCommand)
@click.argument("target")
@click.argument("model", required=False)
@_reading_flags()
@_knowledge_flags()
@assume()
@deployment_flags(required=False)
@format_flags(multiple=False)
@settings_flags()
@as_json()
def command(**given: Any) -> None:
    """Name what binds TARGET: a server's URL, a file of its /metrics, the number of a kept run, or a run's JSON.

    MODEL --on 8xh200 and the flags of `sizewell explain`, or --plan, say what it runs on: then steps are priced, and
    changes proposed with their gain. A URL names its model itself. Without hardware, what metrics alone show is said.
    Exit code 5 when the server does not answer.
    """
    from sizewell.cli import diagnose_page, diagnose_sources
    from sizewell.cli.diagnose_advice import adviser, rendered
    from sizewell.cli.output import print_json, show

    if given["plan_file"] is not None and (given["model"] or given["machine"]):
        raise BadInputError("--plan and MODEL --on both say what it runs on: give one of the two")
    if given["model"] is not None and "://" in given["model"]:
        raise BadInputError(f"{given['model']}: one server at a time is watched; several may stand on one page")
    if given["model"] is not None and given["machine"] is None:
        raise BadInputError(f"{given['model']} runs on what? Say --on 8xh200")
    found, known = diagnose_sources.looked_at(given)
    from sizewell.advisor.diagnosis import diagnose

    diagnosis = diagnose(found, known, adviser(), given["top"] or TOP)
    command_line = rendered(known.deployment, diagnosis, given["model"])
    if given["as_json"]:
        print_json("diagnose", diagnose_page.diagnosis_object(diagnosis, known.deployment, command_line))
    else:
        show(*diagnose_page.page(diagnosis, known.deployment, command_line))
