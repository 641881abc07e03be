"""Rendered jobs on a real SLURM of two nodes: accepted as they are, ready, drained, and failed when the engine dies."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launches import HOSTILE, deployment, launch, split
from sizewell.deployer.launch import Launch, Slurm
from sizewell.deployer.render import render
from sizewell.planner.stated import Stated

sys.path.append(str(Path(__file__).parent))
from slurm_cluster import MISSING, available, cluster  # beside this file, which no package holds

pytestmark = [pytest.mark.real, pytest.mark.skipif(not available(), reason=MISSING)]
STAND_IN = Path(__file__).parents[1] / "deployer" / "stand_in"
PATIENCE_S = 40


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cluster for all tests of this file."""
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


def script(asked: Launch, folder: Path) -> Path:
    """Write the job of a launch."""
    (text,) = render(asked, "slurm").values()
    path = folder / "job.sbatch"
    path.write_text(text)
    return path


def two_nodes(engine_folder: Path) -> Launch:
    """R1 over two nodes, served by the stand-in."""
    asked = launch(deployment("r1", "16xh100", "vllm@0.33", Stated(tp=8, pp=2)), slurm=stood_in(engine_folder))
    return replace(asked, site=replace(asked.site, served_name=HOSTILE[4]))


def stood_in(engine_folder: Path) -> Slurm:
    """Return a site whose programs are the stand-ins; the scheduler's commands stay real."""
    (engine_folder / "bin").mkdir()
    for name in ("vllm", "vllm-router"):
        (engine_folder / "bin" / name).symlink_to(STAND_IN / "bin" / name)
    return Slurm(partition="gpu", exclusive=False, style="venv", environment=str(engine_folder), time="00:05:00")


def submitted(asked: Launch, folder: Path, slurm: dict[str, str], **told: str) -> str:
    """Submit a job and return its number."""
    words = ["sbatch", "--parsable", str(script(asked, folder))]
    environment = {**slurm, **told}
    return subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def state(number: str, slurm: dict[str, str]) -> str:
    """Return the state of a job."""
    said = subprocess.run(["scontrol", "show", "job", number], env=slurm, capture_output=True, text=True, check=True)
    return re.findall(r"JobState=(\w+)", said.stdout)[0]


def ended(number: str, slurm: dict[str, str]) -> str:
    """Return the state of a job once it ended."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := state(number, slurm)) in ("PENDING", "RUNNING", "COMPLETING") and time.monotonic() < deadline:
        time.sleep(0.2)
    return now


def log(folder: Path) -> str:
    """Return what the job said."""
    return "".join(path.read_text() for path in folder.glob("*.log"))


@pytest.mark.parametrize("launcher", ["mp", "ray"])
@pytest.mark.parametrize("exclusive", [True, False])
def test_the_scheduler_accepts_the_job(launcher: str, exclusive: bool, slurm: dict[str, str], tmp_path: Path) -> None:
    site = Slurm(launcher=launcher, exclusive=exclusive, partition="gpu")  # type: ignore[arg-type]
    for on, stated in (("16xh100", Stated(tp=8, pp=2)), ("8xh200", Stated(tp=8))):
        path = script(launch(deployment("r1", on, "vllm@0.33", stated), slurm=site), tmp_path)
        done = subprocess.run(["sbatch", "--test-only", path], env=slurm, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_replicas_are_an_array(slurm: dict[str, str], tmp_path: Path) -> None:
    site = Slurm(exclusive=False)
    path = script(
        launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", Stated(tp=2, replicas=4)), slurm=site), tmp_path
    )
    done = subprocess.run(["sbatch", "--test-only", path], env=slurm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_gets_ready_and_drains(slurm: dict[str, str], tmp_path: Path) -> None:
    number = submitted(two_nodes(tmp_path), tmp_path, slurm)
    deadline = time.monotonic() + PATIENCE_S
    while "answers on gpu1" not in log(tmp_path):
        assert time.monotonic() < deadline, log(tmp_path)
        time.sleep(0.2)
    subprocess.run(["scancel", "--signal=TERM", "--batch", number], env=slurm, check=True)
    assert ended(number, slurm) == "COMPLETED"
    assert log(tmp_path).count("drained") == 2
    assert not (tmp_path / "pwned").exists()


def test_a_dead_engine_fails_the_job(slurm: dict[str, str], tmp_path: Path) -> None:
    number = submitted(two_nodes(tmp_path), tmp_path, slurm, STAND_IN="dies")
    assert ended(number, slurm) == "FAILED"
    assert "ended with 0" in log(tmp_path)


@pytest.mark.parametrize("pools", [("2xTP1", "1xTP4"), ("1xTP8", "1xTP8"), ("4xTP2", "1xTP8")])
@pytest.mark.parametrize("engine", ["vllm@0.33", "sglang@0.5.23"])
def test_the_scheduler_accepts_pools(
    engine: str, pools: tuple[str, str], slurm: dict[str, str], tmp_path: Path
) -> None:
    path = script(launch(deployment("llama-3.1-8b", "16xh100", engine, split(*pools))), tmp_path)
    done = subprocess.run(["sbatch", "--test-only", path], env=slurm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pools_get_ready_behind_their_router_and_drain(slurm: dict[str, str], tmp_path: Path) -> None:
    built = deployment("llama-3.1-8b", "16xh100", "vllm@0.33", split("4xTP2", "1xTP8"))
    asked = launch(built, slurm=stood_in(tmp_path))
    number = submitted(replace(asked, site=replace(asked.site, served_name=HOSTILE[4])), tmp_path, slurm,
                       VLLM_API_KEY="sesame")  # fmt: skip
    deadline = time.monotonic() + PATIENCE_S
    while "answers on gpu1" not in log(tmp_path):
        assert time.monotonic() < deadline, log(tmp_path)
        time.sleep(0.2)
    subprocess.run(["scancel", "--signal=TERM", "--batch", number], env=slurm, check=True)
    assert ended(number, slurm) == "COMPLETED"
    assert log(tmp_path).count("drained") == 6
    assert len(re.findall("kv_producer", log(tmp_path))) == 4
    assert not (tmp_path / "pwned").exists()


def test_a_dead_pool_fails_the_job(slurm: dict[str, str], tmp_path: Path) -> None:
    built = deployment("llama-3.1-8b", "16xh100", "vllm@0.33", split("4xTP2", "1xTP8"))
    told = {"STAND_IN": "dies", "VLLM_API_KEY": "sesame"}
    number = submitted(launch(built, slurm=stood_in(tmp_path)), tmp_path, slurm, **told)
    assert ended(number, slurm) == "FAILED"
    assert re.search(r"(prefill|decode) \d on gpu\d ended with 0", log(tmp_path))
