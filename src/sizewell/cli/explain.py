"""`sizewell explain`: one deployment, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import (
    OnceCommand,
    as_json,
    assume,
    deployment_flags,
    format_flags,
    settings_flags,
    setup_of,
    slo_flags,
    slo_of,
    workload_flags,
    workload_of,
)
from sizewell.cli.plan_source import named_model, source_flags
from sizewell.cli.pool_flags import pool_flags

if TYPE_CHECKING:
    from sizewell.cli.questions import Explanation

NOT_FEASIBLE = 3
LIMIT_MISSED = 4


@click.command("explain", cls=OnceCommand)
@source_flags("MODEL", needed=True)
@assume()
@deployment_flags()
@format_flags(multiple=False)
@pool_flags()
@settings_flags()
@workload_flags()
@slo_flags()
@click.option("--advise", is_flag=True, help="Propose changes, each with its predicted gain.")
@click.option("--keep", metavar="NAME", help="Keep the answer under a name, for --plan and `sizewell runs`.")
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Explain MODEL on stated hardware: every line of its memory with the formula, what binds it, what the nodes need.

    MODEL is a shipped name, a Hugging Face id, a folder or a config.json; or it, its load and its limits come from a
    plan (--plan, --from). Exit code 3 when it does not fit, 4 when it
    misses a limit on speed or cannot keep up with --rate.
    """
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions
    from sizewell.cli.explain_advice import advice_object, advised
    from sizewell.planner.step_account import missed

    workload = workload_of(ctx, given)
    answer = questions.explain(
        read_model(named_model(given), assume=given["assume"]),
        questions.machine(given["machine"], given["nodes"], given["node"], given["replicas"] or 1),
        workload,
        setup_of(given),
        slo_of(given),
    )
    misses = missed(slo_of(given), workload, answer.served) if answer.served else ()
    contexts = _contexts(answer, workload.context_tokens)
    advice = advised(answer.planned, changes=given["advise"])
    if given["keep"] is not None:
        from sizewell.cli.keeping import keep_plan

        keep_plan("explain", _document(answer, contexts, misses), given["keep"], given["model"])
    if given["as_json"]:
        from sizewell.cli.output import print_json

        print_json("explain", {**_document(answer, contexts, misses), **advice_object(advice)})
    else:
        from sizewell.cli.explain_page import show_explanation

        show_explanation(answer, contexts, misses, advice)
    if not answer.memory.fits:
        ctx.exit(NOT_FEASIBLE)
    if misses:
        ctx.exit(LIMIT_MISSED)


def _document(answer: Explanation, contexts: tuple[int, ...], misses: tuple[str, ...]) -> dict[str, object]:
    from sizewell.cli.documents import explanation_object
    from sizewell.cli.rehearsal_text import rehearsal_object

    told = {**explanation_object(answer, contexts), "rehearsal": rehearsal_object(answer.rehearsal)}
    return {**told, "missed": misses}


def _contexts(answer: Explanation, asked_tokens: float) -> tuple[int, ...]:
    longest = answer.deployment.pools[0].settings.max_model_len_tokens
    return tuple(sorted({min(int(asked_tokens), longest), longest}))
