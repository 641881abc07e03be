"""`sizewell bench`: a live server measured under a stated load, beside what is predicted for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import (
    PLANNED_LOAD,
    OnceCommand,
    as_json,
    one_deployment_flags,
    quantity,
    slo_flags,
    slo_of,
    stack,
    statistic_flag,
    workload_flags,
)
from sizewell.cli.plan_file import plan_flag
from sizewell.cli.quantities import COUNT, DURATION
from sizewell.cli.traffic_flags import traffic_flags
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.cli.options import Decorator
    from sizewell.driver.bench import BenchJob

GATE_MISSED = 4
FAILED = 1
DEFAULT_TIMEOUT_S, DEFAULT_VOCABULARY = 3600.0, 32_000
APIS = ("completions", "chat")
LOADS = ("concurrency", "rates", "saturate", "users", "rate", "trace")
"""Flags of which each says what is offered."""


def _server_flags() -> Decorator:
    return stack(
        click.option("--url", "urls", multiple=True, metavar="URL", help="The server; several are measured as one."),
        click.option("--import", "imported", metavar="FILE", help="Score another tool's results instead."),
        click.option("--model", "served", metavar="NAME", help="Model to ask for [the first the server lists]."),
        click.option("--api-key-env", metavar="NAME", help="Variable with the key [SIZEWELL_API_KEY, the engine's]."),
        click.option("--api", type=click.Choice(APIS), default=APIS[0], help="Text [whose prompts are exact] or chat."),
        quantity("--vocabulary", COUNT, "Prompts are token ids below this [32000, or fewer as MODEL has]."),
        click.option("--stop-at-eos", is_flag=True, help="Let answers end by themselves, whatever length was asked."),
        click.option("--field", "fields", multiple=True, metavar="NAME=JSON", help="Any other field of a request."),
        quantity("--timeout", DURATION, "Longest wait for one whole answer [1h]."),
    )  # fmt: skip


def _load_flags() -> Decorator:
    return stack(
        click.option("--concurrency", metavar="N,N", help="Closed loops, one after another: requests in flight."),
        click.option("--rates", metavar="R,R", help="Open loops, one after another: requests per second."),
        click.option("--saturate", is_flag=True, help="Search the concurrency: the most within limits, else the knee."),
        click.option("--warmup", type=click.IntRange(0, 100_000), help="Requests before each load [one round]."),
        click.option("--salt", type=click.IntRange(0), help="Send the prompts of an earlier run again [new ones]."),
    )


def _result_flags() -> Decorator:
    return stack(
        plan_flag(),
        click.option("--keep", metavar="NAME", help="Keep what was measured and predicted, for `sizewell runs`."),
        click.option("--rows", metavar="OUT", help="Write a row for each request: .csv, or .parquet with pyarrow."),
        click.option("--record", metavar="OUT", help="Write every token's time: JSON lines."),
        click.option("--report", metavar="OUT", help="Write an llm-d Benchmark Report v0.2.1: JSON."),
        click.option("--plots", metavar="OUT", help="Draw throughput and latencies: .html or .svg."),
        click.option("--strict", is_flag=True, help="End with code 4 when a gate or a limit is missed."),
    )


@click.command("bench", cls=OnceCommand)
@click.argument("model", required=False)
@_server_flags()
@_load_flags()
@workload_flags()
@traffic_flags()
@slo_flags()
@statistic_flag()
@one_deployment_flags(required=False)
@_result_flags()
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Offer a load to a live server, record when each token comes, and score it as a simulation would be.

    MODEL --on 8xh200, or --plan, adds what sizewell predicts for the same requests; a plan also says the load and the
    limits, as far as no flag does. Latencies count from when a request was due, not from when it was sent. Gates say
    whether the numbers mean anything. Keys come from the environment. Exit code 1 when no request was served, 5 when
    the server does not answer.
    """
    from sizewell.cli import bench_files, bench_page, bench_runs
    from sizewell.cli.keeping import keep_bench

    given = _without_plans_load(ctx, given)
    _check(given)
    bench_files.check(given)
    slo = slo_of(given)
    if given["imported"] is not None:
        answer = bench_runs.imported(given, slo)
    else:
        answer = bench_runs.bench(ctx, given, _job(given), slo)
    bench_files.write(given, answer)
    keep_bench(given, answer)
    bench_page.say(answer, as_json=given["as_json"])
    if not any(point.score.ok for point in answer.points):
        ctx.exit(FAILED)
    if given["strict"] and bench_page.missed(answer):
        ctx.exit(GATE_MISSED)


def _without_plans_load(ctx: click.Context, given: dict[str, Any]) -> dict[str, Any]:
    """Return the flags without how much a plan is for, where they say it; its growth is part of what it must hold."""
    spoken = click.core.ParameterSource.COMMANDLINE
    planned = {name for name in ctx.meta.get(PLANNED_LOAD, ()) if ctx.get_parameter_source(name) != spoken}
    much = planned & {"users", "rate", "growth"}
    if any(given[flag] not in (None, False) for flag in LOADS if flag not in much):
        return given | dict.fromkeys(much)
    if "growth" not in much:
        return given
    grown = {name: given[name] * given["growth"] for name in much - {"growth"}}
    return given | grown | {"growth": None}


def _check(given: dict[str, Any]) -> None:
    """Refuse flags that say the same thing twice, or half of one."""
    if bool(given["urls"]) == (given["imported"] is not None):
        raise BadInputError("say what to measure: --url http://HOST:PORT, or --import a file of results")
    loads = [flag for flag in LOADS if given[flag.replace("-", "_")] not in (None, False)]
    if len(loads) > 1:
        raise BadInputError(f"--{loads[0]} and --{loads[1]} both say what is offered: give one of the two")
    if (given["model"] is None) != (given["machine"] is None):
        raise BadInputError("predicting needs both a model and its hardware: MODEL --on 8xh200, or --plan")


def _vocabulary(given: dict[str, Any]) -> int:
    """Return below what every server takes token ids; the model's own number where it is named and smaller."""
    from sizewell.catalog.models import read_model

    if given["model"] is None:
        return DEFAULT_VOCABULARY
    return min(DEFAULT_VOCABULARY, read_model(given["model"], assume=given["assume"]).vocabulary)


def _job(given: dict[str, Any]) -> BenchJob:
    from sizewell.catalog.engine_metrics import ENGINES, read_engine_metrics
    from sizewell.cli.request_fields import fields_of
    from sizewell.driver.bench import BenchJob
    from sizewell.driver.client import load_aiohttp
    from sizewell.specs.address import base_url, secret_from

    load_aiohttp()
    return BenchJob(
        urls=tuple(dict.fromkeys(base_url(url) for url in given["urls"])),
        secret=secret_from(os.environ, given["api_key_env"]),
        salt=int.from_bytes(os.urandom(6)) if given["salt"] is None else given["salt"],
        model=given["served"],
        api=given["api"],
        vocabulary=given["vocabulary"] or _vocabulary(given),
        ignore_eos=not given["stop_at_eos"],
        fields=fields_of(given["fields"]),
        warmup=given["warmup"],
        timeout_s=given["timeout"] or DEFAULT_TIMEOUT_S,
        metrics=tuple(metric for engine in ENGINES for metric in read_engine_metrics(engine)),
    )
