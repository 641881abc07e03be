"""`sizewell down`: a started deployment ended, and nothing of it left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from sizewell.cli.options import OnceCommand, as_json
from sizewell.cli.output import print_json, show, talk

if TYPE_CHECKING:
    from sizewell.deployer.kept import Deployments
    from sizewell.deployer.started import Runner, Started, Stopped

FAILED = 1
IDLE_STOP_S = 15.0
ASKED_S = 5.0


@click.command("down", cls=OnceCommand)
@click.argument("name")
@click.option("--forget", is_flag=True, help="Remove its files and logs too.")
@as_json()
@click.pass_context
def command(ctx: click.Context, /, name: str, forget: bool, as_json: bool) -> None:
    """End a started deployment and wait until it is gone; running requests may end first.

    Its name is free again, its log stays until then. Exit code 1 when something of it cannot be ended.
    """
    from sizewell.cli.starting import kept_deployments
    from sizewell.deployer.started import Stopped

    kept = kept_deployments()
    started = kept.read(name)
    was_up, stopped = started.ended_at is None, Stopped()
    if was_up:
        stopped = take_down(kept, started)
    if forget and not stopped.alive:
        kept.forget(name)
    if as_json:
        said = {"killed": stopped.killed, "removed": stopped.removed, "kept": stopped.kept, "alive": stopped.alive}
        print_json("down", {"name": name, "was_up": was_up, **said})
    else:
        _show(name, stopped, was_up)
    if stopped.alive:
        ctx.exit(FAILED)


def take_down(kept: Deployments, started: Started) -> Stopped:
    """Stop a deployment and write down that it ended, if it did."""
    from sizewell.cli.watching import now
    from sizewell.deployer.runners import runner

    folder = kept.folder(started.name)
    started = _hurried(started, runner(started, folder))
    talk(f"{started.name}: ending it, for up to {started.stop_s:.0f} s gently")
    stopped = runner(started, folder).stop()
    if not stopped.alive:
        kept.keep(replace(kept.read(started.name), ended_at=now()))
    return stopped


def _hurried(started: Started, runner: Runner) -> Started:
    """Return a deployment that never listened with less time to end: no request is running there.

    An engine asked to end while it loads or fails may wait for requests that never came.
    """
    if started.where == "kubernetes" or started.ready_at is not None or not started.parts:
        return started  # pods' own time to end counts there
    if any(_may_listen(runner, number) for number in range(started.replicas)):
        return started
    return replace(started, stop_s=min(started.stop_s, IDLE_STOP_S))


def _may_listen(runner: Runner, number: int) -> bool:
    """Return whether a replica takes requests, or nobody knows."""
    from sizewell.observer.probe import ask_health
    from sizewell.specs.standing import HttpFacts

    with runner.reach(number) as there:
        if isinstance(there, HttpFacts):
            return there.listens or there.error != ""
        return ask_health(there, ASKED_S).listens


def _show(name: str, stopped: Stopped, was_up: bool) -> None:
    if stopped.alive:
        show(f"{name}: still there: {', '.join(stopped.alive)}")
    else:
        show(f"{name} {'is' if was_up else 'was already'} down{', killed' if stopped.killed else ''}")
    show(*(f"  removed {each}" for each in stopped.removed), *(f"  kept {each}" for each in stopped.kept))
