"""One start of a real vLLM, and of a real Ray, for every test that asks them something."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

sys.path.append(str(Path(__file__).parent))  # no package holds what lies beside this file

import vllm_sessions
from served_vllm import Served, free_port, make_model, serving

RAY = str(Path(sys.executable).parent / "ray")
NO_VLLM = "vLLM is not installed in .venv-vllm: make .venv-vllm/.installed"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few million random weights."""
    if not vllm_sessions.PYTHON.exists():
        pytest.skip(NO_VLLM)
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def vllm(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server that all tests share; those that harm one start their own."""
    with serving(tiny_model, tmp_path_factory.mktemp("vllm")) as served:
        yield served


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """Start a head node with two CPUs and stop what it started."""
    pytest.importorskip("ray")
    folder, port = Path(mkdtemp(prefix="ray-", dir="/tmp")), free_port()  # Ray's sockets need a short path
    started = subprocess.Popen(
        [RAY, "start", "--head", "--block", "--port", str(port), "--num-cpus", "2", "--node-ip-address", "127.0.0.1",
         "--include-dashboard", "false", "--disable-usage-stats", "--temp-dir", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        _wait_until_up(f"127.0.0.1:{port}", started)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(started.pid, signal.SIGKILL)  # asked to end, it would drain for half a minute
        started.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_up(address: str, started: subprocess.Popen[bytes]) -> None:
    for _ in range(30):
        said = subprocess.run([RAY, "status", "--address", address], capture_output=True, check=False, timeout=60)
        if said.returncode == 0:
            return
        assert started.poll() is None, "Ray ended while it started"
    pytest.fail("the Ray cluster did not come up")
