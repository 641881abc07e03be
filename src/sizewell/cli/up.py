"""`sizewell up`: a deployment rendered, started, written down, and watched until it answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.launch_flags import launch_flags, launch_of, warn
from sizewell.cli.options import OnceCommand, as_json, quantity, stack
from sizewell.cli.output import print_json, show, talk
from sizewell.cli.quantities import DURATION
from sizewell.specs.errors import BadInputError, UnreachableError

if TYPE_CHECKING:
    from sizewell.cli.options import Decorator
    from sizewell.cli.watching import Look
    from sizewell.deployer.kept import Deployments
    from sizewell.deployer.started import Part, Runner, Started

TARGETS = ("local", "slurm", "kubernetes")
FAILED = 1


def _start_flags() -> Decorator:
    return stack(
        click.option("--name", metavar="NAME", help="What it is called from now on [made from the model's name]."),
        click.option("--emulate", is_flag=True, help="Start the emulator of the deployment, not its engine (local)."),
        click.option("--emulate-with", metavar="FLAGS", help="More flags of `sizewell emulate`: '--load-time 30s'."),
        click.option("--namespace", help="Kubernetes namespace [the context's]."),
        click.option("--context", help="Kubernetes context [the current one]."),
    )


def _wait_flags() -> Decorator:
    longest = "Stop waiting, not the deployment, after so long [three times the slowest predicted start]."
    return stack(
        click.option("--dry-run", is_flag=True, help="Start nothing: ask the target whether it would, and say so."),
        click.option("--wait/--no-wait", default=True, show_default=True, help="Watch until it is ready or failed."),
        quantity("--timeout", DURATION, longest),
        click.option("--down-on-interrupt", is_flag=True, help="Ctrl-C while waiting takes it down again."),
    )


@click.command("up", cls=OnceCommand)
@click.option("--target", type=click.Choice(TARGETS), default="local", show_default=True, help="Where to start it.")
@_start_flags()
@_wait_flags()
@launch_flags()
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Start a deployment, given as a plan's file or as MODEL and flags, and watch it until it answers.

    It runs on when this command ends: `sizewell status`, `logs` and `down` take its name. Exit code 1 when it fails or
    is not ready in time, 2 when the target refuses it, 3 when it does not fit, 5 when the target does not answer.
    """
    from sizewell.cli import starting

    launch = launch_of(ctx, given)
    files = starting.artefact(launch, given)
    warn(launch, given)
    if given["dry_run"]:
        _rehearse(files, given)
        return
    starting.check_installed(launch, given)
    kept = starting.kept_deployments()
    _check_over(kept, launch.name)
    started, runner = _start(kept, starting.record(launch, given, next(iter(files))), files)
    talk(f"{started.name}: started ({started.where}), files and logs in {kept.folder(started.name)}")
    looks = _watch(kept, started, runner, given) if given["wait"] else ()
    ctx.exit(_answer(kept, started, looks, given))


def _check_over(kept: Deployments, name: str) -> None:
    """Refuse the name of what failed or ended and was not cleared away, saying so; claiming refuses what is up."""
    from sizewell.cli.standing_page import standing_line
    from sizewell.cli.status import seen

    if name not in kept.names() or (held := kept.read(name)).ended_at is not None:
        return
    standing = seen(kept, held)[2]
    if standing is None or standing.stage not in ("FAILED", "ENDED"):
        return
    failure = standing.failure if standing.stage == "FAILED" else None
    advice = f" ({failure.cause}; {failure.advice})" if failure else ""
    raise BadInputError(
        f"the earlier {name} is {standing_line(standing)}{advice}: `sizewell logs {name}` shows its log, "
        f"`sizewell down {name}` clears it away, then up again"
    )


def _start(kept: Deployments, started: Started, files: Mapping[str, str]) -> tuple[Started, Runner]:
    """Claim the name, start, write down what runs; what fails to start leaves nothing behind."""
    from sizewell.deployer.runners import runner

    running = runner(started, kept.claim(started, files))

    def keep(parts: tuple[Part, ...]) -> None:
        nonlocal started
        started = replace(started, parts=parts)
        kept.keep(started)

    try:
        running.start(keep)
    except BaseException:
        # Also on Ctrl-C: a half-started deployment must not stay behind under a name that says nothing of it.
        running.stop()
        kept.forget(started.name)
        raise
    return started, running


def _watch(kept: Deployments, started: Started, runner: Runner, given: Mapping[str, Any]) -> Sequence[Look]:
    from sizewell.cli.standing_page import Teller
    from sizewell.cli.watching import watch

    teller = Teller()

    def tell(looks: Sequence[Look]) -> None:
        for line in teller.lines(looks):
            talk(f"{started.name}: {line}")

    try:
        return watch(kept, started, runner, tell, given["timeout"])
    except KeyboardInterrupt:
        if given["down_on_interrupt"]:
            from sizewell.cli.down import take_down

            take_down(kept, started)
            talk(f"{started.name}: taken down")
        else:
            talk(
                f"{started.name}: goes on without this command: `sizewell status {started.name}` shows it, "
                f"`sizewell down {started.name}` stops it"
            )
        raise


def _answer(kept: Deployments, started: Started, looks: Sequence[Look], given: Mapping[str, Any]) -> int:
    """Print where it is and how it stands, and return the exit code."""
    from sizewell.cli.standing_page import deployment_answer, failure_lines, standing_line
    from sizewell.cli.watching import overall

    standing = overall(looks) if looks else None
    started = kept.read(started.name)
    if given["as_json"]:
        print_json("up", {"deployment": deployment_answer(started, looks, standing)})
    elif standing is None:
        show(f"{started.name}: started; `sizewell status {started.name}` shows how it stands")
    else:
        show(f"{started.name}: {standing_line(standing)}")
        show(*(line for each in looks for line in failure_lines(each)))
        asked = looks[-1:] if started.pooled else looks
        show(*(f"  {each.url}/v1 serves {started.model}" for each in asked if each.url and standing.stage == "READY"))
    if standing is None or standing.stage == "READY":
        return 0
    how = {"FAILED": "it has failed", "ENDED": "it has ended"}.get(standing.stage, "not ready in time, it goes on")
    talk(
        f"{started.name}: {how}; "
        f"`sizewell logs {started.name}` shows its log, `sizewell down {started.name}` clears it away"
    )
    return FAILED


def _rehearse(files: Mapping[str, str], given: Mapping[str, Any]) -> None:
    verdict = _verdict(files, given)
    if given["as_json"]:
        print_json("up", {"rehearsal": {"target": given["target"], "verdict": verdict, "files": files}})
        return
    talk(verdict)
    sys.stdout.writelines(files.values())


def _verdict(files: Mapping[str, str], given: Mapping[str, Any]) -> str:
    from sizewell.deployer import kubernetes_objects, slurm_job

    if given["target"] == "slurm":
        return slurm_job.rehearse(files)
    if given["target"] == "kubernetes":
        words = kubernetes_objects.kubectl(given["namespace"] or "", given["context"] or "")
        try:
            return kubernetes_objects.rehearse(files, words)
        except UnreachableError as error:
            return f"{error}: rendered, and checked by nobody"
    return "this is what would be started"
