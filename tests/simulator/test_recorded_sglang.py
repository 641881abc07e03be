"""The simulator decides what a real SGLang decided when it was recorded: every step of these scenarios."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scheduler_records import read_kept, simulated_on
from sglang_scenarios import KEPT, kept_scenarios, sglang_facts

RECORDS = read_kept(KEPT)


@pytest.mark.parametrize("scenario", kept_scenarios(), ids=lambda scenario: scenario["name"])
def test_every_step_is_the_recorded_one(scenario: dict[str, Any]) -> None:
    assert simulated_on(sglang_facts(scenario), scenario, compiled=True).lines() == RECORDS[scenario["name"]]


@pytest.mark.parametrize("scenario", kept_scenarios()[-2:], ids=lambda scenario: scenario["name"])
def test_requests_end_when_they_did_where_steps_are_jumped(scenario: dict[str, Any]) -> None:
    jumping = simulated_on(replace(sglang_facts(scenario), jumps=True), scenario, compiled=True)
    assert jumping.lines()[-1] == RECORDS[scenario["name"]][-1]


def test_every_kept_record_is_compared() -> None:
    assert RECORDS.keys() == {scenario["name"] for scenario in kept_scenarios()}
