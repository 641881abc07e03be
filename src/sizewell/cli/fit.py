"""`sizewell fit`: what runs on the machine there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import OnceCommand, as_json, quantity
from sizewell.cli.output import WIDTH, broken, console, duration, gib, print_json, show, table
from sizewell.cli.quantities import COUNT, TOKENS, USERS
from sizewell.specs.errors import BadInputError
from sizewell.traffic.workload import Workload

if TYPE_CHECKING:
    from sizewell.planner.fit import Fitting, Misfit
    from sizewell.specs.hardware import ClusterSpec

NOT_FEASIBLE = 3
DEFAULT_CONTEXT = 8192.0
LEAST_CONTEXT = 2
ANSWER_SHARE = 4
"""Of the context a quarter is answered, the rest is prompt."""
GAP = 2
"""Blanks between two columns of a tight table."""
ENGINE, LEAST_NAME = 3, 10
"""Place of the engine in a row; letters of a name that must have room on a line."""


@click.command("fit", cls=OnceCommand)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--on", "machine", required=True, metavar="GPU", help="Accelerators (rtx-3060-12gb, 2xrtx-3060) or full nodes."
)
@click.option("--node", metavar="KEY", help="Kind of node that holds them, e.g. workstation [the usual one].")
@quantity("--count", COUNT, "How many of them are in one machine [1].")
@quantity("--context", TOKENS, f"Tokens a conversation must hold [{DEFAULT_CONTEXT:g}].")
@quantity("--users", USERS, "Users at once [1].")
@click.option("--weight-format", multiple=True, metavar="F", help="Try only these formats [from native to 2 bit].")
@quantity("--top", COUNT, "Rows to show, the largest models first [25].")
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """List what runs on a machine: each MODEL (all shipped ones when none is named) in the least compressed format.

    Exit code 3 when nothing fits.
    """
    from sizewell.cli import questions

    cluster = _cluster(given)
    context = DEFAULT_CONTEXT if given["context"] is None else given["context"]
    if context < LEAST_CONTEXT:
        raise BadInputError(f"--context {context:g} holds no prompt and answer: give at least {LEAST_CONTEXT}")
    answer = max(1.0, context // ANSWER_SHARE)
    workload = Workload(
        input_tokens=max(1.0, context - answer), answer_tokens=answer, users=given["users"] or 1
    )  # fmt: skip
    fitting, misfits = questions.fit(cluster, workload, given["models"], tuple(given["weight_format"]))
    if given["as_json"]:
        _print(cluster, workload, fitting, misfits)
    else:
        _show(cluster, workload, (fitting, misfits), given["top"] or 25)
    if not fitting:
        ctx.exit(NOT_FEASIBLE)


def _cluster(given: dict[str, Any]) -> ClusterSpec:
    from sizewell.catalog.hardware import is_gpu, is_node
    from sizewell.cli.machine_text import parse_machine
    from sizewell.cli.questions import machine

    count, name = parse_machine(given["machine"], lambda said: is_gpu(said) or is_node(said))
    if count is not None and given["count"] is not None and count != given["count"]:
        raise BadInputError(f"--on {given['machine']} and --count {given['count']} contradict each other: give one")
    many = count or given["count"]
    return machine(f"{many}x{name}" if many else name, node=given["node"])


def _show(
    cluster: ClusterSpec, load: Workload, found: tuple[tuple[Fitting, ...], tuple[Misfit, ...]], top: int
) -> None:
    fitting, misfits = found
    heads = ("model", ">10⁹", "weights", "engine", ">GiB", ">longest", ">users", ">tok/s", ">TTFT", ">keeps")
    several = f"{cluster.nodes} nodes of " if cluster.nodes > 1 else ""
    machine = f"{several}{cluster.gpus_per_node} × {cluster.gpu.key}"
    run = "1 model runs" if len(fitting) == 1 else f"{len(fitting)} models run"
    halves = f"{load.input_tokens:,.0f} of prompt, {load.output_tokens:,.0f} of answer"
    title = f"{run} on {machine} with {load.context_tokens:,.0f} tokens of context: {halves}"
    show(table(title, *_fitted(heads, [_row(each) for each in fitting[:top]])))
    if len(fitting) > top:
        show(f"{len(fitting) - top} smaller not shown: --top {len(fitting)}")
    if misfits:
        show(f"{len(misfits)} {'does' if len(misfits) == 1 else 'do'} not run; the smallest:")
        show(*(f"- {each.model.name}: {each.reason}" for each in misfits[:5]))


def _fitted(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Keep numbers whole in a narrow terminal: names take the lines they need, engines go (formats tell them)."""
    width = console().width
    if width >= WIDTH:
        return heads, rows
    heads, *rows = ((*line[:ENGINE], *line[ENGINE + 1 :]) for line in (heads, *rows))
    others = [max(len(line[at].lstrip(">")) for line in (heads, *rows)) for at in range(1, len(heads))]
    room = width - sum(others) - GAP * len(heads)
    if room < LEAST_NAME:
        return heads, rows
    tight = tuple(f">|{head[1:]}" if head.startswith(">") else f"|{head}" for head in heads)
    return tight, [(broken(row[0], room), *row[1:]) for row in rows]


def _row(each: Fitting) -> tuple[str, ...]:
    kept = "?" if each.recovery_fraction is None else f"{each.recovery_fraction:.1%}"
    return (
        each.model.name.rpartition("/")[2],
        f"{each.model.parameters / 1e9:,.1f}",
        each.deployment.weight_format,
        each.deployment.engine.name,
        gib(each.memory.weight_bytes),
        f"{each.longest_context_tokens:,}",
        f"{each.users:,.1f}",
        f"{each.tokens_per_s:,.0f}",
        duration(each.ttft_s),
        kept,
    )


def _print(cluster: ClusterSpec, load: Workload, fitting: tuple[Fitting, ...], misfits: tuple[Misfit, ...]) -> None:
    from sizewell.cli.documents import deployment_object

    print_json(
        "fit",
        {
            "gpu": cluster.gpu.key,
            "gpus": cluster.gpus,
            "context_tokens": load.context_tokens,
            "input_tokens": load.input_tokens,
            "answer_tokens": load.answer_tokens,
            "fitting": [
                {
                    "model": each.model.name,
                    "parameters": each.model.parameters,
                    "deployment": deployment_object(each.deployment),
                    "weight_bytes": each.memory.weight_bytes,
                    "kv_tokens": each.memory.kv_tokens,
                    "headroom_bytes": each.memory.headroom_bytes,
                    "tokens_per_s": each.tokens_per_s,
                    "ttft_s": each.ttft_s,
                    "recovery_fraction": each.recovery_fraction,
                    "longest_context_tokens": each.longest_context_tokens,
                    "users": each.users,
                }
                for each in fitting
            ],
            "not_fitting": [{"model": each.model.name, "reason": each.reason} for each in misfits],
        },
    )
