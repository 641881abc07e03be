"""Real routers before two pools of stand-ins: started with the rendered words, they hand a prompt on to both."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from launches import deployment, launch, split
from sizewell.deployer import router
from sizewell.deployer.launch import Launch
from sizewell.deployer.placement import PORTS_EACH
from sizewell.deployer.render import render

pytestmark = pytest.mark.real
KEY = "sesame"
STAND_IN = Path(__file__).parents[1] / "deployer" / "stand_in" / "bin"
PATIENCE_S = 60
PACKAGES = {"vllm": "vllm_router", "sglang": "sglang_router"}
ANSWER = {"id": "1", "object": "chat.completion", "model": "m", "choices": [], "kv_transfer_params": {"remote_port": 1}}


class Engine(BaseHTTPRequestHandler):
    """Answers what a router asks, and completions with the right key; the server keeps what was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer questions about the model."""
        self._say(200, {"model_path": "m", "served_model_name": "m", "dp_size": 1, "is_generation": True})

    def do_POST(self) -> None:
        """Answer a completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        shown = self.headers.get("Authorization") == f"Bearer {KEY}"
        self.server.asked.append(body)  # type: ignore[attr-defined]
        self._say(200 if shown else 401, ANSWER)

    def _say(self, code: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def free_range() -> int:
    """Return the first of some hundred ports nobody listens at."""
    for first in range(21000, 29000, 1000):
        try:
            for port in (first, *(first + PORTS_EACH * number for number in (1, 2, 3))):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


@pytest.fixture(params=["vllm", "sglang"])
def asked(request: pytest.FixtureRequest) -> Launch:
    """A prompt pool and a pool that answers, of one replica each."""
    if find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"needs {PACKAGES[request.param]}")
    made = launch(deployment("llama-3.1-8b", "2xh100", request.param, split("1xTP1", "1xTP1")))
    return replace(made, site=replace(made.site, port=free_range()))


@pytest.fixture
def engines(asked: Launch) -> Iterator[list[ThreadingHTTPServer]]:
    """Stand-ins at the ports of both engines."""
    made = [ThreadingHTTPServer(("127.0.0.1", asked.site.port + PORTS_EACH * number), Engine) for number in (1, 2)]
    for each in made:
        each.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=each.serve_forever, daemon=True).start()
    yield made
    for each in made:
        each.shutdown()
        each.server_close()


def answered(url: str, key: str | None) -> int:
    """Return the status of a chat completion asked for with a key, 0 where nobody listens."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2}).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        with urlopen(Request(f"{url}/v1/chat/completions", body, headers), timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return 0


def test_a_prompt_goes_to_one_pool_and_the_other_answers(
    asked: Launch, engines: list[ThreadingHTTPServer], tmp_path: Path
) -> None:
    bin_ = Path(sys.executable).parent
    script = render(asked, "command")["serve.sh"]
    if router.has_port(asked):  # one machine asks for no key by itself: say it as several would
        script = script.replace('exec "${engine[@]}"', f'exec "${{engine[@]}}" --api-key {KEY}')
    told = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", router.ENGINES_KEY: KEY}
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(["bash", "-c", script, "serve", "router"], env=told, stdout=log, stderr=log)
    url, deadline = f"http://127.0.0.1:{asked.site.port}", time.monotonic() + PATIENCE_S
    try:
        while (status := answered(url, KEY)) != 200:
            assert time.monotonic() < deadline, (status, (tmp_path / "log").read_text()[-2000:])
            assert running.poll() is None, (tmp_path / "log").read_text()[-2000:]
            time.sleep(0.5)
        assert all(each.asked for each in engines)  # type: ignore[attr-defined]
        # What docs/render.md says of who is asked for a key.
        assert answered(url, None) == (401 if router.has_port(asked) else 200)
    finally:
        running.terminate()
        running.wait(30)


def test_up_starts_both_pools_behind_a_real_router(tmp_path: Path) -> None:
    """The engines are stand-ins, the router is not: its token makes the whole ready, and all of it ends."""
    if find_spec(PACKAGES["vllm"]) is None:
        pytest.skip(f"needs {PACKAGES['vllm']}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vllm").symlink_to(STAND_IN / "vllm")
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    told = {**os.environ, "PATH": path, "SIZEWELL_HOME": str(tmp_path / "home")}

    def say(*words: str) -> Any:
        command = [sys.executable, "-m", "sizewell", *words, "--json"]
        done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    pools = ("--on", "3xh100", "--prefill", "2xTP1", "--decode", "1xTP1", "--port", str(free_range()))
    try:
        parts = say("up", "llama-3.1-8b", *pools, "--name", "tiny")["deployment"]["parts"]
        assert [part["name"] for part in parts] == ["prefill 0", "prefill 1", "decode 0", "router"]
        assert parts[3]["standing"]["reason"] == "a token came back"
    finally:
        assert say("down", "tiny")["alive"] == []
