"""Rendered jobs with a real vLLM over two nodes of a real SLURM: ready, asked, cancelled, nothing left behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served_vllm import SITE, rendered
from slurm_cluster import MISSING, NODES, available, cluster
from vllm_sessions import PYTHON

from processes import lives

pytestmark = [pytest.mark.real, pytest.mark.skipif(not available(), reason=MISSING)]
PATIENCE_S = 400.0
PROMPTS, TOKENS = 16, 32
Slurm = dict[str, str]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A cluster, and what its jobs want of this machine."""
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield {**environment, **SITE, "SIZEWELL_READY_S": str(round(PATIENCE_S))}


def submitted(model: Path, folder: Path, slurm: Slurm, *words: str) -> str:
    """Render a job of two nodes, submit it and return its number."""
    flags = ("--nodes", "2", "--tp", "2", "--target", "slurm", "--shared", "--interface", "lo", "--time", "00:15:00")
    path = rendered(model, folder, *flags, *words) / "tiny.sbatch"
    return command(["sbatch", "--parsable", str(path)], slurm, folder).strip()


def command(words: list[str], slurm: Slurm, folder: Path | None = None) -> str:
    """Run one of the scheduler's commands and return what it says."""
    return subprocess.run(words, env=slurm, cwd=folder, capture_output=True, text=True, check=True).stdout


def state(number: str, slurm: Slurm) -> str:
    """Return the state of a job."""
    found = re.search(r"JobState=(\w+)", command(["scontrol", "show", "job", number], slurm))
    return found[1] if found else ""


def log(folder: Path) -> str:
    """Return what the job said."""
    return "".join(path.read_text() for path in folder.glob("*.log"))


def until(good: Callable[[], bool], folder: Path, seconds: float = PATIENCE_S) -> None:
    """Wait until something holds; where it does not, show what the job said."""
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline, log(folder)[-6000:]
        time.sleep(0.25)


def of_job(number: str, slurm: Slurm) -> dict[int, str]:
    """Return the processes of a job of this cluster with their titles: those that carry its marks, and their children.

    An engine that gives its processes titles overwrites what they carry.
    """
    marks = (f"SLURM_JOB_ID={number}".encode(), f"SLURM_CONF={slurm['SLURM_CONF']}".encode())
    said = command(["ps", "-eo", "pid=,ppid=,args="], slurm).splitlines()
    rows = {int(pid): (int(parent), title) for pid, parent, title in (line.split(maxsplit=2) for line in said)}
    found = {pid for pid in rows if all(mark in carried(pid) for mark in marks)}
    while more := {pid for pid, (parent, _) in rows.items() if parent in found} - found:
        found |= more
    return {pid: rows[pid][1] for pid in found}


def carried(pid: int) -> list[bytes]:
    """Return the environment of a process; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def idle(slurm: Slurm) -> bool:
    """Return whether every node waits for work."""
    return len(command(["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"], slurm).split()) == len(NODES)


def test_two_nodes_serve_one_engine_and_a_cancelled_job_leaves_nothing(
    slurm: Slurm, tiny_model: Path, tmp_path: Path
) -> None:
    number = submitted(tiny_model, tmp_path, slurm, "--style", "venv", "--environment", str(PYTHON.parents[1]))
    until(lambda: "answers on gpu1" in log(tmp_path) or state(number, slurm) == "FAILED", tmp_path)
    found = re.search(r"answers on gpu1, port (\d+)", log(tmp_path))
    assert found, log(tmp_path)[-6000:]
    assert {"0: ", "1: "} <= {line[:3] for line in log(tmp_path).splitlines()}, "both nodes speak"
    row = {"prompt": "hello", "max_tokens": TOKENS, "ignore_eos": True}
    rows = [json.dumps({"custom_id": str(number), **row}) for number in range(PROMPTS)]
    (tmp_path / "p.jsonl").write_text("\n".join(rows))
    words = [sys.executable, "-m", "sizewell", "batch", "p.jsonl", "--url", f"127.0.0.1:{found[1]}", "--stream"]
    done = subprocess.run([*words, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr + log(tmp_path)[-6000:]
    answered = json.loads(done.stdout)
    assert (answered["answered"], answered["usage"]["output_tokens"]) == (PROMPTS, PROMPTS * TOKENS)
    running = of_job(number, slurm)
    assert sum("VLLM" in title for title in running.values()) >= 2, running
    command(["scancel", number], slurm)
    until(lambda: state(number, slurm) == "CANCELLED" and idle(slurm), tmp_path, 120)
    until(lambda: not of_job(number, slurm) and not [pid for pid in running if lives(pid)], tmp_path, 30)


def folder_with_ray(folder: Path) -> Path:
    """Return what looks like an environment that holds vLLM and Ray, made of the two that hold one each."""
    ray_python, parts = Path(sys.executable), folder / "packages"
    where = "import ray; print(ray.__path__[0])"
    ray = Path(subprocess.run([ray_python, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    (folder / "bin").mkdir(parents=True)
    parts.mkdir()
    for path in (ray, ray.parent / "msgpack", *ray.parent.glob("ray-*.dist-info")):
        (parts / path.name).symlink_to(path)
    scripts = {
        "vllm": f'exec {PYTHON.parent}/vllm "$@"',
        "python3": f'exec {PYTHON} "$@"',
        "ray": f'exec {PYTHON} -c "from ray.scripts.scripts import main; main()" "$@"',
    }
    for name, line in scripts.items():
        script = folder / "bin" / name
        script.write_text(f"#!/bin/sh\nexport PYTHONPATH={parts}\n{line}\n")
        script.chmod(0o755)
    return folder


def test_nodes_join_ray_and_what_vllm_says_ends_the_job(slurm: Slurm, tiny_model: Path, tmp_path: Path) -> None:
    """On a processor vLLM itself refuses Ray: the job gets as far as that, says so and has failed."""
    pytest.importorskip("ray")
    both = folder_with_ray(tmp_path / "both")
    (tmp_path / "job").mkdir()
    words = ("--launcher", "ray", "--style", "venv", "--environment", str(both))
    number = submitted(tiny_model, tmp_path / "job", {**slurm, "SIZEWELL_JOIN_S": "180"}, *words)
    until(lambda: state(number, slurm) not in ("PENDING", "RUNNING", "COMPLETING"), tmp_path / "job")
    said = log(tmp_path / "job")
    assert state(number, slurm) == "FAILED", said[-6000:]
    assert "never joined Ray" not in said, said[-6000:]
    assert "does not support ray" in said, said[-6000:]
    assert "the engine on node 0 (gpu1) ended with" in said
    until(lambda: idle(slurm) and not of_job(number, slurm), tmp_path / "job", 120)
