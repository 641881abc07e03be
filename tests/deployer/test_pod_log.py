"""The logs of pods are read on from where they were, whole, in order, and each line once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sizewell.deployer.pod_log import GroupLog
from sizewell.deployer.pods import LEADER

STAND_IN = Path(__file__).parent / "stand_in" / "cluster"


@pytest.fixture(autouse=True)
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stand-in for a cluster: it gives two lines a moment, and those of a moment that was asked for."""
    monkeypatch.setenv("PATH", f"{STAND_IN}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_CLUSTER", str(tmp_path))
    return tmp_path


def pod(name: str, restarts: int = 0, worker: str | None = None) -> dict[str, Any]:
    labels = {} if worker is None else {LEADER: worker}
    return {
        "metadata": {"name": name, "labels": labels}, "status": {"containerStatuses": [{"restartCount": restarts}]},
    }  # fmt: skip


def test_what_a_log_gains_is_told_once_and_nothing_is_lost(cluster: Path) -> None:
    lines = [f"line {number}" for number in range(97)]
    log, told = GroupLog(["kubectl"], [pod("a")], "engine"), ""
    for end in (0, 1, 2, 3, 3, 20, 21, 64, 97, 97):
        (cluster / "a.log").write_text("".join(f"{line}\n" for line in lines[:end]))
        told += log.news()
        assert told.splitlines() == lines[:end]
    asked = (cluster / "calls").read_text().splitlines()
    assert "--tail=5000" in asked[0] and "--since-time=2026-11-29T20:43:04.8Z" in asked[-1]


def test_each_node_of_a_group_is_heard_and_named(cluster: Path) -> None:
    """A worker that runs out of memory says so in its own log: the first node only misses it."""
    (cluster / "g-0.log").write_text("waits\n")
    (cluster / "g-0-1.log").write_text("torch.OutOfMemoryError: CUDA out of memory.\n")
    group = [pod("g-0", worker="0"), pod("g-0-1", worker="1")]
    said = GroupLog(["kubectl"], group, "engine").news()
    assert said == "0: waits\n1: torch.OutOfMemoryError: CUDA out of memory.\n"


def test_a_pod_that_was_started_over_is_another_log(cluster: Path) -> None:
    (cluster / "a.log").write_text("second\n")
    (cluster / "a.previous.log").write_text("first\n")
    log = GroupLog(["kubectl"], [pod("a", 1)], "engine")
    assert (log.news(), log.news()) == ("first\nsecond\n", "")
    assert log.is_of([pod("a", 1)]) and not log.is_of([pod("a", 2)]) and not log.is_of([pod("b", 1)])
