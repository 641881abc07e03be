"""`sizewell plan`: from users and limits to hardware."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import (
    OnceCommand,
    as_json,
    assume,
    distribution_flags,
    format_flags,
    limit_flags,
    quantity,
    slo_flags,
    slo_of,
    workload_flags,
    workload_of,
)
from sizewell.cli.output import detail
from sizewell.cli.quantities import COUNT
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sizewell.planner.plan import Answer, Plan
    from sizewell.planner.question import Limits, Question
    from sizewell.specs.model import ModelSpec

NOT_FEASIBLE = 3
OBJECTIVES = ("cheapest", "cheapest-per-token", "fastest", "fewest-gpus", "greenest")
PRICES = ("on-demand", "spot", "reserved-1y", "reserved-3y", "purchase")


@click.command("plan", cls=OnceCommand)
@click.argument("model")
@assume()
@workload_flags()
@slo_flags()
@distribution_flags()
@limit_flags()
@format_flags(multiple=True)
@click.option("--no-quantization", is_flag=True, help="Serve the checkpoint as it is stored.")
@click.option("--quantize", is_flag=True, help="Try every format with published results; --min-recovery does too.")
@click.option("--objective", type=click.Choice(OBJECTIVES), default="cheapest", show_default=True, help="What is best.")
@click.option("--prices", type=click.Choice(PRICES), default="on-demand", show_default=True, help="What is paid.")
@click.option("--offload", is_flag=True, help="Allow weights in host memory.")
@click.option("--split", is_flag=True, help="Search prefill and decode pools, too.")
@click.option("--kv-network", metavar="KEY", help="What carries caches between them [what joins their accelerators].")
@quantity("--top", COUNT, "Plans to show, one per accelerator [5].")
@click.option("--keep", metavar="NAME", help="Keep the answer under a name, for --plan and `sizewell runs`.")
@click.option("--explain", is_flag=True, help="Explain the best plan line by line, and every rejection.")
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Plan how to serve MODEL: the hardware, cut, formats and settings that keep your limits, best first.

    MODEL is a shipped name, a Hugging Face id, a folder or a config.json. Exit code 3 when nothing holds; the reasons
    are printed all the same.
    """
    from sizewell.cli import questions

    question = _question(ctx, given)
    detail(f"{question.model.name}: {', '.join(question.weight_formats)}; limits {question.limits}")
    began = perf_counter()
    answer = questions.plan(question, engine=given["engine"] or "auto", top=given["top"] or 5)
    detail(f"{answer.candidates:,} candidates in {perf_counter() - began:.2f} s")
    _keep(answer, given)
    if given["as_json"]:
        from sizewell.cli.output import print_json

        print_json("plan", _document(answer))
    else:
        from sizewell.cli.plan_page import show_answer

        show_answer(answer, everything=given["explain"], restated=_restated(answer, answer.plans, given))
        _show_split(answer, given)
        _explain_best(answer, given)
    if not _best(answer):
        ctx.exit(NOT_FEASIBLE)


def _document(answer: Answer) -> dict[str, object]:
    from sizewell.cli.plan_document import answer_object
    from sizewell.cli.split_page import split_object

    return {**answer_object(answer), **split_object(answer.split)}


def _best(answer: Answer) -> Plan | None:
    """Return the best plan, of two pools where that helps; None where nothing holds."""
    split = answer.split
    best = split.plans if split and split.helps else answer.plans
    return best[0] if best else None


def _show_split(answer: Answer, given: dict[str, Any]) -> None:
    if answer.split is None:
        return
    from sizewell.cli.output import show
    from sizewell.cli.plan_page import show_restated
    from sizewell.cli.split_page import split_parts

    show("", *split_parts(answer.split))
    if answer.split.helps:
        show_restated("The best split line by line:", _restated(answer, answer.split.plans, given))


def _keep(answer: Answer, given: dict[str, Any]) -> None:
    if given["keep"] is not None and _best(answer):
        from sizewell.cli.keeping import keep_plan

        keep_plan("plan", _document(answer), given["keep"], given["model"])


def _restated(answer: Answer, plans: Sequence[Plan], given: dict[str, Any]) -> str:
    from sizewell.cli.restated import explain_command

    if not plans:
        return ""
    return explain_command(plans[0].deployment, answer.question, given["model"], given["assume"])


def _question(ctx: click.Context, given: dict[str, Any]) -> Question:
    from sizewell.catalog.hardware import read_link
    from sizewell.catalog.models import read_model
    from sizewell.planner.question import Question
    from sizewell.specs.kv_format import parse_kv_format
    from sizewell.specs.weight_format import parse_weight_format

    for flag in ("weight_format", "quantize"):
        if given["no_quantization"] and given[flag]:
            spoken = flag.replace("_", "-")
            raise BadInputError(f"--no-quantization and --{spoken} contradict each other: give one of the two")
    workload, limits = workload_of(ctx, given), _limits(given)
    stated = tuple(parse_weight_format(name) for name in given["weight_format"])
    kv_formats = tuple(parse_kv_format(name) for name in given["kv_format"])
    model = read_model(given["model"], assume=given["assume"])
    return Question(
        model=model,
        workload=workload,
        limits=limits,
        objective=given["objective"],
        weight_formats=stated or _weight_formats(model, given),
        kv_formats=kv_formats or ("auto",),
        price_basis=given["prices"],
        offload=given["offload"],
        split=given["split"],
        kv_network=read_link(given["kv_network"]) if given["kv_network"] else None,
    )


def _weight_formats(model: ModelSpec, given: dict[str, Any]) -> tuple[str, ...]:
    from sizewell.planner.weight_choice import published_weight_formats, usual_weight_formats

    if given["no_quantization"]:
        return ("native",)
    asked = given["quantize"] or given["min_recovery"] is not None
    return published_weight_formats(model) if asked else usual_weight_formats(model)


def _limits(given: dict[str, Any]) -> Limits:
    from sizewell.catalog.hardware import read_gpu, read_node
    from sizewell.planner.question import Limits
    from sizewell.planner.weight_choice import USUAL_RECOVERY_FRACTION

    named = given["min_recovery"] is not None or bool(given["weight_format"])
    return Limits(
        slo=slo_of(given),
        tokens_per_s_per_user=given["tokens_per_s_per_user"],
        usd_per_hour=given["max_usd_per_hour"],
        usd_per_million_tokens=given["max_usd_per_mtok"],
        purchase_usd=given["max_usd_to_buy"],
        power_w=None if given["max_power_kw"] is None else given["max_power_kw"] * 1e3,
        gpu_keys=tuple(read_gpu(name).key for name in given["gpu"]),
        node_keys=tuple(read_node(name).key for name in given["node"]),
        max_gpus=given["max_gpus"],
        max_nodes=given["max_nodes"] or 8,
        min_recovery_fraction=(given["min_recovery"] or None) if named else USUAL_RECOVERY_FRACTION,
    )


def _explain_best(answer: Answer, given: dict[str, Any]) -> None:
    plan = _best(answer)
    if plan is None or not given["explain"]:
        return
    from sizewell.cli import questions
    from sizewell.cli.explain_advice import advised
    from sizewell.cli.explain_page import show_explanation

    best = plan.deployment
    length = best.pools[0].settings.max_model_len_tokens
    explained = questions.explain_deployment(best, answer.question.workload)
    contexts = (int(answer.question.workload.context_tokens), length)
    show_explanation(explained, contexts, (), advised(explained.planned, changes=False))
