"""The `sizewell` command: sub-commands imported on demand, every error on one line with its exit code.

This module imports nothing but click, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from sizewell.specs.errors import SizewellError, nearest_names

COMMANDS = {
    "plan": "Find the hardware and settings that serve a model within your limits.",
    "explain": "Explain one deployment: memory ledger, step cost, floors, what bounds it.",
    "simulate": "Play requests through one deployment, step by step, and score how they are served.",
    "emulate": "Serve a model over HTTP at the pace of hardware you do not have.",
    "runs": "List, show and compare kept runs: predicted beside measured.",
    "sweep": "Simulate every combination of some flags, on all cores or a Ray cluster.",
    "render": "Write the files that start a deployment: command, compose, SLURM, Kubernetes, systemd.",
    "doctor": "Check this machine before weights load: GPUs, memory, disk, network, engine.",
    "up": "Start a deployment here, on SLURM or on Kubernetes, and watch it until it answers.",
    "status": "Show how started deployments stand.",
    "logs": "Print what a started deployment wrote.",
    "down": "End a started deployment.",
    "fit": "List what runs on the machine you have.",
    "validate": "Predict measured figures from a file and report the error by group.",
    "measure": "Measure this machine and compare it with what is predicted (needs PyTorch).",
    "calibrate": "Fit the efficiencies of your machine to figures you measured.",
    "batch": "Send a file of prompts to live servers; resumable at any moment.",
    "bench": "Measure a live server under a load, beside what is predicted for it.",
    "diagnose": "Name what binds a live server or a run, with evidence, and the change that helps most.",
    "catalog": "Show the facts everything rests on, each with its source.",
}
"""Sub-command → one line of help. Each lives in the module `sizewell.cli.<name>` as `command`."""

INTERRUPTED = 130
FAILED = 1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk without room answers."""
LONGEST_LINE = 500


class LazyGroup(click.Group):
    """A group that imports a sub-command only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order a reader meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `sizewell.cli.<cmd_name>` and return its `command`."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"sizewell.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown sub-command with the nearest names."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = nearest_names(args[0], COMMANDS)
            guess = f"; did you mean {', '.join(near)}?" if near else f"; there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"unknown command {args[0]!r}{guess}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of sub-commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"sizewell {version('sizewell')}")
        ctx.exit()


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr about the work.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show it.")
@click.pass_context
def sizewell(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Size well, serve well: which hardware a model needs for its users, and why.

    Results go to stdout, talk to stderr. Every command takes --json. Exit codes: docs/exit-codes.md.
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose contradict each other: give one of the two", ctx)
    ctx.obj = {"quiet": quiet, "verbose": verbose}
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: Sequence[str] | None = None) -> int:  # noqa: PLR0911  # one return for each kind of end
    """Run the command and return its exit code; everything a user can fix becomes one line on stderr."""
    _prepare_streams()
    try:
        _invoke(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as left:
        return left.exit_code
    except SizewellError as error:
        return _complain(str(error), error.exit_code)
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader went away (`| head`)
        _drop_buffered()
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        if error.filename is None:
            _drop_buffered()
        return _complain(f"{error.filename or 'the answer'} cannot be written: {error.strerror}", FAILED)


def _prepare_streams() -> None:
    if sys.stdout is None:  # closed by the caller: `sizewell … >&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _drop_buffered() -> None:
    # What is still buffered has no destination: the interpreter would try again when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _invoke(arguments: list[str]) -> None:
    # Not `sizewell.main`: it prints a line of its own on Ctrl-C and ends with 1 when a pipe closes.
    with sizewell.make_context("sizewell", arguments) as context:
        sizewell.invoke(context)


def _complain(message: str, exit_code: int) -> int:
    line = "".join(mark if mark.isprintable() else "·" for mark in " ".join(message.split()))
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} … {line[-LONGEST_LINE // 2 :]}"
    click.echo(f"sizewell: {line}", err=True)
    return exit_code
