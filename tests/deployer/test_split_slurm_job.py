"""The job of a split deployment run by bash: both pools and the router on the nodes of one job, with stand-ins."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from launches import deployment, launch, split
from sizewell.deployer.launch import Launch
from sizewell.deployer.render import render
from stand_in_job import PATIENCE_S, job, wait_for


@pytest.fixture(scope="module")
def one_node() -> Launch:
    """Two replicas for prompts and one that answers, on one node."""
    return launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", split("2xTP1", "1xTP4")))


@pytest.fixture(scope="module")
def three_nodes() -> Launch:
    """R1 for prompts over two nodes, and answers on a third."""
    return launch(deployment("r1", "24xh200", "vllm@0.33", split("1xTP8xPP2", "1xDP8xEP8")))


def told(log: str) -> dict[str, list[str]]:
    """Return the words each kind of program was started with, by pool; of the router under its name."""
    said: dict[str, list[str]] = {"kv_producer": [], "kv_consumer": [], "router": []}
    for line in log.split("\n"):
        if line.startswith("stand-in: serve"):
            said[re.findall(r"kv_(?:producer|consumer)", line)[0]].append(line)
        if line.startswith("router: --"):
            said["router"].append(line)
    return said


def test_pools_on_one_node_share_no_port_and_drain(one_node: Launch, tmp_path: Path) -> None:
    with job(render(one_node, "slurm"), 1, tmp_path) as running:
        log = wait_for("answers on node1", tmp_path)
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE_S) == 0
    said = told(log)
    assert (len(said["kv_producer"]), len(said["kv_consumer"]), len(said["router"])) == (2, 1, 1)
    ports = re.findall(r"--port (\d+)", log) + re.findall(r"--prometheus-port (\d+)", log)
    assert len(set(ports)) == 5
    asked = re.findall(r"--(prefill|decode) http://127.0.0.1:(\d+)", said["router"][0])
    engines = " ".join([*said["kv_producer"], *said["kv_consumer"]])
    assert {port for _, port in asked} == set(re.findall(r"--port (\d+)", engines))
    assert [pool for pool, _ in asked] == ["prefill", "prefill", "decode"]
    assert (tmp_path / "log").read_text().count("drained") == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.sbatch", "log", "step"]


def test_pools_over_nodes_find_their_heads(three_nodes: Launch, tmp_path: Path) -> None:
    with job(render(three_nodes, "slurm"), 3, tmp_path, VLLM_API_KEY="sesame") as running:
        wait_for("--node-rank 1", tmp_path)
        log = wait_for("answers on node1", tmp_path)
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE_S) == 0
    said = told(log)
    assert sorted(re.findall(r"--node-rank (\d)", log)) == ["0", "1"]
    assert len(set(re.findall(r"--master-port (\d+)", log))) == 1
    assert ["--headless" in line for line in sorted(said["kv_producer"], key=len)] == [False, True]
    assert "key sesame" in said["router"][0]
    assert "router: asked with Bearer sesame" in log
    assert (tmp_path / "log").read_text().count("drained") == 4


def test_engines_on_a_network_ask_for_a_key(three_nodes: Launch, tmp_path: Path) -> None:
    with job(render(three_nodes, "slurm"), 3, tmp_path) as running:
        assert running.wait(PATIENCE_S) == 1
    assert "VLLM_API_KEY" in (tmp_path / "log").read_text()


def test_a_node_that_never_joins_ends_the_job_and_is_named(three_nodes: Launch, tmp_path: Path) -> None:
    told_ = {"STAND_IN_ABSENT": "node3", "SIZEWELL_JOIN_S": "2", "VLLM_API_KEY": "sesame"}
    with job(render(three_nodes, "slurm"), 3, tmp_path, **told_) as running:
        assert running.wait(PATIENCE_S) == 1
    assert "node3" in (tmp_path / "log").read_text().split("never joined within 2 s")[-1]


def test_an_engine_that_ends_with_code_0_has_failed_all_the_same(one_node: Launch, tmp_path: Path) -> None:
    with job(render(one_node, "slurm"), 1, tmp_path, STAND_IN="dies") as running:
        assert running.wait(PATIENCE_S) == 1
    assert re.search(r"(prefill|decode) \d on node1 ended with 0", (tmp_path / "log").read_text())


def test_a_pool_that_never_answers_ends_the_job(one_node: Launch, tmp_path: Path) -> None:
    with job(render(one_node, "slurm"), 1, tmp_path, STAND_IN="mute", SIZEWELL_READY_S="2") as running:
        assert running.wait(PATIENCE_S) == 1
    assert "not ready after 2 s on node1" in (tmp_path / "log").read_text()


def test_nothing_waits_a_fixed_time(three_nodes: Launch) -> None:
    (text,) = render(three_nodes, "slurm").values()
    for found in re.finditer(r"\bsleep\b", text):
        around = text[max(0, found.start() - 400) : found.start()]
        assert re.search(r"\b(while|until)\b", around), "a sleep outside a loop that asks again"
        assert "SECONDS < " in around, "a loop without a deadline"
