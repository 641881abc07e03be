"""What `sizewell diagnose` says: the label with its evidence, the step, the changes; and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sizewell.cli.documents import Object, deployment_object
from sizewell.cli.explain_page import deployment_line, model_line, settings_line
from sizewell.cli.output import amount, duration, table

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.advisor.advice import Change, Tried
    from sizewell.advisor.case import Finding
    from sizewell.advisor.diagnosis import Diagnosis
    from sizewell.advisor.observation import Observation
    from sizewell.specs.deployment import Deployment

HEADS = ("change", ">gain", ">per token", ">at once", ">after the first", "why")


def page(found: Diagnosis, deployment: Deployment | None, command: str) -> Iterator[str | Table]:
    """Yield the parts of a diagnosis."""
    from sizewell.advisor.diagnosis import NOT_THE_SERVER

    if deployment is not None:
        yield from (model_line(deployment.model), deployment_line(deployment), settings_line(deployment), "")
    yield f"BOTTLENECK: {found.label}"
    yield from _evidence(found.findings[0])
    for finding in found.findings[1:]:
        yield f"also {finding.label}"
        yield from _evidence(finding)
    yield ""
    yield from _seen(found.seen)
    yield from _step(found)
    if found.pace is not None and found.label not in NOT_THE_SERVER:
        yield from advice_lines(found.changes, found.tried, command)
    if found.missing:
        yield f"not told: {', '.join(found.missing)}"


def _evidence(finding: Finding) -> Iterator[str]:
    yield from (f"  {line}" for line in finding.evidence)


def _seen(seen: Observation) -> Iterator[str]:
    counts = ((seen.running, "running"), (seen.waiting, "waiting"))
    there = [f"{value:,.1f} {word}" for value, word in counts if value is not None]
    rates = ((seen.generated_tokens_per_s, "tokens/s out"), (seen.prompt_tokens_per_s, "in"))
    there += [f"{amount(value)} {word}" for value, word in rates if value is not None]
    there += [f"KV cache {seen.kv_used_fraction:.0%} full"] if seen.kv_used_fraction is not None else []
    there += [f"{seen.cached_fraction:.0%} of prompts found in the cache"] if seen.cached_fraction is not None else []
    times = ((seen.ttft_s, "to the first token"), (seen.itl_s, "between tokens"), (seen.queue_s, "in the queue"))
    there += [f"{duration(value)} {word}" for value, word in times if value is not None]
    over = f" over {duration(seen.window_s)}" if seen.window_s else ""
    yield f"seen{over}: {', '.join(there) or 'nothing'}"
    if seen.restarts:
        yield f"the server was restarted {seen.restarts} time(s) meanwhile: what it counted before is lost"


def _step(found: Diagnosis) -> Iterator[str]:
    if found.pace is None:
        return
    predicted, measured = found.pace.token_s, found.measured_token_s
    said = f"predicted {duration(predicted)} between tokens, floor {duration(found.pace.floor_s)}"
    if measured:
        said = f"measured {duration(measured)} between tokens, {said} (measured / predicted {measured / predicted:.2f})"
    yield said
    if found.beats_the_floor:
        yield "NO SUCH MACHINE: it is faster than its hardware can be; is it what was said, and its clock ours?"
    if found.mfu is not None and found.mbu is not None and not found.beats_the_floor:
        yield f"roofline: MFU {found.mfu:.1%}, MBU {found.mbu:.0%}"


def advice_lines(
    changes: tuple[Change, ...], tried: tuple[Tried, ...] = (), command: str = ""
) -> Iterator[str | Table]:
    """Yield the change to make first, the ones behind it, and the command that starts the first."""
    if changes:
        first = changes[0]
        yield ""
        yield f"CHANGE FIRST: {first.name}: {_gain(first.gain_fraction)} tokens/s ({first.why})"
    if command:
        yield f"  {command}"
        replicas = changes[0].deployment.pools[0].replicas
        if replicas > 1:
            yield f"  (one of {replicas} replicas behind a router)"
    asked = {each.name for each in tried}
    rows = [_row(change) for change in changes if change.name not in asked] + [_tried_row(each) for each in tried]
    if rows:
        yield table("\nWith as many requests in flight, each change alone, then made after the first", HEADS, rows)
    else:
        yield "no change of settings or cut is worth it"


def _row(change: Change) -> tuple[str, ...]:
    then = change.after_first_fraction
    return (
        change.name, _gain(change.gain_fraction), duration(change.token_s), amount(change.sequences),
        "–" if then is None else _gain(then), change.why,
    )  # fmt: skip


def _tried_row(tried: Tried) -> tuple[str, ...]:
    if tried.change is None:
        return (tried.name, "–", "–", "–", "–", tried.why_not)
    return _row(tried.change)


def _gain(fraction: float) -> str:
    return f"{fraction:+.0%}"


def diagnosis_object(found: Diagnosis, deployment: Deployment | None, command: str) -> Object:
    """Return a diagnosis as a JSON object."""
    return {
        "label": found.label,
        "findings": found.findings,
        "deployment": None if deployment is None else deployment_object(deployment),
        "observation": found.seen,
        "mix": found.mix,
        "predicted": found.pace,
        "measured_token_s": found.measured_token_s,
        "slowness": found.slowness,
        "beats_the_floor": found.beats_the_floor,
        "mfu": found.mfu,
        "mbu": found.mbu,
        "changes": [change_object(change) for change in found.changes],
        "tried": [
            {"name": each.name, "why_not": each.why_not, "change": each.change and change_object(each.change)}
            for each in found.tried
        ],
        "command": command,
        "missing": found.missing,
    }


def change_object(change: Change) -> Object:
    """Return a change as a JSON object."""
    return {
        "name": change.name,
        "why": change.why,
        "gain_fraction": change.gain_fraction,
        "token_s": change.token_s,
        "tokens_per_s": change.tokens_per_s,
        "sequences": change.sequences,
        "after_first_fraction": change.after_first_fraction,
        "deployment": deployment_object(change.deployment),
    }
