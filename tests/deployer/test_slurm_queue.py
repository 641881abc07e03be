"""SLURM's words about a job, as releases write them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sizewell.deployer import slurm_queue
from sizewell.deployer.programs import Said
from sizewell.deployer.slurm_queue import entries, exit_code, seconds
from sizewell.specs.errors import UnreachableError

GONE = Said(code=1, out="", err="slurm_load_jobs error: Invalid job id specified")
OFF = Said(code=1, out="", err="Slurm accounting storage is disabled")


def said(monkeypatch: pytest.MonkeyPatch, **answers: str | Said) -> None:
    """Let the scheduler's commands answer so; those not named know nothing."""
    known: Mapping[str, str | Said] = {"squeue": GONE, "scontrol": GONE, "sacct": OFF, **answers}

    def run(words: list[str], **_: object) -> Said:
        answer = known[words[0]]
        if words[:3] == ["scontrol", "show", "hostnames"]:
            return Said(code=0, out="gpu1\ngpu2\n", err="")
        return answer if isinstance(answer, Said) else Said(code=0, out=answer, err="")

    monkeypatch.setattr(slurm_queue, "run", run)


def test_a_waiting_job_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, squeue="17|PENDING|Resources||0:00|1-00:00:00\n")
    facts = entries("17")["17"].facts()
    assert (facts.stage, facts.reason, facts.nodes) == ("waiting", "Resources", ())


def test_a_running_job_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, squeue="17|RUNNING|None|gpu[1-2]|1-02:03:04|UNLIMITED\n")
    facts = entries("17")["17"].facts()
    assert (facts.stage, facts.nodes, facts.running_s) == ("running", ("gpu1", "gpu2"), 93784.0)


def test_tasks_of_an_array_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "JobId=18 ArrayJobId=17 ArrayTaskId=1 JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0 NodeList=gpu2"
    said(monkeypatch, squeue="17_0|RUNNING|None|gpu1|1:00|10:00\n17_1|FAILED|NonZero|gpu2|0:03|10:00\n", scontrol=shown)
    found = entries("17")
    assert [found[name].stage for name in ("17_0", "17_1")] == ["running", "ended"]
    assert found["17_1"].facts().exit_code == 3


def test_an_end_is_found_wherever_it_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, sacct="17|CANCELLED by 0|0:15|gpu1|00:01:00|01:00:00\n")
    facts = entries("17")["17"].facts()
    assert (facts.reason, facts.exit_code) == ("CANCELLED", -15)
    said(
        monkeypatch,
        scontrol="JobId=17 JobState=COMPLETED ExitCode=0:0 RunTime=00:00:10 TimeLimit=01:00:00 NodeList=gpu1",
    )
    assert entries("17")["17"].facts().reason == "COMPLETED"
    said(monkeypatch)
    assert entries("17") == {}


@pytest.mark.parametrize(
    ("took", "limit", "state", "reason"),
    [
        ("00:58:05", "01:00:00", "COMPLETED", "TIMEOUT"), ("00:30:00", "01:00:00", "COMPLETED", "COMPLETED"),
        ("00:00:33", "00:03:00", "COMPLETED", "TIMEOUT"),  # a real one: the notice comes up to a minute early
        ("00:57:10", "01:00:00", "FAILED", "FAILED"),
    ],
)  # fmt: skip
def test_a_job_that_drained_at_its_limit_ran_out_of_time(
    monkeypatch: pytest.MonkeyPatch, took: str, limit: str, state: str, reason: str
) -> None:
    said(monkeypatch, scontrol=f"JobId=17 JobState={state} ExitCode=0:0 RunTime={took} TimeLimit={limit}")
    assert entries("17")["17"].facts().reason == reason


def test_a_job_nobody_has_looked_at_yet_has_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, squeue="17|PENDING|None||0:00|1:00:00")
    assert entries("17")["17"].facts().reason == ""


def test_a_silent_controller_is_not_an_ended_job(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    said(monkeypatch, squeue=Said(code=1, out="", err=lost))
    with pytest.raises(UnreachableError):
        entries("17")


@pytest.mark.parametrize(("text", "value"), [("0:00", 0), ("1:02", 62), ("2:00:00", 7200), ("1-00:00:01", 86401)])
def test_times_are_read(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["UNLIMITED", "INVALID", "", "N/A", "Partition_Limit"])
def test_words_are_no_times(text: str) -> None:
    assert seconds(text) is None


@pytest.mark.parametrize(("text", "value"), [("0:0", 0), ("3:0", 3), ("0:9", -9), ("", None), ("None", None)])
def test_exit_codes_are_read(text: str, value: int | None) -> None:
    assert exit_code(text) == value
