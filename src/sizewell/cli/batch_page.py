"""What `sizewell batch` says at its end, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sizewell.cli.documents import Object
from sizewell.cli.output import amount, duration, printable

if TYPE_CHECKING:
    from sizewell.driver.batch_job import BatchJob, Outcome

HOUR_S, MILLION = 3600.0, 1e6
MOST_ERROR_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Prices as given; None where none was."""

    usd_per_hour: float | None
    usd_per_mtok: float | None
    usd_per_mtok_input: float | None

    def usd(self, found: Outcome) -> float | None:
        """Return what this run cost: by the hour of its own time, or by the tokens it was answered."""
        sent = found.progress.sent_usage
        parts = (
            (self.usd_per_hour, found.elapsed_s / HOUR_S),
            (self.usd_per_mtok, sent.output_tokens / MILLION),
            (self.usd_per_mtok_input, sent.input_tokens / MILLION),
        )
        known = [price * amount for price, amount in parts if price is not None]
        return sum(known) if known else None


def lines(job: BatchJob, found: Outcome, bill: Bill) -> Iterator[str]:
    """Yield the outcome in lines."""
    done = found.progress
    yield (
        f"{done.resumed + done.answered:,} of {done.total:,} prompts answered: {done.answered:,} now in "
        f"{duration(found.elapsed_s)}, {done.resumed:,} before; {done.failed:,} failed, {done.left:,} left"
    )
    used, sent = found.usage, done.sent_usage
    speed = f", {amount(sent.output_tokens / found.elapsed_s)} output tokens/s now" if sent.output_tokens else ""
    think = f" (of them {used.think_tokens:,} thought)" if used.think_tokens else ""
    yield f"tokens of all answers: {used.input_tokens:,} in, {used.output_tokens:,} out{think}{speed}"
    if done.answered:
        yield f"with reasoning: {done.with_reasoning:,} of {done.answered:,} answers now"
    usd = bill.usd(found)
    if usd is not None:
        per = f", {usd / sent.output_tokens * MILLION:,.2f} USD per million output tokens" if sent.output_tokens else ""
        yield f"cost of this run: {usd:,.2f} USD{per}"
    if done.codes:
        yield "attempts that failed: " + ", ".join(f"{count:,} {code}" for code, count in done.codes.most_common())
    if done.first_error:
        yield f"the first error: {_why(job, done.first_error)}"
    if "http_404" in done.codes and job.model is None and any("model" in row.body for row in job.rows):
        yield "--model NAME asks for another model than rows say"
    yield f"answers in {job.answers}" + (f", errors in {job.errors}" if done.failed else "")


def _why(job: BatchJob, error: str) -> str:
    """Return what a server said, in one line of this terminal, without the key it may repeat."""
    said = printable(job.secret.hide(error), " ")
    return " ".join(said.split())[:MOST_ERROR_CHARACTERS]


def warnings(found: Outcome) -> Iterator[str]:
    """Yield what a reader of the answers must know."""
    done = found.progress
    if found.lost_server:
        yield f"no server answers any more ({found.lost_server}); the same command goes on where this one stopped"
    if found.repeated:
        yield f"{found.repeated:,} rows repeat the id and request of another and were asked once"
    if done.with_reasoning and done.without_reasoning:
        yield f"{done.without_reasoning:,} of {done.answered:,} answers came without reasoning, the others with"
    if done.lost_reasoning:
        yield (
            f"{done.lost_reasoning:,} answers counted reasoning tokens but carried no reasoning text: "
            "the server keeps it or names the field in a way nobody reads"
        )
    if done.unclosed:
        yield f"{done.unclosed:,} answers are empty: they ended while thinking; raise --max-tokens"
    if done.truncated:
        yield f"{done.truncated:,} answers were cut at their token limit"


def batch_object(job: BatchJob, found: Outcome, bill: Bill) -> Object:
    """Return the outcome as a JSON object."""
    done = found.progress
    return {
        "model": found.model,
        "urls": job.urls,
        "window": found.window,
        "shard": job.shard,
        "prompts": done.total,
        "repeated": found.repeated,
        "answered_before": done.resumed,
        "answered": done.answered,
        "failed": done.failed,
        "left": done.left,
        "retried": done.retried,
        "failures": dict(done.codes),
        "first_error": _why(job, done.first_error),
        "truncated": done.truncated,
        "with_reasoning": done.with_reasoning,
        "without_reasoning": done.without_reasoning,
        "lost_reasoning": done.lost_reasoning,
        "unclosed_reasoning": done.unclosed,
        "usage": found.usage,
        "usage_now": done.sent_usage,
        "elapsed_s": found.elapsed_s,
        "usd": bill.usd(found),
        "stopped": found.stopped,
        "lost_server": found.lost_server,
        "answers_file": str(job.answers),
        "errors_file": str(job.errors),
        "warnings": list(warnings(found)),
    }
