"""Logs of all replicas are followed side by side, whole lines each, until the last of them has ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sizewell.cli import following
from sizewell.cli.following import MOST_SILENT, follow
from sizewell.deployer.log_file import News
from sizewell.specs.errors import UnreachableError
from sizewell.specs.standing import JobFacts

LABELS = {0: "0: ", 1: "1: "}


class Script:
    """Two replicas that write what a script says, a step for each look; None is a system that does not answer."""

    def __init__(self, *steps: tuple[str, str] | None) -> None:
        self._steps, self._now = list(steps), -1

    def facts(self) -> tuple[JobFacts, ...]:
        self._now = min(self._now + 1, len(self._steps) - 1)
        if self._steps[self._now] is None:
            raise UnreachableError("squeue did not answer within 60 s")
        over = self._now == len(self._steps) - 1
        return tuple(JobFacts(stage="ended" if over else "running") for _ in LABELS)

    def news(self, number: int) -> News:
        said = self._steps[self._now]
        return News(text=said[number] if said else "")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(following, "READ_S", {"local": 0.0})
    monkeypatch.setattr(following, "ASKED_S", {"local": 0.0})
    yield


def lines(*steps: tuple[str, str] | None, tail: int | None = None, labels: dict[int, str] = LABELS) -> list[str]:
    return list(follow(Script(*steps), "local", labels, tail))  # type: ignore[arg-type]


def test_replicas_are_told_apart_and_lines_come_whole() -> None:
    assert lines(("a\nb", "x\n"), ("c\nd\n", ""), ("", "y")) == ["0: a", "1: x", "0: bc", "0: d", "1: y"]


def test_one_replica_needs_no_label() -> None:
    assert lines(("a\n", "x\n"), ("b\n", ""), labels={0: ""}) == ["a", "b"]


def test_a_tail_shortens_what_was_there_and_nothing_that_follows() -> None:
    assert lines(("a\nb\nc\n", "x\n"), ("d\ne\nf\n", ""), tail=2) == ["0: b", "0: c", "1: x", "0: d", "0: e", "0: f"]


def test_a_scheduler_may_be_silent_for_a_while() -> None:
    assert lines(("a\n", ""), None, None, ("b\n", "")) == ["0: a", "0: b"]
    with pytest.raises(UnreachableError):
        lines(("a\n", ""), *[None] * (MOST_SILENT + 2), ("b\n", ""))


def test_what_is_written_while_the_scheduler_is_silent_is_shown_at_once() -> None:
    class Silent(Script):
        def news(self, number: int) -> News:
            return News(text="b\n" if self._now == 1 and number == 0 else super().news(number).text)

    told = follow(Silent(("a\n", ""), None, ("c\n", ""), ("", "")), "local", LABELS, None)  # type: ignore[arg-type]
    assert list(told) == ["0: a", "0: b", "0: c"]


def test_a_log_that_begins_later_is_whole_however_short_the_tail() -> None:
    assert lines(("", ""), ("a\nb\nc\n", ""), ("", ""), tail=2) == ["0: a", "0: b", "0: c"]
