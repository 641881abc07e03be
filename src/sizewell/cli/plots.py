"""What a run looked like: charts of latencies, load, cache and rates, as one SVG or one HTML page without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from sizewell.cli.svg import STYLE, Chart, Series, sheet, svg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sizewell.traffic.run import Run, Timeline
    from sizewell.traffic.workload import Slo

    Floats = NDArray[np.float64]

MOST_POINTS = 400
QUANTILES = np.concatenate([np.linspace(0, 0.9, 91), np.linspace(0.905, 0.999, 95), [1.0]])

PAGE_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1160px; padding: 0 1rem;
       color: #24292f; background: #fff; }
h1 { font-size: 1.3rem; margin-bottom: .3rem; }
p { margin: .15rem 0; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
figure { display: inline-block; margin: .5rem .4rem; }
@media (prefers-color-scheme: dark) { body { color: #d0d7de; background: #0d1117; } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Words around the charts: a title, lines below it, and a table whose first row is its head."""

    title: str
    lines: Sequence[str]
    rows: Sequence[Sequence[str]]


def as_svg(page: Page, charts: Sequence[Chart]) -> str:
    """Return all charts as one SVG document."""
    return sheet(page.title, charts)


def as_html(page: Page, charts: Sequence[Chart]) -> str:
    """Return the charts, and the score in words and numbers, as one HTML document that fetches nothing."""
    head, *body = page.rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in body)
    lines = "".join(f"<p>{escape(line)}</p>" for line in page.lines)
    figures = "".join(f"<figure>{svg(chart)}</figure>" for chart in charts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(page.title)}</title>'
        f"<style>{PAGE_STYLE}{STYLE}</style></head><body><h1>{escape(page.title)}</h1>{lines}"
        f"<table><tr>{cells}</tr>{rows}</table>{figures}</body></html>\n"
    )


def charts(run: Run, slo: Slo) -> tuple[Chart, ...]:
    """Return what there is to see of a run: charts without data are left out."""
    found = [
        _latencies(run, slo),
        _paces(run, slo),
        _first_tokens_over_time(run),
        _rates_over_time(run),
        *(_engines(run, run.timeline) if run.timeline is not None and len(run.timeline.time_s) else ()),
    ]
    return tuple(chart for chart in found if any(len(line.x) for line in chart.series))


def _latencies(run: Run, slo: Slo) -> Chart:
    due = run.scheduled_s[run.served]
    times = {"TTFT": run.first_token_s[run.served] - due}
    if (run.think_tokens > 0).any():
        times["TTFA"] = run.first_answer_s[run.served] - due
    times["E2E"] = run.last_token_s[run.served] - due
    limits = {"TTFT": slo.ttft_s, "TTFA": slo.ttfa_s, "E2E": slo.e2e_s}
    return _shares("Time to the first and the last token", times, limits)


def _paces(run: Run, slo: Slo) -> Chart:
    gaps = run.output_tokens[run.served] - 1
    several = gaps > 0
    spent = (run.last_token_s - run.first_token_s)[run.served][several]
    return _shares("Time per output token", {"TPOT": spent / gaps[several]}, {"TPOT": slo.tpot_s})


def _shares(title: str, times: Mapping[str, Floats], limits: Mapping[str, float | None]) -> Chart:
    """Return which share of the served requests stays below each time."""
    lines = []
    for name, values in times.items():
        known = values[np.isfinite(values)]
        if len(known):
            x = np.maximum(np.quantile(known, QUANTILES), 1e-6)
            lines.append(Series(name=name, x=x.tolist(), y=(100 * QUANTILES).tolist()))
    return Chart(
        title=title,
        x_label="seconds",
        y_label="% of served requests",
        series=tuple(lines),
        marks=tuple((limit, f"{name} limit") for name, limit in limits.items() if limit is not None),
        log_x=True,
        y_most=100.0,
    )


def _first_tokens_over_time(run: Run) -> Chart:
    due = run.scheduled_s[run.served]
    waits = run.first_token_s[run.served] - due
    edges, of_bin = _bins(due, 60)
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    lines = []
    for share in (50, 90):
        values = [
            float(np.percentile(waits[of_bin == number], share)) if (of_bin == number).any() else float("nan")
            for number in range(len(middles))
        ]
        lines.append(Series(name=f"p{share}", x=middles, y=values))
    return Chart(
        title="TTFT by when a request was due", x_label="seconds from the start", y_label="seconds",
        series=tuple(lines) if len(waits) else (),
    )  # fmt: skip


def _rates_over_time(run: Run) -> Chart:
    ends = run.last_token_s[run.served]
    times = np.concatenate([run.scheduled_s, ends])
    edges, _ = _bins(times, 60)
    width = np.diff(edges)
    lines = tuple(
        Series(name=name, x=edges.tolist(), y=[*(counts / width).tolist(), float(counts[-1] / width[-1])], stepped=True)
        for name, counts in (
            ("due", np.histogram(run.scheduled_s, edges)[0]),
            ("served", np.histogram(ends, edges)[0]),
        )
    )
    return Chart(
        title="Requests per second", x_label="seconds from the start", y_label="requests/s", series=lines
    )  # fmt: skip


def _bins(times: Floats, most: int) -> tuple[Floats, NDArray[np.int64]]:
    low, high = (float(times.min()), float(times.max())) if len(times) else (0.0, 1.0)
    count = max(1, min(most, len(times) // 10))
    edges = np.linspace(low, high if high > low else low + 1.0, count + 1)
    return edges, np.clip(np.searchsorted(edges, times, side="right") - 1, 0, count - 1)


def _engines(run: Run, line: Timeline) -> Iterator[Chart]:
    if run.handovers is None:
        yield from _engine(line, "engine")
        return
    yield from _engine(run.handovers.timeline, "prefill pool")
    kept = _peaks(len(line.time_s))
    moving = _peak(run.handovers.moving(line.time_s), kept)
    yield Chart(
        title="Caches on their way to the decode pool", x_label="seconds from the start", y_label="caches",
        series=(Series(name="in line or travelling", x=line.time_s[kept].tolist(), y=moving, stepped=True),),
    )  # fmt: skip
    yield from _engine(line, "decode pool")


def _engine(line: Timeline, where: str) -> Iterator[Chart]:
    time = line.time_s
    kept, pool = _peaks(len(time)), "" if where == "engine" else f", {where}"
    after = time[kept].tolist()
    yield Chart(
        title=f"Sequences in the {where}", x_label="seconds from the start", y_label="sequences",
        series=(
            Series(name="running", x=after, y=_peak(line.running, kept), stepped=True),
            Series(name="waiting", x=after, y=_peak(line.waiting, kept), stepped=True),
        ),
    )  # fmt: skip
    yield Chart(
        title=f"KV cache in use{pool}; {int(line.preemptions.sum()):,} preemptions", x_label="seconds from the start",
        y_label="%", y_most=100.0,
        series=(Series(name="used", x=after, y=_peak(100 * line.kv_used_fraction, kept), stepped=True),),
    )  # fmt: skip


def _peaks(count: int) -> NDArray[np.int64]:
    """Return where groups of neighbouring samples begin, so that few enough are left to draw."""
    return np.unique(np.linspace(0, max(count, 1), min(max(count, 1), MOST_POINTS), endpoint=False).astype(np.int64))


def _peak(values: NDArray[np.float64] | NDArray[np.int64], starts: NDArray[np.int64]) -> list[float]:
    """Return the largest sample of each group, so that a short peak is still seen."""
    if not len(values):
        return []
    peaks: list[float] = np.maximum.reduceat(values.astype(np.float64), starts).tolist()
    return peaks
