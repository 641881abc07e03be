"""`sizewell explain`: one deployment, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import (
    OnceCommand,
    as_json,
    assume,
    format_flags,
    quantity,
    settings_flags,
    slo_flags,
    slo_of,
    workload_flags,
    workload_of,
)
from sizewell.cli.quantities import COUNT

if TYPE_CHECKING:
    from sizewell.cli.questions import Explanation
    from sizewell.planner.stated import Stated

NOT_FEASIBLE = 3
LIMIT_MISSED = 4


@click.command("explain", cls=OnceCommand)
@click.argument("model")
@assume()
@click.option(
    "--on", "machine", required=True, metavar="8xGPU", help="Accelerators (8xh200) or full nodes (hgx-h100-8)."
)
@quantity("--nodes", COUNT, "Nodes of that kind [as few as hold them].")
@click.option("--node", metavar="KEY", help="Kind of node, e.g. aws-p5-48xlarge [the usual one].")
@quantity("--replicas", COUNT, "Copies of the cut [as many as the accelerators hold].")
@quantity("--tp", COUNT, "Tensor parallel size [all accelerators of a node the heads divide over].")
@quantity("--pp", COUNT, "Pipeline stages [one per node].")
@quantity("--dp", COUNT, "Data parallel (attention) size [1].")
@quantity("--ep", COUNT, "Expert parallel size, TP × DP [1].")
@format_flags(multiple=False)
@settings_flags()
@workload_flags()
@slo_flags()
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Explain MODEL on stated hardware: every line of its memory with the formula, and what the nodes need.

    MODEL is a shipped name, a Hugging Face id, a folder or a config.json. Exit code 3 when it does not fit, 4 when it
    misses a limit on speed or cannot keep up with --rate.
    """
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions
    from sizewell.planner.step_account import missed
    from sizewell.specs.deployment import Formats

    workload = workload_of(ctx, given)
    answer = questions.explain(
        read_model(given["model"], assume=given["assume"]),
        questions.machine(given["machine"], given["nodes"], given["node"], given["replicas"] or 1),
        workload,
        questions.Setup(
            engine=given["engine"] or "auto",
            formats=Formats(weight=given["weight_format"] or "native", kv=given["kv_format"] or "auto"),
            stated=_stated(given),
        ),
    )
    misses = missed(slo_of(given), workload, answer.served) if answer.served else ()
    contexts = _contexts(answer, workload.context_tokens)
    if given["as_json"]:
        from sizewell.cli.documents import explanation_object
        from sizewell.cli.output import print_json

        print_json("explain", {**explanation_object(answer, contexts), "missed": misses})
    else:
        from sizewell.cli.explain_page import show_explanation

        show_explanation(answer, contexts, misses)
    if not answer.memory.fits:
        ctx.exit(NOT_FEASIBLE)
    if misses:
        ctx.exit(LIMIT_MISSED)


def _stated(given: dict[str, Any]) -> Stated:
    from sizewell.planner.stated import Stated

    return Stated(
        tp=given["tp"],
        pp=given["pp"],
        dp=given["dp"],
        ep=given["ep"],
        replicas=given["replicas"],
        max_num_seqs=given["max_num_seqs"],
        max_num_batched_tokens=given["max_num_batched_tokens"],
        max_model_len_tokens=given["max_model_len"],
        memory_fraction=given["memory_fraction"],
        enforce_eager=given["enforce_eager"],
        offload_bytes=given["offload_bytes"] or 0.0,
        speculative_tokens=given["speculative_tokens"] or 0,
    )


def _contexts(answer: Explanation, asked_tokens: float) -> tuple[int, ...]:
    longest = answer.deployment.pools[0].settings.max_model_len_tokens
    return tuple(sorted({min(int(asked_tokens), longest), longest}))
