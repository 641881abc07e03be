"""The job script run by bash, with stand-ins for the scheduler's commands and the engine."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from launches import deployment, launch
from sizewell.deployer.launch import Launch
from sizewell.deployer.render import render
from sizewell.planner.stated import Stated
from stand_in_job import PATIENCE_S, job, wait_for


def test_it_says_where_it_answers_and_drains_on_the_signal(two_nodes: Launch, tmp_path: Path) -> None:
    with job(render(two_nodes, "slurm"), 2, tmp_path) as running:
        wait_for("answers on node1", tmp_path)
        # When the first engine answers, the second may still be starting.
        log = wait_for("--headless", tmp_path)
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE_S) == 0
    told = [line for line in log.split("\n") if line.startswith("stand-in: serve")]
    assert sorted("--headless" in line for line in told) == [False, True]
    assert sorted(re.findall(r"--node-rank (\d)", log)) == ["0", "1"]
    assert (tmp_path / "log").read_text().count("drained") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.sbatch", "log", "step"]


def test_workers_compute_until_their_engine_has_drained(two_nodes: Launch, tmp_path: Path) -> None:
    """Told to end with their engine, as TERM tells every process of a step, they leave it with open requests."""
    with job(render(two_nodes, "slurm"), 2, tmp_path, STAND_IN="workers") as running:
        wait_for("answers on node1", tmp_path)
        wait_for("--headless", tmp_path)
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE_S) == 0
    log = (tmp_path / "log").read_text()
    assert "drained" in log
    assert "cut off" not in log.partition("stand-in: drained")[0]


def test_a_node_that_never_joins_ends_the_job_and_is_named(two_nodes: Launch, tmp_path: Path) -> None:
    with job(render(two_nodes, "slurm"), 2, tmp_path, STAND_IN_ABSENT="node2", SIZEWELL_JOIN_S="2") as running:
        assert running.wait(PATIENCE_S) == 1
    assert "never joined within 2 s: node2" in (tmp_path / "log").read_text()


def test_an_engine_that_ends_with_code_0_has_failed_all_the_same(one_node: Launch, tmp_path: Path) -> None:
    with job(render(one_node, "slurm"), 1, tmp_path, STAND_IN="dies") as running:
        assert running.wait(PATIENCE_S) == 1
    assert "the engine on node 0 (node1) ended with 0" in (tmp_path / "log").read_text()


def test_a_server_that_never_answers_ends_the_job(one_node: Launch, tmp_path: Path) -> None:
    with job(render(one_node, "slurm"), 1, tmp_path, STAND_IN="mute", SIZEWELL_READY_S="2") as running:
        assert running.wait(PATIENCE_S) == 1
    assert "not ready after 2 s on node1" in (tmp_path / "log").read_text()


def test_a_server_that_refuses_every_prompt_ends_the_job_at_once(one_node: Launch, tmp_path: Path) -> None:
    with job(render(one_node, "slurm"), 1, tmp_path, STAND_IN="wordless") as running:
        assert running.wait(PATIENCE_S) == 1
    log = (tmp_path / "log").read_text()
    assert "sizewell: healthy, and refuses a request for one token: 400" in log
    assert "The decoder prompt cannot be empty" in log


@pytest.mark.parametrize("launcher", ["mp", "ray"])
def test_nothing_waits_a_fixed_time(launcher: str) -> None:
    asked = launch(deployment("r1", "16xh100", "vllm@0.33", Stated(tp=16)), slurm=_slurm(launcher))
    (text,) = render(asked, "slurm").values()
    body = text.replace("time.sleep(1)", "sleep 1")
    sleeps = [found.start() for found in re.finditer(r"\bsleep\b", body)]
    assert sleeps
    for place in sleeps:
        around = body[max(0, place - 400) : place]
        assert re.search(r"\b(while|until)\b", around), "a sleep outside a loop that asks again"
        assert re.search(r"SECONDS < |time\.monotonic\(\) > ", around), "a loop without a deadline"


def _slurm(launcher: str) -> object:
    from sizewell.deployer.launch import Slurm

    return Slurm(launcher=launcher)  # type: ignore[arg-type]


def test_replicas_that_share_a_node_leave_room_for_each_other() -> None:
    asked = launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", Stated(tp=2, replicas=4)))
    (text,) = render(asked, "slurm").values()
    assert "--exclusive" not in text
    assert 4 * int(re.findall(r"--cpus-per-task=(\d+)", text)[0]) < asked.materials.cpu_cores + 4
    assert 4 * int(re.findall(r"--mem=(\d+)M", text)[0]) * 2**20 < asked.deployment.cluster.node.host.ram_bytes
    (alone,) = render(launch(deployment("r1", "8xh200", "vllm@0.33", Stated(tp=8))), "slurm").values()
    assert "--exclusive" in alone
