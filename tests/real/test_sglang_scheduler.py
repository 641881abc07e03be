"""The simulator against a real SGLang: the same requests, the same pool, and every step the same.

`make test-real` installs SGLang without its kernels (install_sglang_cpu.sh). Its schedulers run in one process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from scheduler_records import first_difference, read_kept, simulated_on
from sglang_scenarios import KEPT, KEPT_NAMES, scenarios, sglang_facts

sys.path.append(str(Path(__file__).parent))

import sglang_sessions

MISSING = "SGLang is not installed: make .venv-sglang/.installed"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not sglang_sessions.PYTHON.exists(), reason=MISSING)]


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario["name"])
def test_every_step_is_sglangs(scenario: dict[str, Any]) -> None:
    real = sglang_sessions.records()[scenario["name"]]
    assert first_difference(real, simulated_on(sglang_facts(scenario), scenario, compiled=True)) == ""


def test_scenarios_are_worth_playing() -> None:
    """Retractions, cache hits and partial prompts occur, in numbers."""
    steps = [step for record in sglang_sessions.records().values() for step in record.steps]
    assert sum(len(step.preempted) for step in steps) > 30
    assert sum(cached > 0 for step in steps for _, cached in step.admitted) > 500
    assert len(steps) > 30_000


def test_the_kept_records_are_what_sglang_decides() -> None:
    now = {name: record.lines() for name, record in sglang_sessions.records().items()}
    assert read_kept(KEPT) == {name: now[name] for name in KEPT_NAMES}
