"""Line charts as plain SVG text, readable in light and dark, with nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Told apart by colour-blind readers as well (Okabe and Ito)."""

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 44, 42
INTERVALS = 5

STYLE = """
svg { font: 12px system-ui, sans-serif; color: #24292f; }
.title { font-size: 14px; font-weight: 600; fill: currentColor; }
.tick, .label, .name { fill: currentColor; }
.tick, .label { opacity: .75; font-size: 11px; }
.grid { stroke: currentColor; opacity: .13; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.mark { stroke: currentColor; stroke-dasharray: 4 3; opacity: .7; }
@media (prefers-color-scheme: dark) { svg { color: #d0d7de; } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A named line through points; `stepped` holds each value until the next point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    stepped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over common axes. `marks` are vertical lines with their words; `y_most` fixes the top of the y axis."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    marks: tuple[tuple[float, str], ...] = ()
    log_x: bool = False
    y_most: float | None = None


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        if self.log:
            value, low, high = log10(max(value, self.low)), log10(self.low), log10(self.high)
        else:
            low, high = self.low, self.high
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log and self.high / self.low > 12:
            powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            steps = (1, 2, 5) if self.high / self.low < 2e3 else (1,)
            found = [step * 10.0**power for power in powers for step in steps]
        else:
            step = nice_step(self.high - self.low, INTERVALS)
            first = ceil(self.low / step - 1e-9)
            found = [number * step for number in range(first, first + 2 * INTERVALS)]
        return [tick for tick in found if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]


def nice_step(span: float, intervals: int) -> float:
    """Return 1, 2 or 5 times a power of ten that cuts `span` into about so many intervals."""
    raw = span / intervals
    power = 10.0 ** floor(log10(raw))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= raw * 0.999)


def svg(chart: Chart, x: int = 0, y: int = 0) -> str:
    """Return a chart as an `<svg>` element at a place of a page or of another SVG."""
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" ',
            f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">',
            *_drawn(chart),
            "</svg>",
        )
    )


def sheet(title: str, charts: Sequence[Chart], columns: int = 2) -> str:
    """Return one SVG document with all charts."""
    rows = ceil(len(charts) / columns)
    wide, high = WIDTH * columns, 34 + HEIGHT * rows
    inner = (
        svg(chart, (at % columns) * WIDTH, 34 + at // columns * HEIGHT) for at, chart in enumerate(charts)
    )  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">'
        f'<style>{STYLE}</style><text class="title" x="{LEFT}" y="22">{escape(title)}</text>{"".join(inner)}</svg>\n'
    )


def _drawn(chart: Chart) -> Iterator[str]:
    across = _scale(
        [0.0] + [value for line in chart.series for value in line.x] + [at for at, _ in chart.marks],
        (LEFT, WIDTH - RIGHT), log=chart.log_x,
    )  # fmt: skip
    highest = max((value for line in chart.series for value in line.y if isfinite(value)), default=1.0)
    up = _scale([0.0, chart.y_most or 1.05 * highest], (HEIGHT - BOTTOM, TOP))
    yield f'<text class="title" x="{LEFT}" y="16">{escape(chart.title)}</text>'
    yield from _grid(chart, across, up)
    for value, words in chart.marks:
        at = across.at(value)
        yield f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        side = "end" if at > WIDTH / 2 else "start"
        yield f'<text class="tick" x="{at + (-4 if side == "end" else 4):.1f}" y="{TOP + 10}" '
        yield f'text-anchor="{side}">{escape(words)}</text>'
    place = float(LEFT)
    for number, line in enumerate(chart.series):
        colour = COLOURS[number % len(COLOURS)]
        yield f'<path class="line" stroke="{colour}" d="{_path(line, across, up)}"/>'
        yield f'<rect x="{place:.0f}" y="26" width="10" height="3" fill="{colour}"/>'
        yield f'<text class="name" x="{place + 14:.0f}" y="31">{escape(line.name)}</text>'
        place += 28 + 6.6 * len(line.name)


def _scale(values: Sequence[float], pixels: tuple[float, float], *, log: bool = False) -> _Scale:
    known = [value for value in values if isfinite(value) and (value > 0 or not log)] or [1.0]
    low, high = min(known), max(known)
    if log:
        return _Scale(low / 1.1, max(high, low * 1.5) * 1.1, *pixels, log=True)
    return _Scale(low, high if high > low else low + 1.0, *pixels)


def _grid(chart: Chart, across: _Scale, up: _Scale) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    for tick in up.ticks():
        y = up.at(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
    for tick in across.ticks():
        x = across.at(tick)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{_number(tick)}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="label" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(chart.x_label)}</text>'
    yield f'<text class="label" x="12" y="{(TOP + bottom) / 2}" text-anchor="middle" '
    yield f'transform="rotate(-90 12 {(TOP + bottom) / 2})">{escape(chart.y_label)}</text>'


def _path(line: Series, across: _Scale, up: _Scale) -> str:
    parts: list[str] = []
    pen = "M"
    for x, y in zip(line.x, line.y, strict=True):
        if not (isfinite(x) and isfinite(y)):
            pen = "M"
            continue
        if line.stepped and pen == "L":
            parts.append(f"H{across.at(x):.1f}")
        parts.append(f"{pen}{across.at(x):.1f} {up.at(y):.1f}")
        pen = "L"
    return "".join(parts)


def _number(value: float) -> str:
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:,.10g}" if abs(value) < 1e4 else f"{value:,.0f}"
