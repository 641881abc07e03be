"""The probe of an endpoint: listens, healthy, and one real token, whatever the server is like."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from emulated import emulated, serving
from forwarding import forwarding
from sizewell.observer.probe import ask
from sizewell.observer.scrape import scrape
from sizewell.specs.errors import BadInputError
from sizewell.specs.standing import HttpFacts

Reply = tuple[int, Any] | Callable[[BaseHTTPRequestHandler], None]
READY = HttpFacts(listens=True, healthy=True, gave_token=True)
MODELS = (200, {"data": [{"id": "first"}, {"id": "second"}]})
TEXT = (200, {"choices": [{"text": "1", "finish_reason": "length"}], "usage": {"completion_tokens": 1}})


class Script:
    """A server that answers each path as told, and keeps what it was asked."""

    def __init__(self, replies: dict[str, Reply]) -> None:
        self.replies = {"/health": (200, b""), "/v1/models": MODELS, **replies}
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.url = ""

    @contextmanager
    def open(self) -> Iterator[Script]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                del format, args

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                key = self.headers.get("Authorization", "")
                script.asked.append((self.path, key, json.loads(body) if body else {}))
                reply = script.replies.get(self.path, (404, {"detail": "Not Found"}))
                if callable(reply):
                    reply(self)
                    return
                data = reply[1] if isinstance(reply[1], bytes) else json.dumps(reply[1]).encode()
                self.send_response(reply[0])
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def body(self, path: str) -> dict[str, Any]:
        """Return the last body sent to a path."""
        return [body for asked, _, body in self.asked if asked == path][-1]


def asked(replies: dict[str, Reply], model: str | None = "m", timeout_s: float = 5.0) -> tuple[HttpFacts, Script]:
    with Script(replies).open() as script:
        return ask(script.url, model, timeout_s), script


def test_one_token_is_asked_for_and_no_more() -> None:
    facts, script = asked({"/v1/completions": TEXT})

    assert facts == READY
    body = script.body("/v1/completions")
    assert (body["model"], body["max_tokens"]) == ("m", 1)


def test_without_a_name_the_first_model_is_asked() -> None:
    _, script = asked({"/v1/completions": TEXT}, model=None)

    assert script.body("/v1/completions")["model"] == "first"


@pytest.mark.parametrize(
    "message",
    [{"content": "1"}, {"content": None, "reasoning": "h"}, {"content": None, "reasoning_content": "h"}],
)
@pytest.mark.parametrize("refusal", [404, 405, 400, 501])
def test_servers_with_chat_alone_are_asked_by_chat(message: dict[str, Any], refusal: int) -> None:
    chat = (200, {"choices": [{"message": {"role": "assistant", **message}}]})
    facts, script = asked({"/v1/completions": (refusal, {"error": "no"}), "/v1/chat/completions": chat})

    assert facts == READY
    assert script.body("/v1/chat/completions")["max_tokens"] == 1


@pytest.mark.parametrize(
    ("status", "refuses"),
    [(400, True), (404, True), (422, True), (401, False), (403, False), (429, False), (503, False)],
)
def test_a_refusal_no_waiting_changes_is_told_apart(status: int, refuses: bool) -> None:
    said = (status, {"error": {"message": "no"}})
    facts, _ = asked({"/v1/completions": said, "/v1/chat/completions": said})

    assert (facts.gave_token, facts.refuses) == (False, refuses)


@pytest.mark.parametrize(
    ("answer", "gave"),
    [
        ({"choices": [{"text": "", "finish_reason": "length"}]}, True),
        ({"choices": [{"text": ""}], "usage": {"completion_tokens": 1}}, True),
        ({"choices": [{"text": "x"}], "usage": {"completion_tokens": 0}}, False),
        ({"choices": [{"text": ""}]}, False),
        ({"choices": [{"message": {"role": "assistant", "content": ""}}]}, False),
        ({"choices": []}, False),
        ({"choices": [7]}, False),
        ([], False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_a_token_is_counted_not_guessed(answer: Any, gave: bool) -> None:
    facts, _ = asked({"/v1/completions": (200, answer)})

    assert facts.gave_token is gave
    assert bool(facts.error) is not gave


def test_a_sick_server_may_still_give_a_token() -> None:
    facts, _ = asked({"/health": (503, b""), "/v1/completions": TEXT})

    assert (facts.listens, facts.healthy, facts.gave_token) == (True, False, True)
    assert "503" in facts.error


def test_health_is_asked_last_for_what_becomes_ready_meanwhile() -> None:
    _, script = asked({"/v1/completions": TEXT})

    assert [path for path, _, _ in script.asked] == ["/v1/completions", "/health"]


def test_a_server_without_health_is_as_healthy_as_its_token() -> None:
    facts, _ = asked({"/health": (404, b""), "/v1/completions": TEXT})

    assert facts == READY


def test_a_dead_engine_behind_a_living_server_is_said() -> None:
    dead = {"error": {"message": "EngineCore encountered an issue.\nSee stack trace", "code": 500}}
    facts, _ = asked({"/health": (503, b""), "/v1/completions": (500, dead), "/v1/chat/completions": (500, dead)})

    assert (facts.listens, facts.healthy, facts.gave_token) == (True, False, False)
    assert "EngineCore encountered an issue. See stack trace" in facts.error


def test_the_key_comes_from_the_environment_and_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWELL_API_KEY", "s3cret")
    facts, script = asked({"/v1/completions": (401, {"error": "wrong key s3cret"})})

    assert {key for _, key, _ in script.asked} == {"Bearer s3cret"}
    assert "SIZEWELL_API_KEY" in facts.error
    echoed, _ = asked({"/v1/completions": (429, {"error": "slow down, s3cret"})})
    assert "s3cret" not in echoed.error
    assert "slow down" in echoed.error


def test_redirects_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWELL_API_KEY", "s3cret")
    with Script({"/v1/completions": TEXT}).open() as elsewhere:

        def away(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(307)
            handler.send_header("Location", elsewhere.url + handler.path)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        facts, _ = asked({"/v1/completions": away})
        assert not elsewhere.asked
    assert not facts.gave_token
    assert "not followed" in facts.error


def test_far_pages_come_through_the_proxy_and_what_was_started_is_met_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    with Script({"/metrics": (200, b"x 1\n")}).open() as script, forwarding(script.url) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//me:pw@"))
        ((_, page),) = scrape("http://model.example:8000", 0.0, 1.0, {})
        assert page == "x 1\n"
        assert "not known" in ask("http://model.invalid:8000", "m", 5.0).error
    assert proxy.asked == [("http://model.example:8000/metrics", "Basic bWU6cHc=")]


def test_a_body_without_end_is_left() -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            return

    facts, _ = asked({"/v1/completions": endless})
    assert not facts.gave_token
    assert "exceeds" in facts.error


@pytest.mark.parametrize("path", ["/health", "/v1/completions"])
def test_a_server_that_drips_or_hangs_has_until_the_deadline(path: str) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b" ")
                time.sleep(0.05)
        except OSError:
            return

    start = time.monotonic()
    facts, _ = asked({"/v1/completions": TEXT, path: drip}, timeout_s=0.6)

    assert time.monotonic() - start < 2.0
    assert facts.listens
    assert facts.healthy is (path != "/health")
    assert facts.gave_token is (path == "/health"), "neither eats the time of the other"
    assert "in time" in facts.error


def test_nobody_there_is_not_an_error_of_ours() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        facts = ask(f"http://127.0.0.1:{held.getsockname()[1]}", None, 2.0)

    assert not (facts.listens or facts.healthy or facts.gave_token)
    assert "cannot connect" in facts.error


def test_a_server_that_hangs_up_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def hang_up() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        facts = ask(f"http://127.0.0.1:{listener.getsockname()[1]}", None, 2.0)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(2)

    assert facts.listens
    assert not facts.gave_token
    assert "broken" in facts.error


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(BadInputError):
        ask("ftp://somewhere", None, 1.0)


def test_an_emulated_deployment_is_ready() -> None:
    with serving(emulated(speed=1000.0)) as served:
        served.wait()
        assert ask(f"http://{served.host}:{served.port}/v1", None, 10.0) == READY
