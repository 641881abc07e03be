"""A log that is looked at again and again says what it says at once, and no look reads what was read before."""

from __future__ import annotations

from pathlib import Path

import pytest

from observer.engine_logs import Sample, read_engine_log, samples
from sizewell.cli.watching import TAIL_LINES, Logs
from sizewell.deployer.log_file import GrowingLog, News

PIECES = 23


class OneReplica:
    """A runner as far as logs are read; it counts the characters it told."""

    def __init__(self, path: Path) -> None:
        self._log = GrowingLog(path)
        self.told = 0

    def news(self, _number: int) -> News:
        news = self._log.news()
        self.told += len(news.text)
        return news


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_looks_at_a_growing_log_say_what_one_look_at_the_whole_says(sample: Sample, tmp_path: Path) -> None:
    path, text = tmp_path / "log", sample.text.rstrip("\n")
    runner = OneReplica(path)
    logs = Logs(runner, None)  # type: ignore[arg-type]
    written = text.encode()
    for number in range(1, PIECES + 1):
        path.write_bytes(written[: len(written) * number // PIECES])
        logs.read(0, is_over=False)
    facts, tail = logs.read(0, is_over=True)
    assert facts == read_engine_log([text]), "also of a last line that has no end"
    assert list(tail) == text.splitlines()[-TAIL_LINES:]
    assert runner.told == len(text), "each character once"


def test_a_log_written_anew_is_read_anew(tmp_path: Path) -> None:
    failed, healthy = samples("failed")[0], samples("healthy")[0]
    path = tmp_path / "log"
    logs = Logs(OneReplica(path), None)  # type: ignore[arg-type]
    path.write_text(max(failed.text * 2, healthy.text * 2, key=len))
    logs.read(0, is_over=False)
    path.write_text(healthy.text)
    assert logs.read(0, is_over=False)[0] == read_engine_log([healthy.text])
