"""`sizewell fit`: what runs on the machine there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import as_json, quantity
from sizewell.cli.output import print_json, show, table
from sizewell.cli.quantities import COUNT, TOKENS, USERS
from sizewell.specs.errors import BadInputError
from sizewell.traffic.workload import Workload

if TYPE_CHECKING:
    from sizewell.planner.fit import Fit
    from sizewell.planner.plan import Plan

NOT_FEASIBLE = 3
NEAREST = 5
DEFAULT_CONTEXT = 8192.0
ANSWER_SHARE = 4
"""Of the context a quarter is answered, the rest is prompt."""


@click.command("fit")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--on", "machine", required=True, metavar="GPU", help="The accelerator, e.g. rtx-3060-12gb or 2xrtx-3060."
)
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

    machine = _machine(given)
    context = given["context"] or DEFAULT_CONTEXT
    answer = max(1.0, context // ANSWER_SHARE)
    workload = Workload(input_tokens=max(1.0, context - answer), answer_tokens=answer, users=given["users"] or 1)
    formats = given["weight_format"] or questions.FORMATS_TRIED
    found = sorted(questions.fit(machine, workload, given["models"], formats), key=_order)
    if given["as_json"]:
        print_json("fit", {"machine": machine, "context_tokens": context, "models": [_object(each) for each in found]})
    else:
        _show(machine, context, found, given["top"] or 25)
    if not any(each.plan for each in found):
        ctx.exit(NOT_FEASIBLE)


def _order(each: Fit) -> tuple[bool, int, str]:
    return each.plan is None, -each.model.parameters, each.model.name


def _machine(given: dict[str, Any]) -> str:
    from sizewell.catalog.hardware import read_gpu
    from sizewell.cli.machine_text import parse_machine

    count, name = parse_machine(given["machine"])
    if count is not None and given["count"] is not None and count != given["count"]:
        raise BadInputError(f"--on {given['machine']} and --count {given['count']} contradict each other: give one")
    return f"{count or given['count'] or 1}x{read_gpu(name).key}"


def _object(each: Fit) -> dict[str, object]:
    from sizewell.cli.plan_document import plan_object

    return {
        "model": each.model.name,
        "parameters": each.model.parameters,
        "plan": plan_object(each.plan) if each.plan else None,
        "longest_context_tokens": each.longest_context_tokens,
        "users": each.users,
        "rejections": each.rejections,
    }


def _show(machine: str, context: float, found: Sequence[Fit], top: int) -> None:
    rows = [_row(each, each.plan) for each in found if each.plan]
    heads = ("model", ">10⁹", "weights", "engine", "cut", ">longest context", ">users", ">tok/s", ">keeps")
    title = f"{len(rows)} of {len(found)} models run on {machine} with {context:,.0f} tokens of context"
    show(table(title, heads, rows[:top]))
    if len(rows) > top:
        show(f"{len(rows) - top} smaller ones are not shown: --top {len(rows)}")
    misfits = [each for each in found if each.plan is None][-NEAREST:]
    if misfits:
        show("The smallest that do not run:")
        show(*(f"- {each.model.name}: {each.rejections[-1].reason}" for each in misfits if each.rejections))


def _row(each: Fit, plan: Plan) -> tuple[str, ...]:
    kept = "?" if plan.recovery_fraction is None else f"{plan.recovery_fraction:.1%}"
    return (
        each.model.name.rpartition("/")[2],
        f"{each.model.parameters / 1e9:,.1f}",
        plan.deployment.weight_format,
        plan.deployment.engine.name,
        str(plan.deployment.pools[0].parallelism),
        f"{each.longest_context_tokens:,}",
        f"{each.users:,.0f}",
        f"{plan.service.tokens_per_s_per_user:,.0f}",
        kept,
    )
