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
FAILED_STOP_S = 15.0


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
    from sizewell.deployer.runners import runner
    from sizewell.deployer.started import Stopped

    kept = kept_deployments()
    started = kept.read(name)
    was_up, stopped = started.ended_at is None, Stopped()
    if was_up:
        started = _hurried(started, runner(started, kept.folder(name)))
        talk(f"{name}: ending it, for up to {started.stop_s:.0f} s gently")
        stopped = take_down(kept, started, runner(started, kept.folder(name)))
    if forget and not stopped.alive:
        kept.forget(name)
    if as_json:
        said = {"killed": stopped.killed, "removed": stopped.removed, "kept": stopped.kept, "alive": stopped.alive}
        print_json("down", {"name": name, "was_up": was_up, **said})
    else:
        _show(name, stopped, was_up)
    if stopped.alive:
        ctx.exit(FAILED)


def take_down(kept: Deployments, started: Started, runner: Runner) -> Stopped:
    """Stop a deployment and write down that it ended, if it did."""
    from sizewell.cli.watching import now

    stopped = runner.stop()
    if not stopped.alive:
        kept.keep(replace(kept.read(started.name), ended_at=now()))
    return stopped


def _hurried(started: Started, runner: Runner) -> Started:
    """Return a deployment whose logs say that its start failed with less time to end: no request is running there.

    An engine asked to end while it fails may wait for requests that never came.
    """
    from sizewell.cli.watching import Logs

    if started.where == "kubernetes":
        return started  # the pods' own time to end counts there
    logs = Logs(runner, None)
    said = [logs.read(number, is_over=True)[0] for number in range(started.replicas)]
    failed = started.ready_at is None and any(each.failure and not each.failure.survivable for each in said)
    idle = failed and not any(each.stage == "serving" for each in said)
    return replace(started, stop_s=min(started.stop_s, FAILED_STOP_S)) if idle else started


def _show(name: str, stopped: Stopped, was_up: bool) -> None:
    if stopped.alive:
        show(f"{name}: still there: {', '.join(stopped.alive)}")
    else:
        show(f"{name} {'is' if was_up else 'was already'} down{', killed' if stopped.killed else ''}")
    show(*(f"  removed {each}" for each in stopped.removed), *(f"  kept {each}" for each in stopped.kept))
