"""What SLURM says of a job, read as text: its JSON differs from release to release, and its accounts may be off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sizewell.deployer.programs import run
from sizewell.deployer.slurm import NOTICE_S
from sizewell.deployer.slurm_reasons import advice
from sizewell.specs.errors import BadInputError, UnreachableError
from sizewell.specs.standing import JobFacts, JobStage

WAITING = frozenset(
    {
        "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD",
        "SUSPENDED", "STOPPED",
    }
)  # fmt: skip
RUNNING = frozenset({"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING"})
NO_SUCH_JOB = "Invalid job id"
SILENT = ("nable to contact slurm controller", "establish a configuration source", "timed out", "Zero Bytes")
"""What sbatch says where no controller answers, or none can be found."""
FIELDS = "%i|%T|%r|%N|%M|%l|%S"
_TIMES = tuple(
    re.compile(form)
    for form in (
        r"(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+)(?:\.\d+)?)?)?",
        r"(?P<minutes>\d+)(?::(?P<seconds>\d+)(?:\.\d+)?)?",
        r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)(?:\.\d+)?",
    )
)
_UNIT_S = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
SLACK_S, EARLY_S = 15, 60
"""How much sooner it may be over, and how much sooner than asked the notice may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One task as the queue or the accounts show it; `nodes` as written, `gpu[1-2]`."""

    id: str
    state: str
    reason: str = ""
    nodes: str = ""
    running_s: float | None = None
    limit_s: float | None = None
    exit_code: int | None = None
    starts_at: str = ""

    @property
    def stage(self) -> JobStage:
        """Where it is in its life; a state no release we know has counts as running."""
        if self.state in WAITING:
            return "waiting"
        return "running" if self.state in RUNNING else "ended"

    @property
    def end_reason(self) -> str:
        """The word for how it ended: the job drains before its limit, which the scheduler then calls success."""
        slack_s = SLACK_S + (EARLY_S if self.state == "COMPLETED" else 0)
        at_limit = self.limit_s is not None and (self.running_s or 0) >= max(0, self.limit_s - NOTICE_S) - slack_s
        return "TIMEOUT" if at_limit and self.state in ("COMPLETED", "FAILED", "TIMEOUT") else self.state

    def facts(self) -> JobFacts:
        """Return it in the words of every target."""
        waits = self.stage == "waiting"
        return JobFacts(
            stage=self.stage,
            reason=self.end_reason if self.stage == "ended" else self._hold,
            exit_code=self.exit_code if self.stage == "ended" else None,
            nodes=tuple(host_names(self.nodes)) if not waits else (),
            running_s=self.running_s,
            expected_at=self.starts_at if waits and self.state == "PENDING" else "",
            advice=advice(self.reason) if waits else "",
        )

    @property
    def begun_at(self) -> float:
        """Seconds since the epoch at which what runs now began, whether it was suspended since or not; 0 for others."""
        if self.stage != "running" or not self.starts_at:
            return 0.0
        return datetime.fromisoformat(self.starts_at).timestamp()

    @property
    def _hold(self) -> str:
        """The scheduler's reason, else its word for a state that is no usual one."""
        return self.reason.removeprefix("None") or ("" if self.state in ("PENDING", "RUNNING") else self.state)


def refused(complaint: str) -> BadInputError | UnreachableError:
    """Return the error a failed submission is: nobody answers, or they will not have it."""
    if any(words in complaint for words in SILENT):
        return UnreachableError(f"SLURM does not answer: {complaint}")
    return BadInputError(f"SLURM refuses the job: {complaint}")


def entries(job: str) -> Mapping[str, Entry]:
    """Return the tasks of a job by their id (`17`, or `17_0` of an array), from whoever still knows of them.

    Raises UnreachableError where the controller does not answer.
    """
    said = run(["squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", f"--format={FIELDS}"])
    if said.code != 0 and NO_SUCH_JOB not in said.err:
        raise UnreachableError(f"SLURM does not answer: {said.complaint}")
    found = {entry.id: entry for entry in _queued(said.out)}
    if not found or any(entry.stage == "ended" for entry in found.values()):
        found = {**found, **{each.id: _joined(found.get(each.id), each) for each in _ended(job)}}
    return found


def _joined(queued: Entry | None, told: Entry) -> Entry:
    """Return what the queue says with the exit code of another source."""
    if queued is None or queued.stage != "ended":
        return queued or told
    return Entry(
        id=queued.id, state=queued.state, reason=queued.reason, nodes=queued.nodes, running_s=queued.running_s,
        limit_s=queued.limit_s, exit_code=told.exit_code,
    )  # fmt: skip


def _queued(text: str) -> Iterator[Entry]:
    for line in text.splitlines():
        words = line.split("|")
        if len(words) == 7:
            name, state, reason, nodes, took, limit, starts = words
            yield Entry(
                id=name.strip(),
                state=state,
                reason=reason,
                nodes=nodes,
                running_s=seconds(took),
                limit_s=seconds(limit),
                starts_at=starts if starts[:1].isdigit() else "",
            )


def _ended(job: str) -> Iterator[Entry]:
    """Yield ended tasks: the controller forgets them within minutes, the accounts, where there are any, never."""
    said = run(["scontrol", "--oneliner", "show", "job", job])
    told = [each for line in said.out.splitlines() if (each := _shown(line)) is not None]
    yield from told or _accounted(job)


def _shown(line: str) -> Entry | None:
    fields = dict(re.findall(r"(\w+)=(\S*)", line))
    if "JobState" not in fields:
        return None
    array, task = fields.get("ArrayJobId"), fields.get("ArrayTaskId", "")
    return Entry(
        id=f"{array}_{task}" if array and task.isdigit() else fields.get("JobId", ""),
        state=fields["JobState"],
        reason=fields.get("Reason", ""),
        nodes="" if fields.get("NodeList") == "(null)" else fields.get("NodeList", ""),
        running_s=seconds(fields.get("RunTime", "")),
        limit_s=seconds(fields.get("TimeLimit", "")),
        exit_code=exit_code(fields.get("ExitCode", "")),
    )


def _accounted(job: str) -> Iterator[Entry]:
    wanted = "--format=JobID,State,ExitCode,NodeList,Elapsed,Timelimit"
    try:
        said = run(["sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={job}", wanted])
    except BadInputError:
        return  # not installed here
    if said.code != 0:
        return
    for line in said.out.splitlines():
        words = line.split("|")
        if len(words) == 6 and words[1]:
            name, state, code, nodes, took, limit = words
            yield Entry(
                id=name, state=state.split()[0], nodes="" if nodes == "None assigned" else nodes,
                running_s=seconds(took), limit_s=seconds(limit), exit_code=exit_code(code),
            )  # fmt: skip


def exit_code(text: str) -> int | None:
    """Return the code of `CODE:SIGNAL`, a signal as a negative number; None for anything else."""
    code, _, number = text.partition(":")
    if not code.isdigit():
        return None
    return -int(number) if number.isdigit() and int(number) else int(code)


def seconds(text: str) -> float | None:
    """Return the seconds of a time as SLURM reads and writes it; None for UNLIMITED and what is no time.

    Minutes, `minutes:seconds`, `hours:minutes:seconds`, or `days-hours` with minutes and seconds or without.
    """
    for form in _TIMES:
        if found := form.fullmatch(text.strip()):
            return float(sum(int(number or 0) * _UNIT_S[unit] for unit, number in found.groupdict().items()))
    return None


def host_names(nodes: str) -> list[str]:
    """Return the nodes `gpu[1-2]` stands for."""
    if "[" not in nodes:
        return nodes.split(",") if nodes else []
    said = run(["scontrol", "show", "hostnames", nodes])
    return said.out.split() if said.code == 0 else [nodes]


def node_address(node: str) -> tuple[str, str]:
    """Return the address and the host name of a node; empty where nobody knows."""
    said = run(["scontrol", "--oneliner", "show", "node", node])
    fields = dict(re.findall(r"(\w+)=(\S*)", said.out))
    return fields.get("NodeAddr", ""), fields.get("NodeHostName", "")
