"""`sizewell doctor` from the words typed to the code it ends with, on nodes made of a few scripts on PATH."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell
from doctor_nodes import Board, matrix, meshed, smi
from processes import lives
from sizewell.observer.doctor import disk_facts, engine_facts, examination
from sizewell.observer.doctor.findings import Finding

Say = Callable[..., Any]
SCHEMA = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "doctor.json").read_text())
SMI = '#!/bin/sh\ncase "$1" in topo) cat "{0}/topo";; *) cat "{0}/smi";; esac\n'


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose only programs are those of a folder and of the system, and whose disk is read briefly."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    monkeypatch.setattr(disk_facts, "WRITTEN_BYTES", disk_facts.CHUNK_BYTES)
    monkeypatch.setattr(engine_facts, "_installed_here", lambda name: False)
    for name in ("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.fixture
def eight_h200(node: Path) -> Path:
    """Eight H200 behind NVSwitch, and an engine that is what the plan asks for."""
    (node / "smi").write_text(smi([Board(fabric="Completed")] * 8))
    (node / "topo").write_text(matrix(meshed(8, "NV18")))
    _program(node / "nvidia-smi", SMI.format(node))
    return node


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _by_check(document: Any) -> dict[tuple[str, str], Any]:
    return {(each["subject"], each["check"]): each for each in document["findings"]}


def test_a_machine_without_a_plan_is_described(say: Say) -> None:
    said = say("doctor", "--json", "--port", "18734")
    jsonschema.Draft202012Validator(SCHEMA).validate(said.document)
    assert said.code == 0
    assert said.document["deployment"] is None
    found = _by_check(said.document)
    assert found["gpu", "present"]["found"] == "no GPU in this machine"
    assert found["host", "likeness"]["found"].startswith("most like ")
    assert sum(said.document["counts"].values()) == len(said.document["findings"])


@pytest.fixture
def looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is read once however often the doctor is asked: rates and free memory change under load."""
    findings: list[Finding] = []

    def examine(*asked: Any, look: Callable[..., Iterable[Finding]] = examination.examine) -> Iterable[Finding]:
        if not findings:
            findings.extend(look(*asked))
        return findings

    monkeypatch.setattr(examination, "examine", examine)


@pytest.mark.usefixtures("eight_h200", "looked_at_once")
def test_the_page_says_what_the_document_says_within_a_hundred_columns(say: Say) -> None:
    words = ("doctor", "r1", "--on", "8xh200", "--tp", "8")
    document, page = say(*words, "--json").document, say(*words).out
    assert max(len(line) for line in page.splitlines()) <= 100
    flat = " ".join(page.split())
    for finding in document["findings"]:
        assert f"{finding['subject']} {finding['check']}: " in flat
        if finding["verdict"] == "fail":
            assert f"fix: {' '.join(finding['fix'].split())}" in flat
    assert f"{document['counts']['fail']} fail" in page


def test_a_plan_that_does_not_hold_here_ends_with_4_and_names_what_is_short(say: Say, eight_h200: Path) -> None:
    said = say("doctor", "r1", "--on", "8xh200", "--tp", "8", "--json")
    jsonschema.Draft202012Validator(SCHEMA).validate(said.document)
    found = _by_check(said.document)
    assert said.code == 4
    assert found["engine", "importable"]["verdict"] == "fail"
    assert found["network", "hub"]["verdict"] == "fail"
    assert {each["verdict"] for (subject, _), each in found.items() if subject in ("gpu", "topology")} == {"pass"}
    assert said.document["deployment"]["gpu"] == "h200-sxm-141gb"


def test_warnings_leave_the_code_at_0(say: Say, node: Path) -> None:
    (node / "smi").write_text(smi([Board(limit_w="300.00 W")]))
    _program(node / "nvidia-smi", SMI.format(node))
    said = say("doctor", "--json", "--port", "18734")
    assert (said.code, said.document["verdict"]) == (0, "warn")


@pytest.mark.parametrize("given", ["argument", "flag", "yaml"])
def test_a_plan_is_taken_however_it_is_given(say: Say, node: Path, given: str) -> None:
    file = node / ("load.yaml" if given == "yaml" else "plan.json")
    if given == "yaml":
        file.write_text("model: qwen3-0.6b\non: rtx-4090\nport: 18734\n")
    else:
        words = ("plan", "qwen3-0.6b", "--gpu", "rtx-4090", "--users", "2", "--json")
        file.write_text(say(*words).out)
    words = ("doctor", "--from", str(file)) if given == "flag" else ("doctor", str(file))
    said = say(*words, "--json")
    assert said.document["deployment"]["gpu"] == "rtx-4090-24gb"
    if given == "yaml":
        assert "18734" in _by_check(said.document)["network", "port"]["found"]
    else:
        stated = json.loads(file.read_text())["plans"][0]["deployment"]
        assert said.document["deployment"] == stated


def test_one_file_of_flags_serves_render_and_doctor(say: Say, node: Path) -> None:
    """What only the other command asks for is checked, and left out."""
    file = node / "load.yaml"
    file.write_text("model: qwen3-0.6b\non: rtx-4090\ntarget: slurm\npartition: gpu\ntimeout: 5min\n")
    assert say("doctor", str(file), "--json").document["deployment"]["gpu"] == "rtx-4090-24gb"
    assert "--partition=gpu" in say("render", str(file)).out
    file.write_text("model: qwen3-0.6b\non: rtx-4090\npartitoin: gpu\n")
    for command in ("doctor", "render"):
        said = say(command, str(file))
        assert (said.code, "did you mean partition" in said.complaint) == (2, True)


@pytest.mark.parametrize("given", ["a plan's split", "flags"])
def test_two_pools_are_checked_as_two(say: Say, node: Path, given: str) -> None:
    words = ("llama-3.1-8b", "--on", "2xh100", "--prefill", "1xTP1", "--decode", "1xTP1", "--json")
    wanted = say("explain", *words).document["deployment"]
    if given == "flags":
        (node / "two.yaml").write_text("model: llama-3.1-8b\non: 2xh100\nprefill: 1xTP1\ndecode: 1xTP1\n")
        said = say("doctor", node / "two.yaml", "--json")
    else:
        answer = {"schema": "sizewell/plan/1", "plans": [{}], "splits": [{"deployment": wanted}], "question": {}}
        (node / "plan.json").write_text(json.dumps(answer))
        said = say("doctor", "--split", "1", "--from", node / "plan.json", "--json")
    assert [pool["role"] for pool in said.document["deployment"]["pools"]] == ["prefill", "decode"]


def test_a_plan_another_catalogue_made_is_refused(say: Say, node: Path) -> None:
    plan = json.loads(say("plan", "qwen3-0.6b", "--gpu", "rtx-4090", "--users", "2", "--json").out)
    plan["plans"][0]["deployment"]["gpus"] = 7
    (node / "plan.json").write_text(json.dumps(plan))
    said = say("doctor", str(node / "plan.json"))
    assert said.code == 2
    assert "plan again" in said.complaint


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("r1",), 2, "--on 8xh200"),
        (("--on", "8xh200"), 2, "name a model or a plan"),
        (("r1", "--on", "1xh100", "--tp", "1"), 3, "weights do not fit"),
        (("nowhere.json",), 2, "cannot be read"),
        (("some/config.json", "--on", "h100"), 2, "config.json"),
        (("a.json", "--from", "b.json"), 2, "two plans"),
        (("r1", "--on", "8xh200", "--on", "h100"), 2, "given twice"),
        (("--port", "0"), 2, "--port"),
    ],
)
def test_what_cannot_be_meant_is_one_line(say: Say, words: tuple[str, ...], code: int, complaint: str) -> None:
    said = say("doctor", *words)
    assert (said.code, said.out) == (code, "")
    assert complaint in said.complaint


def test_weights_are_looked_for_where_the_engine_would(say: Say, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("doctor", "qwen3-0.6b", "--on", "rtx-4090", "--json")
    missing = _by_check(say(*words, "--model-path", "/no/such/folder").document)["disk", "checkpoint"]
    assert (missing["verdict"], missing["found"]) == ("fail", "0.0 GiB of weights in /no/such/folder")
    (node / "own").mkdir()
    with (node / "own" / "model.safetensors").open("wb") as stream:
        stream.truncate(1_600_000_000)
    here = _by_check(say(*words, "--model-path", str(node / "own")).document)
    assert here["disk", "checkpoint"]["verdict"] == "pass"
    assert here["network", "hub"]["verdict"] == "skipped"
    snapshot = node / "hub" / "models--Qwen--Qwen3-0.6B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").symlink_to(node / "own" / "model.safetensors")
    monkeypatch.setenv("HF_HUB_CACHE", str(node / "hub"))
    assert _by_check(say(*words).document)["disk", "checkpoint"]["verdict"] == "pass"


@pytest.mark.parametrize(("answer", "verdict"), [(200, "pass"), (401, "fail"), (404, "fail"), (503, "fail")])
def test_the_hub_is_asked_for_one_small_file(
    say: Say, monkeypatch: pytest.MonkeyPatch, answer: int, verdict: str
) -> None:
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(answer)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            return

    monkeypatch.delenv("HF_HUB_OFFLINE")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        said = say("doctor", "qwen3-0.6b", "--on", "rtx-4090", "--json")
        server.shutdown()
    hub = _by_check(said.document)["network", "hub"]
    assert asked == ["/Qwen/Qwen3-0.6B/resolve/main/config.json"]
    assert hub["verdict"] == verdict
    assert bool(hub["fix"]) == (verdict == "fail")


def test_ctrl_c_is_one_line_and_leaves_nobody_behind(node: Path) -> None:
    pid = node / "pid"
    _program(node / "nvidia-smi", f"#!/bin/sh\necho $$ > {pid}\nexec sleep 60\n")
    environment = {**os.environ, "XDG_CACHE_HOME": str(node / "cache"), "SIZEWELL_CATALOG": "/nonexistent-catalogue"}
    command = [sys.executable, "-m", "sizewell", "doctor"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:  # fmt: skip
        until = time.monotonic() + 60
        while not (pid.exists() and pid.read_text().strip()):
            assert time.monotonic() < until and process.poll() is None, "nobody was asked"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == ["sizewell: interrupted"]
    until = time.monotonic() + 10  # what was killed dies when it is next scheduled
    while lives(int(pid.read_text())):
        assert time.monotonic() < until, "the program that was asked lives on"
        time.sleep(0.05)
