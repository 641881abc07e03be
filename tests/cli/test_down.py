"""`sizewell down` of a start that failed: nothing is running there that could be waited for."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from sizewell.cli import down

Say = Callable[..., Any]
STUBBORN = """#!/usr/bin/env bash
trap '' TERM
echo 'INFO 11-29 20:43:09 [api_server.py:1] vLLM API server version 0.33.0'
echo '{line}'
while sleep 0.1; do :; done
"""


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts an engine on the path that says a line and then does not hear that it shall end."""
    monkeypatch.setenv("SIZEWELL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(down, "IDLE_STOP_S", 0.5)

    def write(line: str) -> None:
        (tmp_path / "vllm").write_text(STUBBORN.format(line=line))
        (tmp_path / "vllm").chmod(0o755)

    return write


def test_a_start_that_failed_is_not_waited_for(say: Say, stubborn: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    stubborn("torch.OutOfMemoryError: CUDA out of memory.")
    said = say("up", "llama-3.1-8b", "--on", "1xh100", "--port", port, "--name", "stuck")
    assert said.code == 1 and "out-of-memory" in said.out
    begun_s = time.monotonic()
    ended = say("down", "stuck", "--forget")
    assert ended.code == 0 and "is down, killed" in ended.out
    assert time.monotonic() - begun_s < 10.0  # running requests would have had 100


def test_what_never_took_requests_is_not_waited_for_and_what_may_is(
    say: Say, stubborn: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to end while it loads, a real vLLM drained nothing for as long as it was let."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    monkeypatch.setattr(down, "ASKED_S", 0.2)
    given: list[float] = []
    monkeypatch.setattr("sizewell.deployer.local._wait", lambda over, at_most_s: given.append(at_most_s) or over())
    for listens, expected_s in ((True, 100.0), (False, 0.5)):
        stubborn("Starting to load model m...")
        assert say("up", "llama-3.1-8b", "--on", "1xh100", "--port", port, "--name", "slow", "--no-wait").code == 0
        given.clear()
        with socket.create_server(("127.0.0.1", port)) if listens else nullcontext():
            say("down", "slow", "--forget")
        assert given[0] == expected_s
