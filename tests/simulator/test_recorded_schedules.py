"""The simulator decides what a real vLLM decided when it was recorded: every step of these scenarios."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler_records import read_kept, simulated
from scheduler_scenarios import kept_scenarios

KEPT = read_kept()


@pytest.mark.parametrize("scenario", kept_scenarios(), ids=lambda scenario: scenario["name"])
def test_every_step_is_the_recorded_one(scenario: dict[str, Any]) -> None:
    assert simulated(scenario).lines() == KEPT[scenario["name"]]


def test_every_kept_record_is_compared() -> None:
    assert KEPT.keys() == {scenario["name"] for scenario in kept_scenarios()}
