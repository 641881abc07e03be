"""Prometheus' text format: pages of /metrics, one after another with the time each was read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

from sizewell.specs.engine_metrics import EMULATED_CLOCK
from sizewell.specs.errors import BadInputError

STAMP = "# scraped_at_unix_s "
"""Begins each page of a file of several."""
NAME = re.compile(r"[a-zA-Z_:][\w:]*")
LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
Series = tuple[str, tuple[tuple[str, str], ...]]
"""A name with its labels, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All figures of one reading; `time_s` is when it was read, in Unix seconds, None where nobody noted it."""

    time_s: float | None
    figures: Mapping[Series, float]


def read_page(text: str, time_s: float | None = None) -> Page:
    """Return the figures of a page; lines that are none are passed over, as are figures that are not numbers.

    An emulated server has a clock of its own, by which its figures are read.
    """
    figures = dict(_figures(text.splitlines()))
    return Page(time_s=figures.get((EMULATED_CLOCK, ()), time_s), figures=figures)


def read_pages(text: str, what: str) -> tuple[Page, ...]:
    """Return the pages of a file, oldest first; raises BadInputError where it holds no figures of an engine."""
    first, *stamped = text.split(STAMP)
    pages = [read_page(first)] if _has_figures(first) else []
    for part in stamped:
        stamp, _, body = part.partition("\n")
        try:
            pages.append(read_page(body, float(stamp)))
        except ValueError as error:
            raise BadInputError(f"{what}: {stamp[:40]!r} is no time of a reading in Unix seconds") from error
    if not any(page.figures for page in pages):
        raise BadInputError(f"{what}: holds no metrics: save what GET /metrics answers")
    return tuple(sorted(pages, key=lambda page: page.time_s or 0.0))


def _has_figures(text: str) -> bool:
    return any(line and not line.startswith("#") for line in text.splitlines())


def stamped(text: str, time_s: float) -> str:
    """Return a page as it is kept in a file of several."""
    return f"{STAMP}{time_s:.3f}\n{text.rstrip()}\n"


def _figures(lines: Iterable[str]) -> Iterator[tuple[Series, float]]:
    for line in lines:
        named = NAME.match(line)
        if named is None:
            continue
        labels, rest = _labels(line[named.end() :])
        try:
            value = float(rest.split()[0])
        except (ValueError, IndexError):
            continue
        if isfinite(value):  # an engine that knows no value says NaN
            yield (named[0], labels), value


def _labels(text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Return the labels at the head of a text, and what is behind them; quoted braces and commas do not end them."""
    text = text.lstrip()
    if not text.startswith("{"):
        return (), text
    at, found = 1, []
    while label := LABEL.match(text, at):
        found.append((label[1], re.sub(r"\\.", lambda mark: ESCAPED.get(mark[0], mark[0]), label[2])))
        at = label.end()
    return tuple(sorted(found)), text[at:].lstrip().removeprefix("}")
