"""`sizewell render`: a deployment as files that start it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.launch_flags import launch_flags, launch_of, warn
from sizewell.cli.options import OnceCommand, as_json
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGETS = ("command", "compose", "slurm", "kubernetes", "systemd")


@click.command("render", cls=OnceCommand)
@click.option("--target", type=click.Choice(TARGETS), default="command", show_default=True, help="What to write.")
@launch_flags()
@click.option("--user", metavar="NAME", help="Who systemd runs it as [root].")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Write files there, not to stdout.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Render a deployment of MODEL as files that start it: exactly the limits that were priced.

    MODEL and the flags are those of `sizewell explain`, or come from a file (--from). Exit code 3 when it does not fit.
    """
    from sizewell.deployer.render import render

    if given["user"] is not None and given["target"] != "systemd":
        raise BadInputError(f"--user is for --target systemd: leave it out for {given['target']}")
    launch = launch_of(ctx, given)
    files = render(launch, given["target"])
    warn(launch, given)
    if given["output"] is not None:
        from sizewell.deployer.folder import write

        write(files, given["output"], force=given["force"])
    if given["as_json"]:
        from sizewell.cli.documents import deployment_object
        from sizewell.cli.output import print_json

        answer = {"target": given["target"], "deployment": deployment_object(launch.deployment), "files": files}
        print_json("render", answer)
    else:
        _show(files, given["output"])


def _show(files: Mapping[str, str], folder: Path | None) -> None:
    if folder is not None:
        sys.stdout.writelines(f"{folder / path}\n" for path in files)
        return
    for path, text in files.items():
        sys.stdout.write(text if len(files) == 1 else f"==> {path} <==\n{text}")
