"""`sizewell up`, `status`, `logs`, `down` with the emulator as the engine: the whole loop, and how it goes wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell
from emulated import emulated, serving
from sizewell.cli.documents import deployment_object
from sizewell.cli.output import json_ready
from sizewell.cli.plan_file import rebuilt
from sizewell.deployer.placement import PORTS_EACH

Say = Callable[..., Any]
SCHEMAS = Path(sizewell.__file__).parent / "cli" / "schemas"
STAND_IN = Path(__file__).parents[1] / "deployer" / "stand_in" / "cluster"
MODEL = ("llama-3.1-8b", "--on", "h100", "--max-model-len", "8192")
POOLS = ("llama-3.1-8b", "--on", "3xh100", "--prefill", "2xTP1", "--decode", "1xTP1")
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say) -> Iterator[Path]:
    """A folder of records of the test's own; nothing that was started outlives it."""
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path / "home"))
    yield tmp_path / "home" / "deployments"
    for each in say("status", "--json").document["deployments"]:
        assert say("down", each["name"]).code == 0


@pytest.fixture
def port() -> int:
    """A port nobody listens on, nor on the one after it."""
    while True:
        with socket.socket() as door, socket.socket() as other:
            door.bind(("127.0.0.1", 0))
            found = int(door.getsockname()[1])
            with suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", found + 1))
                return found


def checked(said: Any, name: str) -> Any:
    """Return a document that obeys its schema."""
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text())).validate(said.document)
    return said.document


def words(port: int, *more: str, flags: str = "--speed 30") -> list[str]:
    """Return what starts a small emulated deployment."""
    return ["up", *MODEL, "--emulate", "--emulate-with", flags, "--port", str(port), "--name", "tiny", *more]


def standing(say: Say) -> Any:
    """Return how it stands."""
    return checked(say("status", "tiny", "--json"), "status")["deployments"][0]["standing"]


def settles(say: Say, *stages: str) -> Any:
    """Return how it stands once it is at one of some stages."""
    until_s = time.monotonic() + PATIENCE_S
    while (now := standing(say))["stage"] not in stages:
        assert time.monotonic() < until_s, now
        time.sleep(0.1)
    return now


def test_a_plan_is_started_seen_measured_and_taken_down(say: Say, tmp_path: Path, port: int, home: Path) -> None:
    (tmp_path / "plan.json").write_text(say("plan", "llama-3.1-8b", "--gpu", "h100", "--users", "8", "--json").out)
    priced = json.loads((tmp_path / "plan.json").read_text())["plans"][0]
    flags = ("--emulate-with", "--speed 30", "--port", port, "--name", "tiny")
    said = say("up", tmp_path / "plan.json", "--emulate", *flags, "--json")
    assert said.code == 0, said.err
    started = checked(said, "up")["deployment"]
    assert (started["standing"]["stage"], started["parts"][0]["differences"]) == ("READY", [])
    assert "as planned: weights" in said.err
    kept = json.loads((home / "tiny" / "deployment.json").read_text())
    assert kept["deployment"] == priced["deployment"]
    assert kept["ledger"]["kv_cache_tokens"] == priced["memory"]["kv_tokens"]
    assert "is up already" in say("up", tmp_path / "plan.json", "--emulate", *flags).complaint
    load = ("--concurrency", "2", "--requests", "4", "--input", "64", "--answer", "4")
    assert say("bench", "--url", started["parts"][0]["url"], *load).code == 0
    assert standing(say)["stage"] == "READY" and "tiny" in say("status").out
    lines = checked(say("logs", "tiny", "--json"), "logs")["parts"][0]["lines"]
    assert any("Starting vLLM API server" in line for line in lines)
    assert say("logs", "tiny", "--tail", "1").out.strip() == lines[-1]
    ended = checked(say("down", "tiny", "--json"), "down")
    assert (ended["was_up"], ended["killed"], ended["alive"]) == (True, False, [])
    assert not Path("/proc", kept["parts"][0]["id"]).exists() or standing(say)["stage"] == "ENDED"
    assert say("status", "--json").document["deployments"] == []
    assert "Starting vLLM API server" in say("logs", "tiny", "--follow").out
    assert say("down", "tiny", "--forget").out == "tiny was already down\n"
    assert list(home.iterdir()) == []


def test_what_is_emulated_needs_no_weights(say: Say, port: int) -> None:
    """llama.cpp loads a file nobody has yet, and so do formats the checkpoint is not stored in."""
    for engine, stored in (("llama.cpp", "native"), ("vllm", "awq-int4")):
        words = ("--weight-format", stored, "--engine", engine, "--dry-run", "--emulate", "--port", port)
        assert f"--engine {engine}" in say("up", *MODEL, *words).out


def test_an_engine_that_says_other_figures_and_dies_is_named(say: Say, port: int) -> None:
    flags = "--speed 30 --memory-fraction 0.5 --die-after 2s --exit-after 200ms"
    said = say(*words(port, "--json", flags=flags))
    assert said.code == 0
    figures = [each["figure"] for each in checked(said, "up")["deployment"]["parts"][0]["differences"]]
    assert {"KV cache", "KV tokens", "concurrency"} <= set(figures) and "weights" not in figures
    assert "differs from the plan: KV tokens" in said.err
    failed = settles(say, "FAILED")
    assert failed["failure"]["cause"] == "engine-death" and failed["failure"]["evidence"]
    one = say("status", "tiny")
    assert one.code == 1 and "engine-death" in one.out


def test_each_replica_of_a_script_has_a_process_and_a_port(
    say: Say, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    monkeypatch.setenv("PATH", f"{STAND_IN.parent / 'bin'}:{os.environ['PATH']}")
    said = say("up", "llama-3.1-8b", "--on", "2xh100", "--tp", "1", "--port", port, "--name", "tiny", "--json")
    assert said.code == 0, said.err
    parts = checked(said, "up")["deployment"]["parts"]
    assert [part["url"] for part in parts] == [f"http://127.0.0.1:{port + place}" for place in range(2)]
    assert f"--port {port + 1}" in said_by(say, 1) and f"--port {port + 1}" not in said_by(say, 0)
    assert say("down", "tiny", "--json").document["killed"] is False
    assert all("stand-in: drained" in said_by(say, number) for number in range(2))


def free_range(engines: int) -> int:
    """Return a port nobody listens at, nor at those of so many engines after it."""
    for first in range(21500, 29000, 500):
        try:
            for number in range(engines + 1):
                socket.create_server(("127.0.0.1", first + PORTS_EACH * number)).close()
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


def test_two_pools_start_here_with_their_router(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are one deployment: ready with the router's token, failed with the part that died, down together."""
    monkeypatch.setenv("PATH", f"{STAND_IN.parent / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_SAYS", "INFO 11-29 20:43:09 [kv_cache_utils.py:1] GPU KV cache size: 1,024 tokens")
    first = free_range(3)
    said = say("up", *POOLS, "--port", first, "--name", "tiny", "--json")
    assert said.code == 0, said.err
    started = checked(said, "up")["deployment"]
    differ = [[each["figure"] for each in part["differences"]] for part in started["parts"]]
    assert differ == [["KV tokens"]] * 3 + [[]], "held against each engine's ledger; a router has none"
    assert "decode 0: differs from the plan: KV tokens 1,024" in said.err
    assert [part["name"] for part in started["parts"]] == ["prefill 0", "prefill 1", "decode 0", "router"]
    assert started["standing"]["reason"] == "a token came back"
    ports = [first + PORTS_EACH * number for number in (1, 2, 3, 0)]
    assert [part["url"] for part in started["parts"]] == [f"http://127.0.0.1:{port}" for port in ports]
    reasons = [part["standing"]["reason"] for part in started["parts"]]
    assert reasons == ["healthy behind its router"] * 3 + ["a token came back"]
    seen = [set(cards(int(pid))) for pid in started["ids"][:3]]
    assert sorted(card for each in seen for card in each) == ["0", "1", "2"], "no accelerator twice"
    assert f"--prefill http://127.0.0.1:{ports[1]}" in said_by(say, 3)
    assert "decode 0: stand-in:" in say("logs", "tiny").out
    os.kill(int(started["ids"][1]), signal.SIGKILL)
    failed = settles(say, "FAILED")
    assert failed["reason"].startswith("prefill 1: ")
    shown = say("status", "tiny")
    assert shown.code == 1
    assert "prefill 1: FAILED" in shown.out and "decode 0 at http" in shown.out
    assert say("down", "tiny", "--json").document["alive"] == []
    assert all("drained" in said_by(say, number) for number in (0, 2, 3))


def cards(pid: int) -> list[str]:
    """Return the accelerators a process is shown."""
    told = dict(each.split("=", 1) for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in each)
    return told["CUDA_VISIBLE_DEVICES"].split(",")


def said_by(say: Say, number: int) -> str:
    """Return the log of one replica."""
    return str(say("logs", "tiny", "--replica", number).out)


def test_a_start_that_fails_shows_why_and_ends_with_1(say: Say, port: int) -> None:
    said = say(*words(port, flags="--no-such-flag"))
    assert said.code == 1
    assert "FAILED" in said.out and "No such option" in said.out and "sizewell down tiny" in said.err
    again = say(*words(port))
    assert again.code == 2
    assert "the earlier tiny is FAILED: " in again.complaint and "up already" not in again.complaint
    assert "sizewell down tiny" in again.complaint
    assert say("down", "tiny").code == 0
    assert say(*words(port)).code == 0


@pytest.mark.parametrize("stops", [False, True])
def test_ctrl_c_leaves_it_running_and_known_unless_told_otherwise(say: Say, port: int, stops: bool) -> None:
    more = ["--down-on-interrupt"] if stops else []
    command = [sys.executable, "-m", "sizewell", *words(port, *more, flags="--load-time 100s")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as waiting:
        assert waiting.stderr is not None
        while "LOADING" not in (line := waiting.stderr.readline()):
            assert line
        waiting.send_signal(signal.SIGINT)
        rest = waiting.stderr.read()
    assert waiting.returncode == 130
    assert standing(say)["stage"] == ("ENDED" if stops else "LOADING")
    assert ("taken down" if stops else "sizewell down tiny") in rest


def test_who_does_not_wait_is_told_how_to_look(say: Say, port: int) -> None:
    said = say(*words(port, "--no-wait", "--json", flags="--speed 30 --load-time 100s"))
    assert said.code == 0 and checked(said, "up")["deployment"]["standing"] is None
    assert settles(say, "LOADING")["failure"] is None
    late = say("up", *MODEL, "--emulate", "--port", port, "--name", "other")
    assert late.code == 2 and "--port" in late.complaint, "the port is taken, and nothing is left of the second"
    assert [each["name"] for each in say("status", "--all", "--json").document["deployments"]] == ["tiny"]


def test_waiting_ends_in_time_and_the_deployment_goes_on(say: Say, port: int) -> None:
    said = say(*words(port, "--timeout", "2s", flags="--load-time 100s"))
    assert said.code == 1 and "READY" not in said.out and "goes on" in said.err
    assert settles(say, "LOADING")["failure"] is None


def test_kubernetes_is_watched_through_kubectl(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = {
        "metadata": {"name": "tiny-1", "labels": {"app.kubernetes.io/name": "tiny"}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]},
    }
    (tmp_path / "pods.json").write_text(json.dumps([pod]))
    (tmp_path / "tiny-1.log").write_text("INFO 11-29 20:00:00 [api_server.py:1] vLLM API server version 0.33.0\n")
    monkeypatch.setenv("PATH", f"{STAND_IN}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_CLUSTER", str(tmp_path))
    with serving(emulated()) as served:
        monkeypatch.setenv("STAND_IN_PORT", str(served.wait().port))
        said = say("up", *MODEL, "--target", "kubernetes", "--name", "tiny", "--served-model-name", "tiny", "--json")
        assert said.code == 0, said.err
        assert checked(said, "up")["deployment"]["standing"]["stage"] == "READY"
        with monkeypatch.context() as silent:
            silent.delenv("STAND_IN_CLUSTER")
            unknown = say("status", "tiny", "--json")
            assert unknown.code == 5 and checked(unknown, "status")["deployments"][0]["standing"] is None
        assert say("down", "tiny", "--json").document["kept"] == ["persistentvolumeclaim/tiny-weights"]


def test_two_pools_on_kubernetes_are_ready_with_the_token_of_their_router(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pod(name: str, pool: str, ready: bool) -> dict[str, Any]:
        labels = {"app.kubernetes.io/name": "tiny", "app.kubernetes.io/component": pool}
        state = {"state": {"running": {}}, "ready": ready}
        status = {"phase": "Running", "containerStatuses": [state]}
        return {"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": "n1"}, "status": status}

    names = {"tiny-prefill-0": "prefill", "tiny-prefill-1": "prefill", "tiny-decode-0": "decode", "tiny-x": "router"}
    for name in names:
        (tmp_path / f"{name}.log").write_text("INFO 11-29 20:00:00 [api_server.py:1] vLLM API server version 0.33.0\n")
    monkeypatch.setenv("PATH", f"{STAND_IN}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_CLUSTER", str(tmp_path))
    flags = ("--target", "kubernetes", "--name", "tiny", "--served-model-name", "tiny", "--no-wait")
    with serving(emulated()) as served:
        monkeypatch.setenv("STAND_IN_PORT", str(served.wait().port))
        assert say("up", *POOLS, *flags, "--json").code == 0
        stages = []
        for loading in ("tiny-prefill-1", ""):
            (tmp_path / "pods.json").write_text(json.dumps([pod(*each, each[0] != loading) for each in names.items()]))
            parts = checked(say("status", "tiny", "--json"), "status")["deployments"][0]["parts"]
            stages.append([part["standing"]["stage"] for part in parts])
        assert stages == [["READY", "LOADING", "READY", "READY"], ["READY"] * 4]
        assert parts[0]["standing"]["reason"] == "healthy behind its router"
        assert parts[3]["standing"]["reason"] == "a token came back"


def test_a_kept_deployment_of_two_pools_is_built_again(say: Say) -> None:
    said = say("render", *POOLS, "--kv-network", "infiniband-ndr-400", "--kv-host-memory", "8GiB", "--json")
    kept = said.document["deployment"]
    assert json_ready(deployment_object(rebuilt(kept, POOLS[0], ()))) == kept


def test_a_dry_run_starts_nothing(say: Say, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("PATH", f"{STAND_IN}:{os.environ['PATH']}")
    monkeypatch.delenv("STAND_IN_CLUSTER", raising=False)
    local = checked(say("up", *MODEL, "--dry-run", "--json"), "up")["rehearsal"]
    assert "vllm serve" in local["files"]["serve.sh"]
    assert "sizewell emulate" in say("up", *MODEL, "--emulate", "--dry-run").out
    cluster = say("up", *MODEL, "--target", "kubernetes", "--dry-run")
    assert cluster.code == 0 and "kind: Deployment" in cluster.out and "checked by nobody" in cluster.err
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "no sbatch here" in say("up", *MODEL, "--target", "slurm", "--dry-run").complaint
    assert not home.exists()


@pytest.mark.parametrize(
    ("given", "code", "match"),
    [
        (MODEL, 2, "--emulate"),
        (("r1", "--on", "16xh100", "--tp", "8", "--pp", "2"), 2, "--target slurm"),
        ((*MODEL, "--emulate", "--target", "slurm"), 2, "--target slurm"),
        (POOLS, 2, "no vllm on the PATH: activate where it is installed"),
        ((*POOLS[:2], "16xh100", "--prefill", "8xTP1", "--decode", "1xTP8"), 2, "16 accelerators on 2 machines"),
        ((*POOLS, "--emulate"), 2, "the emulator plays one pool"),
        ((*MODEL, "--emulate-with", "--speed 2"), 2, "add --emulate"),
        ((*MODEL, "--emulate", "--name", "Büro 1"), 2, "e.g. buro-1"),
        ((*MODEL, "--emulate", "--emulate-with", "--speed '2"), 2, "No closing quotation"),
        ((*MODEL, "--target", "kubernetes"), 5, "no Kubernetes server answers"),
        (("r1", "--on", "h100", "--tp", "1"), 3, "weights do not fit: "),
        (("r1", "--on", "16xh100", "--tp", "8"), 3, "weights do not fit on each of 2 × TP8; --pp 2 makes them one: "),
    ],
)
def test_what_cannot_be_started_is_one_line_and_leaves_nothing(
    say: Say, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], code: int, match: str
) -> None:
    monkeypatch.setenv("PATH", f"{STAND_IN}:/usr/bin:/bin")
    monkeypatch.delenv("STAND_IN_CLUSTER", raising=False)
    said = say("up", *given)
    assert (said.code, match in said.complaint) == (code, True), said.err
    assert say("status", "--all", "--json").document["deployments"] == []


@pytest.mark.parametrize("command", ["status", "logs", "down"])
def test_a_name_nobody_gave_is_refused(say: Say, command: str) -> None:
    said = say(command, "nonsense")
    assert said.code == 2 and "unknown deployment 'nonsense'; there is none" in said.complaint
