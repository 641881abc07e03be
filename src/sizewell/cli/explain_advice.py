"""A plan read by the advisor, for `sizewell explain`: what binds it, one request followed, what to change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sizewell.cli.documents import Object
from sizewell.cli.output import duration, gib, table, talk

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.advisor.advice import Change
    from sizewell.advisor.planned import Phase, Planned, Reading

TOP = 5
SHOWN = 3
HEADS = ("phase", ">time", ">%", ">tokens", ">KV cache, GiB", "waits for")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What the advisor says of a plan; `changes` are None where nobody asked for them."""

    reading: Reading
    changes: tuple[Change, ...] | None


def advised(planned: Planned | None, *, changes: bool) -> Advice | None:
    """Return what binds a plan, with changes where they are asked for; None of one that does not fit."""
    from sizewell.advisor.planned import advise_plan, read_plan
    from sizewell.cli.diagnose_advice import adviser

    if planned is None:
        return None
    if changes and len(planned.deployment.pools) > 1:
        talk("changes are proposed for deployments of one pool")
        changes = False
    who = adviser()
    return Advice(reading=read_plan(planned, who), changes=advise_plan(planned, who, TOP) if changes else None)


def advice_parts(advice: Advice) -> Iterator[str | Table]:
    """Yield a request's phases, the bottleneck with its evidence, and the changes."""
    from sizewell.cli.diagnose_page import advice_lines

    reading = advice.reading
    whole_s = sum(phase.seconds for phase in reading.phases)
    title = f"One request: at its end it holds 1/{1 / reading.kv_share:,.1f} of a replica's cache"
    yield table(title, HEADS, [_row(phase, whole_s) for phase in reading.phases])
    first, *others = reading.findings
    yield f"BOTTLENECK: {first.label}"
    yield from (f"  {line}" for line in first.evidence)
    if others:
        yield f"then {', '.join(f'{each.label} {each.share:.0%}' for each in others if each.share is not None)}"
    if advice.changes is not None:
        yield from advice_lines(advice.changes)
    yield ""


def _row(phase: Phase, whole_s: float) -> tuple[str, ...]:
    causes = [f"{name} {spent / phase.seconds:.0%}" for name, spent in list(phase.causes.items())[:SHOWN]]
    return (
        phase.name, duration(phase.seconds), f"{phase.seconds / whole_s * 100:.1f}" if whole_s else "–",
        f"{phase.tokens:,.0f}" if phase.tokens else "", gib(phase.kv_bytes) if phase.kv_bytes else "",
        ", ".join(causes) if phase.seconds else "",
    )  # fmt: skip


def advice_object(advice: Advice | None) -> Object:
    """Return the same as fields of a JSON object."""
    from sizewell.cli.diagnose_page import change_object

    if advice is None:
        return {"bottleneck": None, "findings": [], "request": None, "changes": None}
    reading = advice.reading
    return {
        "bottleneck": reading.findings[0].label,
        "findings": reading.findings,
        "request": {"phases": reading.phases, "kv_share": reading.kv_share},
        "changes": None if advice.changes is None else [change_object(change) for change in advice.changes],
    }
