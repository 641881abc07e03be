"""`sizewell status`: how started deployments stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from sizewell.cli.options import OnceCommand, as_json
from sizewell.cli.output import print_json, show, talk
from sizewell.specs.errors import UnreachableError

if TYPE_CHECKING:
    from sizewell.cli.watching import Look
    from sizewell.deployer.kept import Deployments
    from sizewell.deployer.started import Started
    from sizewell.specs.standing import Standing

FAILED = 1
Seen = tuple["Started", Sequence["Look"], "Standing | None", str]


@click.command("status", cls=OnceCommand)
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Those taken down too.")
@as_json()
@click.pass_context
def command(ctx: click.Context, /, name: str | None, everything: bool, as_json: bool) -> None:
    """Show how started deployments stand, or one of them with its replicas.

    A server that should answer is asked for one token. Exit code 1 when the one that is named has failed, 5 when
    nobody knows because its target does not answer.
    """
    from sizewell.cli.standing_page import deployment_answer, deployment_table
    from sizewell.cli.starting import kept_deployments

    kept = kept_deployments()
    shown = list(_shown(kept, [name] if name else kept.names(), everything or name is not None))
    if as_json:
        print_json("status", {"deployments": [deployment_answer(*one) for one in shown]})
    elif name:
        _show_one(kept, shown[0])
    elif shown:
        show(deployment_table([(one, standing, why) for one, _, standing, why in shown]))
    else:
        talk("nothing is up: `sizewell up` starts something")
    if name:
        ctx.exit(_exit_code(shown[0]))


def _exit_code(seen: Seen) -> int:
    _, _, standing, _ = seen
    if standing is None:
        return UnreachableError.exit_code
    return FAILED if standing.stage == "FAILED" else 0


def _shown(kept: Deployments, names: Sequence[str], everything: bool) -> Iterator[Seen]:
    for name in names:
        started = kept.read(name)
        if started.ended_at is None or everything:
            yield seen(kept, started)


def seen(kept: Deployments, started: Started) -> Seen:
    """Return one with its replicas and how it stands; no standing, and why, where its system does not answer."""
    from sizewell.cli.expected import Expected
    from sizewell.cli.watching import TAKEN_DOWN, keep_ready, look, overall
    from sizewell.deployer.runners import runner

    if started.ended_at is not None:
        return started, (), TAKEN_DOWN, ""
    try:
        looks = look(runner(started, kept.folder(started.name)), Expected(started))
    except UnreachableError as error:
        return started, (), None, str(error)
    keep_ready(kept, started, looks)
    return kept.read(started.name), looks, overall(looks), ""


def _show_one(kept: Deployments, seen: Seen) -> None:
    from sizewell.cli.standing_page import failure_lines, standing_line, startup_lines

    started, looks, standing, why = seen
    show(f"{started.name}: {standing_line(standing) if standing else why}")
    for each in looks:
        where = ", ".join(word for word in (each.url, *each.job.nodes) if word)
        show(f"  {each.name}{f' at {where}' if where else ''}: {standing_line(each.standing)}")
        show(*(f"  {line}" for line in (*failure_lines(each), *startup_lines(each))))
    show(f"  started {started.made_at} ({started.where}), files and logs in {kept.folder(started.name)}")
