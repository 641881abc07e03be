"""SLURM's words about a job, as releases write them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sizewell.deployer import slurm_queue
from sizewell.deployer.programs import Said
from sizewell.deployer.slurm_queue import entries, exit_code, refused, seconds
from sizewell.specs.errors import BadInputError, UnreachableError

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
    said(monkeypatch, squeue="17|PENDING|Resources||0:00|1-00:00:00|N/A\n")
    facts = entries("17")["17"].facts()
    assert (facts.stage, facts.reason, facts.nodes) == ("waiting", "Resources", ())


def test_a_running_job_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, squeue="17|RUNNING|None|gpu[1-2]|1-02:03:04|UNLIMITED|2026-11-29T09:00:00\n")
    facts = entries("17")["17"].facts()
    assert (facts.stage, facts.nodes, facts.running_s) == ("running", ("gpu1", "gpu2"), 93784.0)


def test_tasks_of_an_array_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "JobId=18 ArrayJobId=17 ArrayTaskId=1 JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0 NodeList=gpu2"
    queue = "17_0|RUNNING|None|gpu1|1:00|10:00|N/A\n17_1|FAILED|NonZero|gpu2|0:03|10:00|N/A\n"
    said(monkeypatch, squeue=queue, scontrol=shown)
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
    said(monkeypatch, squeue="17|PENDING|None||0:00|1:00:00|N/A")
    assert entries("17")["17"].facts().reason == ""


@pytest.mark.parametrize(
    "lost",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "squeue: error: ClusterName needs to be specified\nsqueue: fatal: Unable to process configuration file",
        "slurm_load_jobs error: Protocol authentication error",
        "squeue: fatal: Could not establish a configuration source",
    ],
)
def test_a_scheduler_that_gives_no_answer_has_not_ended_the_job(monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    said(monkeypatch, squeue=Said(code=1, out="", err=lost))
    with pytest.raises(UnreachableError):
        entries("17")


def test_a_job_all_have_forgotten_is_gone_where_sacct_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: list[str], **_: object) -> Said:
        if words[0] == "sacct":
            raise BadInputError("there is no sacct here")
        return GONE

    monkeypatch.setattr(slurm_queue, "run", run)
    assert entries("17") == {}


def test_a_waiting_job_says_when_it_is_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, squeue="17|PENDING|Resources||0:00|1:00:00|2026-11-30T10:45:00\n")
    assert entries("17")["17"].facts().expected_at == "2026-11-30T10:45:00"
    said(monkeypatch, squeue="17|RUNNING|None|gpu1|0:10|1:00:00|2026-11-30T10:45:00\n")
    assert entries("17")["17"].facts().expected_at == "", "it has started"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("PartitionTimeLimit", "--time"), ("JobHeldUser", "scontrol release"), ("JobHeldAdmin", "administrator"),
        ("job requeued in held state", "scontrol release"), ("launch failed requeued held", "scontrol release"),
        ("QOSMaxWallDurationPerJobLimit", "never"), ("AssocGrpGRES", "other jobs"), ("QOSMaxGRESPerUser", "other jobs"),
        ("ReqNodeNotAvail, UnavailableNodes:gpu1", "sinfo -R"), ("BadConstraints", "--constraint"),
        ("PartitionConfig", "show partition"),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", "sinfo -R"),
        ("Resources", ""), ("Priority", ""), ("BeginTime", ""), ("None", ""),
    ],
)  # fmt: skip
def test_a_wait_that_needs_somebody_says_for_what(monkeypatch: pytest.MonkeyPatch, reason: str, word: str) -> None:
    said(monkeypatch, squeue=f"17|PENDING|{reason}||0:00|1:00:00|N/A\n")
    advice = entries("17")["17"].facts().advice
    assert word in advice and bool(word) == bool(advice)


@pytest.mark.parametrize("state", ["SUSPENDED", "CONFIGURING", "STOPPED"])
def test_a_job_that_is_held_still_waits_and_says_how(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    said(monkeypatch, squeue=f"17|{state}|None|gpu1|0:10|1:00:00|2026-11-30T10:45:00\n")
    facts = entries("17")["17"].facts()
    assert (facts.stage, facts.reason, facts.expected_at) == ("waiting", state, "")


@pytest.mark.parametrize(("text", "value"), [("0:00", 0), ("1:02", 62), ("2:00:00", 7200), ("1-00:00:01", 86401)])
def test_times_are_read(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["UNLIMITED", "INVALID", "", "N/A", "Partition_Limit"])
def test_words_are_no_times(text: str) -> None:
    assert seconds(text) is None


@pytest.mark.parametrize(("text", "value"), [("0:0", 0), ("3:0", 3), ("0:9", -9), ("", None), ("None", None)])
def test_exit_codes_are_read(text: str, value: int | None) -> None:
    assert exit_code(text) == value


def test_nobody_who_answers_is_no_refusal() -> None:
    silent = (
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: fetch_config: DNS SRV lookup failed sbatch: fatal: Could not establish a configuration source",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    )
    assert all(isinstance(refused(words), UnreachableError) for words in silent)
    told = refused("sbatch: error: invalid partition specified: nowhere")
    assert isinstance(told, BadInputError) and "nowhere" in str(told)
