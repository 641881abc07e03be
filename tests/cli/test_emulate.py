"""`sizewell emulate` as a process: what it says, how it ends, what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sizewell

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
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
    answer = connection.getresponse()
    return answer.status, answer.read()


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
        (("llama-3.1-8b", "--on", "h100", "--host", "192.0.2.1"), 2, "cannot be listened on"),
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
