"""`sizewell emulate` as a process: what it says, how it ends, what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell
from sizewell.cli import emulate
from sizewell.cli.documents import deployment_object
from sizewell.cli.main import sizewell as sizewell_command
from sizewell.cli.output import json_ready

Say = Callable[..., Any]
SCHEMA = json.loads((Path(sizewell.__file__).parent / "cli" / "schemas" / "emulate.json").read_text())
WORDS = ("emulate", "llama-3.1-8b", "--on", "h100", "--port", "0", "--speed", "50", "--json")


@contextmanager
def process(*words: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """Start the command and read what it says of itself."""
    command = [sys.executable, "-m", "sizewell", *WORDS, *words]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )  # fmt: skip
    assert started.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        line = started.stdout.readline()
        assert line, started.communicate()
        text += line
    try:
        yield started, json.loads(text)
    finally:
        started.kill()
        started.communicate()


def ask(document: Any, path: str, body: Any = None) -> tuple[int, bytes]:
    """Return the status and the body of one answer."""
    connection = http.client.HTTPConnection(document["url"].removeprefix("http://"), timeout=60)
    if body is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_a_plan_is_emulated_as_it_was_priced(say: Say, tmp_path: Path) -> None:
    answer = say("plan", "llama-3.1-8b", "--gpu", "h100", "--users", "8", "--json")
    (tmp_path / "plan.json").write_text(answer.out)
    priced = answer.document["plans"][0]
    context = sizewell_command.make_context("sizewell", ["-q", "emulate"], resilient_parsing=True)
    words = ["--plan", str(tmp_path / "plan.json")]
    given = emulate.command.make_context("emulate", list(words), parent=context).params
    emulation, deployment = emulate.emulation_of(given)
    assert json_ready(deployment_object(deployment)) == priced["deployment"]
    assert emulation.memory.kv_tokens == priced["memory"]["kv_tokens"]
    changed = emulate.command.make_context("emulate", [*words, "--max-num-seqs", "7"], parent=context).params
    assert emulate.emulation_of(changed)[0].fleet.replica.max_num_seqs == 7


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("{", 2, "not JSON"),
        ("[]", 2, "sizewell plan --json"),
        ('{"schema": "sizewell/plan/1", "plans": []}', 3, "no plan held"),
        ('{"schema": "sizewell/plan/1", "plans": [{}]}', 2, "deployment"),
    ],
)
def test_what_is_no_plan_is_said(say: Say, tmp_path: Path, text: str, code: int, word: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    said = say("emulate", "--plan", str(tmp_path / "plan.json"))
    assert said.code == code and word in said.complaint


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_ends_with_nothing_to_complain_of(end: signal.Signals) -> None:
    with process() as (started, document):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
        while ask(document, "/health")[0] != 200:
            pass
        status, body = ask(document, "/v1/completions", {"prompt": "x", "max_tokens": 3})
        assert status == 200 and json.loads(body)["usage"]["completion_tokens"] == 3
        started.send_signal(end)
        _, said = started.communicate(timeout=20)
    assert started.returncode == 0
    assert "Traceback" not in said
    tokens = re.search(r"GPU KV cache size: ([\d,]+) tokens, Maximum concurrency for 131,072 tokens", said)
    assert tokens and int(tokens[1].replace(",", "")) == document["memory"]["kv_tokens"]
    assert f"Model loading took {document['memory']['weight_bytes'] / 2**30:.2f} GiB" in said


def test_more_clients_than_a_shell_lets_files_be_open_are_served() -> None:
    """Each connection beyond the limit was a page of traceback, over and over, and waited for another to go."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with process() as (started, document):
            resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
            host, _, port = document["url"].removeprefix("http://").rpartition(":")
            waiting = [socket.create_connection((host, int(port)), timeout=30) for _ in range(300)]
            while ask(document, "/health")[0] != 200:
                pass
            for each in waiting:
                each.close()
            started.send_signal(signal.SIGTERM)
            assert "Too many open files" not in started.communicate(timeout=30)[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def test_a_dead_engine_exits_0_when_told_to() -> None:
    with process("--die-after-requests", "1", "--exit-after", "200ms") as (started, document):
        while ask(document, "/health")[0] != 200:
            pass
        ask(document, "/v1/completions", {"prompt": "x", "max_tokens": 1})
        _, said = started.communicate(timeout=20)
        assert started.returncode == 0 and "fatal error" in said


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (("llama-3.1-8b", "--on", "h100", "--host", "0.0.0.0"), 2, "SIZEWELL_API_KEY"),
        (("llama-3.1-8b", "--on", "h100", "--host", "no.such.host.invalid"), 2, "cannot be listened on"),
        (("llama-3.1-8b", "--on", "h100", "--host", "192.0.2.1"), 2, "open to others"),
        (("r1", "--on", "h100"), 3, "weights do not fit"),
        (("llama-3.1-8b", "--on", "h100", "--error-rate", "2"), 2, "out of range"),
        (("llama-3.1-8b", "--on", "h100", "--speed", "0"), 2, "out of range"),
        (("llama-3.1-8b", "--on", "h100", "--port", "70000"), 2, "70000"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    say: Say, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, word: str
) -> None:
    monkeypatch.delenv("SIZEWELL_API_KEY", raising=False)
    said = say("emulate", *words)
    assert said.code == code
    assert word in said.complaint
