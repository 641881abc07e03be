"""`sizewell up` on a real SLURM of two nodes: ready, seen, taken down; and every way a job can fail, named.

The engine is the emulator, behind the name and the flags of vLLM.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))
from slurm_cluster import available, cluster  # beside this file, which no package holds

from sizewell.deployer.slurm_job import CLOCKS_S

pytestmark = [pytest.mark.real, pytest.mark.skipif(not available(), reason="needs slurm-wlm, munge and root")]
PATIENCE_S = 60
ENGINE = """#!{python}
import os, sys, time
words, fate = sys.argv[1:], os.environ.get("FATE", "")
said = {{
    "bad flag": ("vllm: error: unrecognized arguments: --no-such-flag", 2),
    "no model": (
        "OSError: nobody/nothing is not a local folder and is not a valid model identifier listed on "
        "'https://huggingface.co/models'", 1,
    ),
    "port": ("OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): in use", 1),
    "memory": ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", 1),
    "nothing": ("", 0),
}}
if fate in said:
    print("INFO 11-29 20:43:09 [api_server.py:1] vLLM API server version 0.33.0", said[fate][0], sep="\\n", flush=True)
    sys.exit(said[fate][1])
if "--headless" in words:
    print("INFO 11-29 20:43:09 [serve.py:1] Launching a follower", flush=True)
    time.sleep(600)
value = lambda flag: words[words.index(flag) + 1]
os.execv(sys.executable, [
    sys.executable, "-m", "sizewell", "emulate", "llama-3.1-8b", "--on", "h100", "--port", value("--port"),
    "--served-model-name", value("--served-model-name"), "--load-time", "2s", "--speed", "20",
    *os.environ.get("EMULATOR", "").split(),
])
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cluster for all tests of this file."""
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@dataclass(frozen=True, slots=True)
class Site:
    """A user of the cluster with an engine and a folder of records of their own."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str, **told: str) -> subprocess.CompletedProcess[str]:
        """Run `sizewell`."""
        command = [sys.executable, "-m", "sizewell", *words]
        environment = {**self.environment, **told}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)

    def up(self, *words: str, fate: str = "", emulator: str = "", **flags: str) -> subprocess.CompletedProcess[str]:
        """Start one replica of a small model."""
        return self.run(*self.words(*words, **flags), FATE=fate, EMULATOR=emulator)

    def words(self, *words: str, **flags: str) -> list[str]:
        """Return what starts it."""
        usual = {
            "on": "1xh100", "partition": "gpu", "style": "venv", "environment": str(self.folder), "time": "00:30:00",
            "name": "tiny",
        }  # fmt: skip
        said = [f"--{flag}={value}" for flag, value in {**usual, **flags}.items()]
        return ["up", "llama-3.1-8b", "--target=slurm", "--shared", *said, *words]

    def status(self, name: str = "tiny") -> Any:
        """Return how it stands."""
        return json.loads(self.run("status", name, "--json").stdout)["deployments"][0]

    def slurm(self, *words: str) -> str:
        """Run one of the scheduler's commands."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True).stdout

    def jobs(self) -> list[str]:
        """Return the jobs the scheduler still has to do with."""
        return self.slurm("squeue", "--noheader", "--format=%i %T").split("\n")[:-1]

    def until(self, good: Callable[[], bool]) -> None:
        """Wait until something holds."""
        until_s = time.monotonic() + PATIENCE_S
        while not good():
            assert time.monotonic() < until_s, self.status()["standing"]
            time.sleep(0.3)

    def is_clean(self) -> bool:
        """Return whether nodes are idle, and no engine of ours lives."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            idle = self.slurm("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()
            mine = [path for path in Path("/proc").glob("[0-9]*/environ") if str(self.folder).encode() in _read(path)]
            if len(idle) == 2 and not mine and not self.jobs():
                return True
            time.sleep(0.2)
        return False


def _read(path: Path) -> bytes:
    try:
        return b"" if path.parent.name == str(os.getpid()) else path.read_bytes()
    except OSError:
        return b""


@pytest.fixture
def site(slurm: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    """A user who leaves nothing behind."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vllm").write_text(ENGINE.format(python=sys.executable))
    (tmp_path / "bin" / "vllm").chmod(0o755)
    here = Site(tmp_path, {**slurm, "SIZEWELL_HOME": str(tmp_path / "home")})
    yield here
    for name in json.loads(here.run("status", "--json").stdout)["deployments"]:
        assert here.run("down", name["name"]).returncode == 0
    here.slurm("scancel", "--user", "root")  # what a failed test left would keep the next ones waiting
    assert here.is_clean()


def test_it_gets_ready_is_seen_and_taken_down(site: Site) -> None:
    said = site.up()
    assert said.returncode == 0, said.stderr
    stages = [line.split(": ")[1].split(" ")[0] for line in said.stderr.splitlines() if line.startswith("tiny: ")]
    assert stages[-1] == "READY" and "LOADING" in stages
    seen = site.status()
    assert seen["standing"]["stage"] == "READY" and seen["ready_at"]
    assert seen["parts"][0]["url"].startswith("http://127.0.0.1:") and seen["parts"][0]["nodes"][0] in ("gpu1", "gpu2")
    assert "Starting vLLM API server" in site.run("logs", "tiny").stdout
    assert "is up already" in site.up().stderr
    down = site.run("down", "tiny", "--json")
    assert down.returncode == 0 and not json.loads(down.stdout)["killed"]
    assert site.is_clean()
    assert site.status()["standing"]["stage"] == "ENDED"
    assert [path.name for path in (site.folder / "home" / "deployments" / "tiny").glob(".tiny-*")] == []


@pytest.mark.parametrize(
    ("fate", "cause"),
    [
        ("bad flag", "bad-flag"), ("no model", "no-such-model"), ("port", "port-taken"), ("memory", "out-of-memory"),
        ("nothing", "engine-death"),
    ],
)  # fmt: skip
def test_a_start_that_fails_says_why(site: Site, fate: str, cause: str) -> None:
    said = site.up("--json", fate=fate)
    assert said.returncode == 1, said.stderr
    standing = json.loads(said.stdout)["deployment"]["standing"]
    assert standing["stage"] == "FAILED"
    assert standing["failure"]["cause"] in (cause, "unknown" if fate == "nothing" else cause)
    assert standing["failure"]["evidence"] and standing["failure"]["advice"]


@pytest.mark.parametrize(
    ("style", "environment"),
    [("venv", "/no/such folder"), ("conda", "$(nobody)"), ("module", "nothing/1.0"), ("apptainer", "/no/image.sif")],
)
def test_an_engine_that_is_not_installed_is_named(site: Site, style: str, environment: str) -> None:
    said = site.up("--json", style=style, environment=environment)
    failure = json.loads(said.stdout)["deployment"]["standing"]["failure"]
    assert said.returncode == 1 and failure["cause"] == "not-installed", failure
    assert "--style" in failure["advice"]


def test_the_end_of_its_time_is_named(site: Site) -> None:
    said = site.up("--json", time="00:01:00", emulator="--load-time 100s")
    standing = json.loads(said.stdout)["deployment"]["standing"]
    assert (said.returncode, standing["stage"], standing["failure"]["cause"]) == (1, "FAILED", "walltime")


def test_an_engine_that_dies_with_code_0_has_failed(site: Site) -> None:
    assert site.up(emulator="--die-after 2s --exit-after 1s").returncode == 0
    until_s = time.monotonic() + PATIENCE_S
    while site.status()["standing"]["stage"] in ("READY", "DEGRADED"):
        assert time.monotonic() < until_s
        time.sleep(0.3)
    standing = site.status()["standing"]
    assert standing["stage"] == "FAILED" and standing["failure"]["cause"] == "engine-death"


def test_replicas_are_an_array_and_each_is_seen(site: Site) -> None:
    said = site.up(on="2xh100", tp="1", replicas="2")
    assert said.returncode == 0, said.stderr
    seen = site.status()
    urls = {part["url"] for part in seen["parts"]}
    assert len(urls) == 2 and {part["standing"]["stage"] for part in seen["parts"]} == {"READY"}
    assert all(part.count("_") == 1 for part in seen["ids"])
    site.slurm("scancel", "--full", seen["ids"][1])
    until_s = time.monotonic() + PATIENCE_S
    while site.status()["parts"][1]["standing"]["stage"] == "READY":
        assert time.monotonic() < until_s
        time.sleep(0.3)
    assert site.status()["parts"][0]["standing"]["stage"] == "READY"


def test_a_replica_over_two_nodes_is_one(site: Site) -> None:
    words = site.words(on="16xh100", tp="8", pp="2")
    said = site.run(*[word if word != "llama-3.1-8b" else "r1" for word in words])
    assert said.returncode == 0, said.stderr
    (part,) = site.status()["parts"]
    assert (part["nodes"], part["standing"]["stage"]) == (["gpu1", "gpu2"], "READY")
    assert "Launching a follower" in site.run("logs", "tiny").stdout
    assert site.run("down", "tiny").returncode == 0
    assert site.is_clean()


def test_a_job_that_waits_says_for_what_and_is_cancelled(site: Site) -> None:
    blocker = site.slurm("sbatch", "--parsable", "--exclusive", "--nodes=2", "--output=/dev/null", "--wrap=sleep 600")
    said = site.up("--timeout", "4s")
    assert said.returncode == 1
    assert "PENDING: " in said.stderr and site.status()["standing"]["stage"] == "PENDING"
    assert site.status()["standing"]["reason"].startswith(("Resources", "Priority"))
    assert site.run("down", "tiny").returncode == 0
    assert [job.split()[0] for job in site.jobs()] == [blocker.strip()]
    site.slurm("scancel", blocker.strip())


def test_a_wait_says_when_it_is_to_end_and_what_keeps_it(site: Site) -> None:
    blocker = site.slurm(
        "sbatch", "--parsable", "--exclusive", "--nodes=2", "--time=10", "--output=/dev/null", "--wrap=sleep 600"
    ).strip()
    assert site.up("--no-wait").returncode == 0
    site.until(lambda: "expected to start at " in site.status()["standing"]["reason"])
    (job,) = site.status()["ids"]
    site.slurm("scontrol", "hold", job)
    site.until(lambda: "scontrol release" in site.status()["standing"]["reason"])
    site.slurm("scancel", job)
    site.until(lambda: site.status()["standing"]["stage"] == "ENDED")
    assert site.status()["standing"]["failure"] is None
    site.slurm("scancel", blocker)


@pytest.mark.parametrize("lost", [False, True], ids=["requeued", "node lost"])
def test_what_is_put_back_in_the_queue_loads_again(site: Site, lost: bool) -> None:
    assert site.up().returncode == 0
    first, (job,) = site.status(), site.status()["ids"]
    if lost:
        site.slurm("scontrol", "update", f"node={first['parts'][0]['nodes'][0]}", "state=down", "reason=a test")
    else:
        site.slurm("scontrol", "requeue", job)
    site.until(lambda: "ran before and waits again" in site.status()["standing"]["reason"])
    if lost:
        with suppress(subprocess.CalledProcessError):  # one that answers again may have come back by itself
            site.slurm("scontrol", "update", f"node={first['parts'][0]['nodes'][0]}", "state=resume")
    site.until(lambda: len(site.slurm("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()) == 2)
    time.sleep(CLOCKS_S + 1)  # in life the scheduler waits longer than clocks are apart
    site.slurm("scontrol", "update", f"job={job}", "StartTime=now")
    until_s = time.monotonic() + PATIENCE_S
    while (now := site.status())["standing"]["stage"] != "READY":
        assert now["standing"]["stage"] in ("PENDING", "ALLOCATED", "LOADING", "WARMING"), now["standing"]
        assert time.monotonic() < until_s, now["standing"]
        if "scontrol release" in now["standing"]["reason"]:  # a node may refuse a job so soon after it was lost
            site.slurm("scontrol", "release", job)
    assert now["ready_at"] > first["ready_at"], "each start is written down"


def test_a_job_somebody_else_cancels_has_ended(site: Site) -> None:
    assert site.up().returncode == 0
    site.slurm("scancel", *site.status()["ids"])
    site.until(lambda: site.status()["standing"]["stage"] == "ENDED")


def test_a_dry_run_passes_the_verdict_on(site: Site) -> None:
    said = site.up("--dry-run")
    assert said.returncode == 0 and "to start at" in said.stderr and "#SBATCH" in said.stdout
    refused = site.up("--dry-run", partition="nowhere")
    assert refused.returncode == 2 and "invalid partition" in refused.stderr
    assert site.jobs() == [] and json.loads(site.run("status", "--json").stdout)["deployments"] == []


def test_a_refused_job_leaves_nothing_behind(site: Site) -> None:
    assert "SLURM refuses the job" in site.up(partition="nowhere").stderr
    assert site.run("status", "--all", "--json").stdout.count('"name"') == 0


def test_an_interrupt_leaves_it_running_and_known(site: Site) -> None:
    command = [sys.executable, "-m", "sizewell", *site.words()]
    told = {**site.environment, "EMULATOR": "--load-time 20s"}
    with subprocess.Popen(command, env=told, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        while "LOADING" not in (line := waiting.stderr.readline()):
            assert line
        waiting.send_signal(signal.SIGINT)
        rest = waiting.stderr.read()
    assert waiting.returncode == 130 and "sizewell down tiny" in rest
    assert site.status()["standing"]["stage"] == "LOADING"
    assert site.run("down", "tiny").returncode == 0
    assert site.is_clean()
