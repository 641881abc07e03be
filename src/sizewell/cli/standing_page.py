"""How deployments stand, on paper: lines for people, objects for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sizewell.cli.output import duration, printable, table

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.cli.watching import Look
    from sizewell.deployer.started import Started
    from sizewell.specs.standing import Standing

Object = Mapping[str, object]
AGAIN_S = 10.0
"""Progress that changes only its numbers is said again after so long."""
UNPRINTED = "\N{REPLACEMENT CHARACTER}"
EVIDENCE = 5


def standing_line(standing: Standing) -> str:
    """Return a standing in one line."""
    parts = [f"{100 * standing.loaded_fraction:.0f} %"] if standing.loaded_fraction is not None else []
    if standing.load_bytes_per_s:
        parts.append(f"{standing.load_bytes_per_s / 1e6:,.0f} MB/s")
    if standing.remaining_s:
        parts.append(f"{duration(standing.remaining_s)} left")
    far = f" ({', '.join(parts)})" if parts and standing.stage == "LOADING" else ""
    return f"{standing.stage}{far}{': ' if standing.reason else ''}{standing.reason}"


def failure_lines(each: Look) -> Iterator[str]:
    """Yield why it failed: what shows it, and what to do; where the engine does not say why, the end of its log."""
    failure = each.standing.failure
    if failure is None or each.standing.stage != "FAILED":
        return
    shown: Sequence[str] = failure.evidence[:EVIDENCE]
    if failure.cause == "unknown":
        shown = each.tail or shown
    elif all("sizewell: " in line for line in failure.evidence):
        shown = (*each.tail, *(line for line in shown if line not in each.tail))
    yield from (f"  | {printable(line.strip(), UNPRINTED)}" for line in shown)
    yield f"  cause: {failure.cause}; {failure.advice}"


def startup_lines(each: Look) -> Iterator[str]:
    """Yield where what the engine stated at start differs from the plan, or that it does not."""
    different = [line.text for line in each.startup if line.differs]
    yield from (f"  differs from the plan: {text}" for text in different)
    if each.startup and not different:
        named = ", ".join(line.name for line in each.startup)
        yield f"  as planned: {named}"


class Teller:
    """Says how replicas stand when that changes, and once what their engines state at start."""

    def __init__(self) -> None:
        self._compared: set[int] = set()
        self._said: dict[int, tuple[str, str, float]] = {}

    def lines(self, looks: Sequence[Look]) -> Iterator[str]:
        """Yield what is new since the last time."""
        for each in looks:
            prefix = f"{each.name}: " if len(looks) > 1 else ""
            if each.startup and each.number not in self._compared:
                self._compared.add(each.number)
                yield from (f"{prefix}{line.strip()}" for line in startup_lines(each))
            if (line := self._news(each)) is not None:
                yield f"{prefix}{line}"

    def _news(self, each: Look) -> str | None:
        standing, now_s = each.standing, time.monotonic()
        line, kind = standing_line(standing), f"{standing.stage} {standing.reason}"
        last_line, last_kind, last_s = self._said.get(each.number, ("", "", 0.0))
        if line == last_line or (kind == last_kind and now_s - last_s < AGAIN_S):
            return None
        self._said[each.number] = (line, kind, now_s)
        return line


def deployment_table(rows: Sequence[tuple[Started, Standing | None, str]]) -> Table:
    """Return deployments with how they stand, or why nobody knows."""
    cells = [
        (
            one.name, one.where, one.made_at[:16].replace("T", " "), one.model,
            standing.stage if standing else "unknown", (standing.reason if standing else "") or why,
        )
        for one, standing, why in rows
    ]  # fmt: skip
    return table("", ("|name", "target", "|started", "model", "|stands", "why"), cells)


def started_object(started: Started) -> Object:
    """Return what was started."""
    return {
        "name": started.name,
        "target": started.where,
        "made_at": started.made_at,
        "ready_at": started.ready_at,
        "ended_at": started.ended_at,
        "model": started.model,
        "replicas": started.replicas,
        "ids": [part.id for part in started.parts],
    }


def standing_object(standing: Standing) -> Object:
    """Return a standing."""
    failure = standing.failure
    return {
        "stage": standing.stage,
        "reason": standing.reason,
        "loaded_fraction": standing.loaded_fraction,
        "load_bytes_per_s": standing.load_bytes_per_s,
        "remaining_s": standing.remaining_s,
        "failure": None
        if failure is None
        else {"cause": failure.cause, "evidence": failure.evidence, "advice": failure.advice},
    }


def look_object(each: Look) -> Object:
    """Return one replica."""
    return {
        "number": each.number,
        "name": each.name,
        "url": each.url,
        "nodes": each.job.nodes,
        "exit_code": each.job.exit_code,
        "expected_at": each.job.expected_at,
        "standing": standing_object(each.standing),
        "differences": [
            {"figure": line.name, "unit": line.unit, "planned": line.planned, "stated": line.said, "line": line.text}
            for line in each.startup
            if line.differs
        ],
    }


def deployment_answer(started: Started, looks: Sequence[Look], standing: Standing | None, why: str = "") -> Object:
    """Return one deployment: what was started and how it stands; `why` nobody knows, where that is so."""
    return {
        **started_object(started),
        "standing": standing_object(standing) if standing else None,
        "unknown_because": why,
        "parts": [look_object(each) for each in looks],
    }
