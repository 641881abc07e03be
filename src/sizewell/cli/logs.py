"""`sizewell logs`: what a started deployment wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from sizewell.cli.options import OnceCommand, as_json
from sizewell.cli.output import print_json
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.deployer.started import Runner


@click.command("logs", cls=OnceCommand)
@click.argument("name")
@click.option("--follow", "-f", is_flag=True, help="Go on until it ends.")
@click.option("--replica", type=click.IntRange(0), metavar="N", help="Only that replica [all].")
@click.option("--tail", type=click.IntRange(1), metavar="N", help="Only the last lines of each; what follows is whole.")
@as_json()
def command(name: str, follow: bool, replica: int | None, tail: int | None, as_json: bool) -> None:
    """Print the log of a started deployment, a very long one without its middle; those taken down keep theirs."""
    from sizewell.cli.starting import kept_deployments
    from sizewell.deployer.runners import runner

    kept = kept_deployments()
    started = kept.read(name)
    if replica is not None and replica >= started.replicas:
        raise BadInputError(f"{name} has {started.replicas} replicas, numbered from 0: there is no --replica {replica}")
    if follow and as_json:
        raise BadInputError("--follow writes lines as they come: leave --json out")
    running = runner(started, kept.folder(name))
    numbers = range(started.replicas) if replica is None else (replica,)
    called = started.names if started.pooled else [str(number) for number in range(started.replicas)]
    labels = {number: f"{called[number]}: " if len(numbers) > 1 else "" for number in numbers}
    if follow:
        from sizewell.cli.following import follow as lines_of

        for line in lines_of(running, started.where, labels, tail):
            click.echo(line)
        return
    logs = {number: _last(running, number, tail) for number in numbers}
    if as_json:
        parts = [{"number": number, "name": started.names[number], "lines": lines} for number, lines in logs.items()]
        print_json("logs", {"name": name, "parts": parts})
        return
    for number, lines in logs.items():
        for line in lines:
            click.echo(f"{labels[number]}{line}")


def _last(running: Runner, number: int, tail: int | None) -> Sequence[str]:
    lines = running.lines(number)
    return lines[-tail:] if tail else lines
