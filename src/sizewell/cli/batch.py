"""`sizewell batch`: a file of prompts answered by live servers, resumable at any moment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import OnceCommand, as_json, quantity, stack
from sizewell.cli.output import talk
from sizewell.cli.quantities import COUNT, DURATION, USD
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.cli.options import Decorator
    from sizewell.driver.batch_job import BatchJob, Outcome
    from sizewell.driver.prompts import Shard

INTERRUPTED, FAILED, UNREACHABLE = 130, 1, 5
DEFAULT_TIMEOUT_S, DEFAULT_RETRIES = 3600.0, 5
SAY_TERMINAL_S, SAY_LOG_S = 2.0, 30.0
DIALECTS = ("openai", "tagged", "csv", "lines")


def _server_flags() -> Decorator:
    return stack(
        click.option("--url", "urls", multiple=True, required=True, metavar="URL", help="A server; repeat for more."),
        click.option("--model", metavar="NAME", help="Model to ask for, whatever rows say [theirs, or the first]."),
        click.option("--api-key-env", metavar="NAME", help="Variable with the key [SIZEWELL_API_KEY, the engine's]."),
        quantity("--window", COUNT, "Prompts in flight [the plan's max_num_seqs, the server's own, or 256 each]."),
        click.option("--plan", "plan_file", metavar="FILE|N", help="A plan's JSON: its max_num_seqs is the window."),
        quantity("--timeout", DURATION, "Longest wait for one whole answer [1h]."),
        click.option("--retries", type=click.IntRange(0, 100), default=DEFAULT_RETRIES, help="Further tries [5]."),
        click.option("--stream", is_flag=True, help="Ask for streams, which proxies cut less often."),
        click.option("--ray", metavar="ADDRESS", help="Send from a Ray cluster: auto, or host:port of its head."),
    )  # fmt: skip


def _content_flags() -> Decorator:
    return stack(
        click.option("--dialect", type=click.Choice(DIALECTS), help="What PROMPTS is [told by what it holds]."),
        quantity("--max-tokens", COUNT, "Most tokens of an answer [the server's own]."),
        click.option("--temperature", type=click.FloatRange(0, 2), help="Sampling temperature [the server's own]."),
        click.option("--field", "fields", multiple=True, metavar="NAME=JSON", help="Any other field of a request."),
        click.option("--shard", metavar="I/N", help="Only part I (from 0) of N, for job arrays."),
    )


def _result_flags() -> Decorator:
    return stack(
        click.option("-o", "--output", metavar="FILE", help="Answers, appended [PROMPTS.answers.jsonl here]."),
        click.option("--errors", metavar="FILE", help="Final errors of this run [PROMPTS.errors.jsonl here]."),
        click.option("--ordered", metavar="FILE", help="At the end, the answers in the order of the input."),
        quantity("--usd-per-hour", USD, "Cost of the servers an hour."),
        quantity("--usd-per-mtok", USD, "Price of a million output tokens."),
        quantity("--usd-per-mtok-input", USD, "Price of a million input tokens [0]."),
    )


@click.command("batch", cls=OnceCommand)
@click.argument("prompts")
@_server_flags()
@_content_flags()
@_result_flags()
@as_json()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Send the PROMPTS of a file, or of standard input (-), to servers, and keep each answer as it comes.

    A window of prompts is kept in flight. The same command again asks only what has no answer yet, whatever ended the
    last one: an answer belongs to a prompt's content, model and sampling, not to its line. Errors are asked again. API
    keys come from the environment. Exit code 1 when prompts failed for good, 5 when no server answers, 130 after
    Ctrl-C (the first waits for what is in flight). docs/drive.md has the formats.
    """
    job = _job(given)
    _check_places(given, job)
    found = _run(job, given["ray"])
    if given["ordered"] is not None:
        _write_ordered(Path(given["ordered"]), job, found)
    _answer(given, job, found)
    for stopped, code in (
        (found.stopped, INTERRUPTED),
        (found.lost_server, UNREACHABLE),
        (found.progress.failed, FAILED),
    ):
        if stopped:
            ctx.exit(code)


def _run(job: BatchJob, ray_address: str | None) -> Outcome:
    from sizewell.driver.batch_job import run_batch

    def say(line: str) -> None:
        talk(job.secret.hide(line))

    if ray_address is None:
        return run_batch(job, say)
    from sizewell.cli.ray_cluster import connected
    from sizewell.driver.batch_ray import run_on_ray

    with connected(ray_address) as ray:
        return run_on_ray(job, ray, say)


def _job(given: dict[str, Any]) -> BatchJob:
    from sizewell.cli.plan_file import planned_window
    from sizewell.cli.request_fields import fields_of
    from sizewell.driver.batch import Sending
    from sizewell.driver.batch_job import BatchJob
    from sizewell.driver.client import load_aiohttp
    from sizewell.driver.failures import Backoff
    from sizewell.driver.prompt_files import read_rows, stem_of
    from sizewell.specs.address import base_url, secret_from

    load_aiohttp()
    shard = _shard(given["shard"])
    source = Path(given["prompts"])
    part = f".{shard.index}-of-{shard.count}" if shard.count > 1 else ""
    stem = stem_of(source) + part
    window = given["window"] or (planned_window(Path(given["plan_file"])) if given["plan_file"] else None)
    return BatchJob(
        urls=tuple(dict.fromkeys(base_url(url) for url in given["urls"])),
        secret=secret_from(os.environ, given["api_key_env"]),
        rows=read_rows(source, given["dialect"]),
        answers=Path(given["output"] or f"{stem}.answers.jsonl"),
        errors=Path(given["errors"] or f"{stem}.errors.jsonl"),
        model=given["model"],
        fields=fields_of(given["fields"], max_tokens=given["max_tokens"], temperature=given["temperature"]),
        window=window,
        sending=Sending(window=1, stream=given["stream"], backoff=Backoff(retries=given["retries"])),
        timeout_s=given["timeout"] or DEFAULT_TIMEOUT_S,
        shard=shard,
        say_every_s=SAY_TERMINAL_S if sys.stderr.isatty() else SAY_LOG_S,
    )


def _shard(text: str | None) -> Shard:
    from sizewell.driver.prompts import Shard

    if text is None:
        return Shard()
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 0 <= int(index) < int(count)):
        raise BadInputError(f"--shard {text[:40]!r}: write I/N with I from 0 to N - 1, e.g. 0/4")
    return Shard(index=int(index), count=int(count))


def _check_places(given: dict[str, Any], job: BatchJob) -> None:
    from sizewell.catalog.whole_files import check_writable

    places = [Path(given["prompts"]), job.answers, job.errors, *([Path(given["ordered"])] if given["ordered"] else [])]
    if len({place.resolve() for place in places}) < len(places):
        raise BadInputError("prompts, answers, errors and --ordered are four files: give each a name of its own")
    for place in places[1:]:
        check_writable(place)


def _write_ordered(path: Path, job: BatchJob, found: Outcome) -> None:
    from sizewell.catalog.whole_files import whole_file
    from sizewell.driver.answers import ordered_lines

    with whole_file(path, binary=True) as file:
        file.writelines(ordered_lines(job.answers, found.keys))
    talk(f"wrote {path}")


def _answer(given: dict[str, Any], job: BatchJob, found: Outcome) -> None:
    from sizewell.cli import batch_page
    from sizewell.cli.output import print_json, show

    bill = batch_page.Bill(
        usd_per_hour=given["usd_per_hour"],
        usd_per_mtok=given["usd_per_mtok"],
        usd_per_mtok_input=given["usd_per_mtok_input"],
    )
    if given["as_json"]:
        print_json("batch", batch_page.batch_object(job, found, bill))
    else:
        show(*batch_page.lines(job, found, bill))
    for warning in batch_page.warnings(found):
        talk(f"warning: {warning}")
