"""A deployment as a SLURM job: an array of jobs for several replicas."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from sizewell.deployer.launch import LOOPBACK
from sizewell.deployer.log_file import GrowingLog, News, read_lines
from sizewell.deployer.programs import PATIENCE_S, run
from sizewell.deployer.slurm_queue import Entry, entries, node_address, refused
from sizewell.deployer.started import Keep, Part, Started, Stopped
from sizewell.specs.errors import BadInputError, UnreachableError
from sizewell.specs.standing import HttpFacts, JobFacts

TICKET = "job"
"""The file `sbatch` itself writes the job's number to: it is known even when whoever submitted it is killed."""
ANSWERS = re.compile(r"sizewell: answers on (\S+), port (\d+)")
GONE = JobFacts(stage="ended", reason="SLURM knows it no more")
NO_LOG = "its log, which alone says where it answers, is not there to be read"
KILL_S = 90.0
CLOCKS_S = 5.0
"""How far the clocks of a file server and of this machine may be apart."""
PAUSE_S = 0.5


class Slurm:
    """A deployment submitted to SLURM from here."""

    def __init__(self, started: Started, folder: Path) -> None:
        self._started, self._folder = started, folder
        self._logs: dict[int, GrowingLog] = {}
        self._begun_at: dict[str, float] = {}

    def start(self, keep: Keep) -> None:
        """Submit the job.

        Raises BadInputError with the scheduler's words where it refuses, UnreachableError where none answers.
        """
        with (self._folder / TICKET).open("w") as ticket:
            try:
                done = subprocess.run(
                    ["sbatch", "--parsable", self._started.file], cwd=self._folder, stdout=ticket,
                    stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_S,
                )  # fmt: skip
            except FileNotFoundError as error:
                raise BadInputError("there is no sbatch here: run this where jobs are submitted") from error
            except subprocess.TimeoutExpired as error:
                raise UnreachableError(f"sbatch did not answer within {PATIENCE_S:g} s") from error
        if done.returncode != 0:
            raise refused(" ".join(done.stderr.split()))
        self._started = replace(self._started, parts=self._parts())
        keep(self._started.parts)

    def _parts(self) -> tuple[Part, ...]:
        """Return the parts, also those of a submission that was killed before it could write them down."""
        if self._started.parts:
            return self._started.parts
        try:
            job = (self._folder / TICKET).read_text().strip().partition(";")[0]
        except FileNotFoundError:
            return ()
        if not job.isdigit():
            return ()
        name, count = Path(self._started.file).stem, self._started.replicas
        ids = [job] if count == 1 else [f"{job}_{number}" for number in range(count)]
        return tuple(Part(id=each, log=f"{name}-{each}.log") for each in ids)

    def facts(self) -> tuple[JobFacts, ...]:
        """Return what the scheduler says of each replica's job."""
        found = self._entries()
        self._begun_at = {name: each.begun_at for name, each in found.items()}
        return tuple(found[part.id].facts() if part.id in found else GONE for part in self._parts())

    def _entries(self) -> Mapping[str, Entry]:
        parts = self._parts()
        return entries(parts[0].id.partition("_")[0]) if parts else {}

    def lines(self, number: int) -> list[str]:
        """Return the log of a replica's job, each line behind the number of its node."""
        path = self._log(number)
        return read_lines(path) if path is not None else []

    def news(self, number: int) -> News:
        """Return what is new in it."""
        path = self._log(number)
        if path is None:
            self._logs.pop(number, None)
            return News(anew=True)
        return self._logs.setdefault(number, GrowingLog(path)).news()

    def _log(self, number: int) -> Path | None:
        """Return a replica's log; none before there is one, nor while it is that of a run before this one.

        A job that was put back in the queue runs for as long as a prolog takes before it writes its log anew.
        """
        parts = self._parts()
        if number >= len(parts):
            return None
        path = self._folder / parts[number].log
        try:
            written_at = path.stat().st_mtime
        except OSError:  # not there, or on a file server that has lost it
            return None
        return path if written_at >= self._begun_at.get(parts[number].id, 0.0) - CLOCKS_S else None

    @contextmanager
    def reach(self, number: int) -> Iterator[str | HttpFacts]:
        """Give the server's address where it can be reached from here, else what the job itself found out.

        The job says that it answers once one token came back.
        """
        answers = [found for line in self.lines(number) if (found := ANSWERS.search(line))]
        if not answers:
            yield HttpFacts(error="" if self._log(number) else NO_LOG)
            return
        node, port = answers[-1].groups()
        host = _host(node, self._started.host)
        yield f"http://{host}:{port}" if host else HttpFacts(listens=True, healthy=True, gave_token=True)

    def stop(self) -> Stopped:
        """Let running engines drain, cancel what has not ended then, and wait until the scheduler has it gone."""
        parts = self._parts()
        here = self._entries()
        for part in parts:
            stage = here[part.id].stage if part.id in here else "ended"
            if stage == "waiting":
                self._cancel(part.id)
            elif stage == "running":
                self._cancel("--signal=TERM", "--batch", part.id)
        killed = not _wait(self._is_over, self._started.stop_s)
        if killed:
            self._cancel(parts[0].id.partition("_")[0])
            _wait(self._is_over, KILL_S)
        left = tuple(f"job {each.id} ({each.state})" for each in self._entries().values() if each.stage != "ended")
        removed = [path.name for path in self._folder.glob(f".{Path(self._started.file).stem}-*") if path.is_dir()]
        for name in () if left else removed:
            rmtree(self._folder / name, ignore_errors=True)
        return Stopped(killed=killed, removed=() if left else tuple(removed), alive=left)

    def _cancel(self, *words: str) -> None:
        said = run(["scancel", *words])
        if said.code != 0 and "Invalid job id" not in said.err and "already" not in said.err:
            raise BadInputError(f"SLURM does not cancel {words[-1]}: {said.complaint}")

    def _is_over(self) -> bool:
        return all(entry.stage == "ended" for entry in self._entries().values())


def rehearse(files: Mapping[str, str]) -> str:
    """Return the verdict on a job that is not to run; raises what `refused` says of one."""
    with TemporaryDirectory(prefix="sizewell-") as folder:
        ((name, text),) = files.items()
        (Path(folder) / name).write_text(text, encoding="utf-8")
        said = run(["sbatch", "--test-only", name], folder=Path(folder))
    if said.code != 0:
        raise refused(said.complaint)
    return said.complaint


def _host(node: str, listens: str) -> str:
    """Return where a server on a node can be asked from here; nothing where it listens to its own machine only."""
    address, name = node_address(node)
    mine = {socket.gethostname().partition(".")[0], *LOOPBACK}
    if listens in LOOPBACK:
        return "127.0.0.1" if {node.partition(".")[0], name.partition(".")[0], address} & mine else ""
    return address or node


def _wait(over: Callable[[], bool], at_most_s: float) -> bool:
    until_s = time.monotonic() + at_most_s
    while not over():
        if time.monotonic() > until_s:
            return False
        time.sleep(PAUSE_S)
    return True
