"""What a bench leaves in files: rows, every token's time, plots, and the report other tools read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sizewell.catalog.whole_files import whole_file

if TYPE_CHECKING:
    from sizewell.cli.bench_runs import Answer, Point
    from sizewell.cli.svg import Chart

FLAGS = ("rows", "record", "report", "plots")


def check(given: dict[str, Any]) -> None:
    """Refuse places that cannot be written before any load is offered; raises BadInputError."""
    from sizewell.cli.run_files import check_files

    check_files(given, FLAGS)


def write(given: dict[str, Any], answer: Answer) -> None:
    """Write the files the flags name; of several loads each has rows and a report of its own, named by its load."""
    from sizewell.cli.output import talk
    from sizewell.cli.run_files import write_rows

    many = len(answer.points) > 1
    for point, label in zip(answer.points, _labels(answer) if many else [""], strict=True):
        if given["rows"] is not None:
            write_rows(_named(given["rows"], label), point.measured.run)
        if given["report"] is not None:
            _report(_named(given["report"], label), answer, point)
    if given["record"] is not None:
        with whole_file(Path(given["record"])) as file:
            file.writelines(json.dumps(line) + "\n" for line in _record(answer))
    if given["plots"] is not None:
        _plot(Path(given["plots"]), answer)
    for flag in FLAGS:
        if given[flag] is not None:
            talk(f"wrote {given[flag]}" + (", one for each load" if many and flag in ("rows", "report") else ""))


def _report(path: Path, answer: Answer, point: Point) -> None:
    from importlib.metadata import version

    from sizewell.cli.run_files import write_text
    from sizewell.driver.benchmark_report import benchmark_report

    made = benchmark_report(point.measured, point.score, answer.model, version("sizewell"))
    write_text(path, json.dumps(made, indent=2, allow_nan=False) + "\n")


def _labels(answer: Answer) -> list[str]:
    """Return the labels of all loads; of those that are alike the second is `8-2`."""
    times: Counter[str] = Counter()
    found = []
    for point in answer.points:
        label = point.measured.offer.label
        times[label] += 1
        found.append(label if times[label] == 1 else f"{label}-{times[label]}")
    return found


def _named(name: str, label: str) -> Path:
    """Return `rows.csv` as `rows-8.csv` for the load `8`, and `rows-2-per-s.csv` for `2/s`."""
    path = Path(name)
    word = label.replace("/", "-per-").replace(" ", "-")
    return path.with_name(f"{path.stem}-{word}{path.suffix}") if word else path


def _record(answer: Answer) -> Iterator[dict[str, Any]]:
    """Yield a line for each request, times in seconds from the start of its load; what never came is null."""
    for point in answer.points:
        for one in sorted(point.measured.recordings, key=lambda each: each.row):
            yield {
                "load": point.measured.offer.label,
                "row": one.row,
                "scheduled_s": one.scheduled_s,
                "sent_s": one.sent_s if isfinite(one.sent_s) else None,
                "first_answer_s": one.first_answer_s if isfinite(one.first_answer_s) else None,
                "token_s": [round(time_s, 7) for time_s in one.token_s],
                "input_tokens": one.usage.input_tokens,
                "think_tokens": one.think_tokens,
                "output_tokens": one.output_tokens,
                "asked_tokens": one.asked_tokens,
                "cached_tokens": one.cached_tokens,
                "status": ("ok", "rejected", "unfinished", "failed")[one.status],
                "error": one.error,
            }


def _plot(path: Path, answer: Answer) -> None:
    from sizewell.cli.bench_page import MEASURED, measured_row, missed
    from sizewell.cli.plots import Page, as_html, as_svg, charts
    from sizewell.cli.run_files import write_text

    rows = (tuple(head.lstrip(">") for head in MEASURED), *map(measured_row, answer.points))
    lines = (f"at {answer.url}; latencies from when a request was due", *missed(answer))
    page = Page(title=f"{answer.model}, measured", lines=lines, rows=rows)
    last = answer.points[-1]
    drawn = (*_scaling(answer.points), *charts(last.measured.run, answer.slo))
    write_text(path, (as_svg if path.suffix.lower() == ".svg" else as_html)(page, drawn))


def _scaling(points: tuple[Point, ...]) -> Iterator[Chart]:
    """Yield throughput over load, measured and predicted, where several loads were offered."""
    from sizewell.cli.bench_page import speed
    from sizewell.cli.svg import Chart, Series

    closed = points[0].measured.offer.requests.in_flight is not None
    if len(points) < 2:
        return
    lines = []
    for name, scores in (("measured", [p.score for p in points]), ("predicted", [p.predicted for p in points])):
        seen = sorted(
            (_level(point), fast.output_tokens_per_s)
            for point, score in zip(points, scores, strict=True)
            if score is not None and (fast := speed(score)) is not None
        )
        lines += [Series(name=name, x=[x for x, _ in seen], y=[y for _, y in seen])] if seen else []
    x_label = "requests in flight" if closed else "requests offered per second"
    yield Chart(title="Throughput", x_label=x_label, y_label="output tokens/s", series=tuple(lines))


def _level(point: Point) -> float:
    requests = point.measured.offer.requests
    if requests.in_flight is not None:
        return float(requests.in_flight)
    span_s = float(requests.arrival_s.max() - requests.arrival_s.min())
    return (len(requests) - 1) / span_s if span_s > 0 else 0.0
