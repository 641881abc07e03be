"""The same sweep on a real Ray cluster gives the same rows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
ADDRESS = "127.0.0.1:26379"
RAY = str(Path(sys.executable).parent / "ray")
WORDS = (
    "sweep", "llama-3.1-8b", "--on", "h100", "--requests", "40", "--answer", "50",
    "--vary", "rate=2/s,8/s", "--vary", "seed=0..2", "--json",
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a head node with two CPUs and stop what it started."""
    pytest.importorskip("ray")
    folder = Path("/tmp/sizewell-ray")  # Ray's sockets need a short path
    shutil.rmtree(folder, ignore_errors=True)
    started = subprocess.Popen(
        [RAY, "start", "--head", "--block", "--port", ADDRESS.rpartition(":")[2], "--num-cpus", "2",
         "--node-ip-address", "127.0.0.1", "--include-dashboard", "false", "--temp-dir", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_until_up()
        yield ADDRESS
    finally:
        started.terminate()
        started.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_up() -> None:
    for _ in range(30):
        said = subprocess.run([RAY, "status", "--address", ADDRESS], capture_output=True, check=False, timeout=60)
        if said.returncode == 0:
            return
    pytest.fail("the Ray cluster did not come up")


def test_a_ray_cluster_gives_the_same_rows(cluster: str) -> None:
    def swept(*more: str) -> object:
        words = [sys.executable, "-m", "sizewell", *WORDS, *more]
        return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout)

    assert swept("--ray", cluster) == swept("--cores", "1")
