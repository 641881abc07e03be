"""What clients see: bodies, streams, usage, errors, doors; and what a client that leaves sets free."""

from __future__ import annotations

import socket
import time

import pytest

from emulated import Answered, Served, completion, emulated, serving
from sizewell.emulator.deployment import Door
from sizewell.emulator.dialect import Dialect
from sizewell.specs.errors import BadInputError

SAID = [{"role": "user", "content": "x"}]


def test_an_answer_in_one_body(tiny: Served) -> None:
    answer = tiny.chat(model="tiny", max_tokens=50)
    (choice,) = answer.document["choices"]
    assert answer.status == 200
    assert choice["finish_reason"] == "stop"
    assert len(choice["message"]["content"]) == 4 * 12
    assert len(choice["message"]["reasoning"]) == 4 * 8
    usage = answer.document["usage"]
    assert usage["completion_tokens"] == 20
    assert usage["total_tokens"] == 20 + usage["prompt_tokens"]


def test_a_stream_says_the_same_as_the_body(tiny: Served) -> None:
    whole = tiny.chat(max_tokens=15).document
    streamed = tiny.chat(max_tokens=15, stream=True, stream_options={"include_usage": True})
    *events, last = streamed.events
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": ""}
    said = "".join(delta.get("content") or "" for delta in deltas)
    thought = "".join(delta.get("reasoning") or "" for delta in deltas)
    assert (said, thought) == tuple(whole["choices"][0]["message"][name] for name in ("content", "reasoning"))
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * (len(events) - 1) + ["length"]
    assert last["choices"] == [] and last["usage"] == whole["usage"]


def test_usage_comes_only_when_asked_for(tiny: Served) -> None:
    assert all("usage" not in event for event in tiny.chat(stream=True).events)


@pytest.mark.parametrize(
    ("body", "tokens", "finish"),
    [
        ({"max_tokens": 100}, 20, "stop"),
        ({"max_tokens": 20}, 20, "stop"),
        ({"max_tokens": 19}, 19, "length"),
        ({"max_completion_tokens": 5, "max_tokens": 50}, 5, "length"),
        ({"max_tokens": 100, "ignore_eos": True}, 100, "length"),
        ({"max_tokens": 100, "min_tokens": 70}, 70, "stop"),
        ({}, 20, "stop"),
        ({"max_tokens": 1, "stop": ["sun"]}, 1, "length"),
    ],
)
def test_lengths_are_the_models_within_what_the_client_allows(
    tiny: Served, body: dict[str, object], tokens: int, finish: str
) -> None:
    for stream in (False, True):
        options = {"stream_options": {"include_usage": True}} if stream else {}
        answer = tiny.chat(**body, stream=stream, **options)
        last = answer.events[-1] if stream else answer.document
        assert last["usage"]["completion_tokens"] == tokens
        ends = answer.events[-2] if stream else answer.document
        assert ends["choices"][0]["finish_reason"] == finish


def test_completions_count_token_ids_exactly_and_text_by_four_bytes(tiny: Served) -> None:
    for prompt, tokens in (([1, 2, 3, 99], 4), ("a" * 17, 5), (["ab"], 1), ([[7, 8]], 2)):
        answer = tiny.ask("/v1/completions", {"prompt": prompt, "max_tokens": 3, "ignore_eos": True}).document
        assert answer["usage"]["prompt_tokens"] == tokens
        assert answer["object"] == "text_completion"
        assert len(answer["choices"][0]["text"]) == 12
    echoed = tiny.ask("/v1/completions", {"prompt": 'say "hi"', "max_tokens": 2, "echo": True, "stream": True})
    assert "".join(event["choices"][0]["text"] for event in echoed.events).startswith('say "hi"')


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/v1/chat/completions", b"{", 400, "JSON"),
        ("/v1/chat/completions", b"[" * 100_000, 400, "JSON"),
        ("/v1/chat/completions", b"[]", 400, "object"),
        ("/v1/chat/completions", {"messages": []}, 400, "messages"),
        ("/v1/chat/completions", {"messages": SAID, "n": 200}, 400, "n must"),
        ("/v1/chat/completions", {"messages": SAID, "max_tokens": 0}, 400, "max_tokens"),
        (
            "/v1/chat/completions",
            {"messages": SAID, "max_tokens": "all"},
            400,
            "max_tokens",
        ),
        (
            "/v1/chat/completions",
            {"messages": SAID, "max_tokens": 4096},
            400,
            "4096 output tokens",
        ),
        (
            "/v1/chat/completions",
            {"messages": [SAID[0] | {"content": "x" * 20_000}]},
            400,
            "maximum context length",
        ),
        ("/v1/completions", {"prompt": "x", "max_tokens": 2, "min_tokens": 3}, 400, "min_tokens"),
        ("/v1/completions", {"prompt": "x", "min_tokens": -1}, 400, "min_tokens"),
        ("/v1/completions", {"prompt": "x", "stream": "perhaps"}, 400, "stream must be true or false"),
        ("/v1/completions", {"prompt": "x", "ignore_eos": 2}, 400, "ignore_eos"),
        ("/v1/completions", {"prompt": "x", "stream_options": {"include_usage": True}}, 400, "stream_options"),
        ("/v1/completions", {"prompt": "x", "stream": True, "stream_options": 5}, 400, "stream_options"),
        ("/v1/completions", {"prompt": []}, 400, "prompt"),
        ("/v1/completions", {"prompt": [-1]}, 400, "prompt"),
        ("/v1/completions", {"prompt": ["a", [1]], "n": 65}, 400, "n times"),
        ("/v1/completions", {"prompt": "x", "model": "other"}, 404, "`other` does not exist"),
        ("/v1/embeddings", {"input": "x"}, 404, "Not Found"),
        ("/v1/models", {}, 405, "Not Allowed"),
    ],
)
def test_what_cannot_be_served_is_refused_as_the_engine_does(
    tiny: Served, path: str, body: object, status: int, word: str
) -> None:
    answer = tiny.ask(path, body)
    assert answer.status == status
    told = answer.document
    assert word in (told["error"]["message"] if "error" in told else told["detail"])
    if "error" in told:
        assert told["error"]["code"] == status


def test_other_questions(tiny: Served) -> None:
    assert tiny.ask("/v1/models").document["data"][0] | {"created": 0} == {
        "id": "tiny", "object": "model", "created": 0, "owned_by": "vllm", "root": "tiny", "parent": None,
        "max_model_len": 4096,
    }  # fmt: skip
    assert tiny.ask("/health").body == b"" and tiny.ask("/ping").status == 200
    assert tiny.ask("/version").document == {"version": tiny.server.emulation.dialect.version}


def test_sglang_tells_of_itself_on_paths_of_its_own() -> None:
    with serving(emulated(words=("--engine", "sglang@0.5.23")), api_key="secret") as served:
        key = {"authorization": "Bearer secret"}
        while served.ask("/health").status != 200:
            pass
        for path in ("/server_info", "/get_server_info"):
            told = served.ask(path, **key).document
            assert (told["version"], told["max_running_requests"], told["context_length"]) == ("0.5.23", 64, 4096)
        assert served.ask("/model_info", **key).document["model_path"] == "tiny"
        assert served.ask("/v1/models/tiny", **key).document["root"] == "tiny"
        assert served.ask("/v1/models/other", **key).status == served.ask("/version", **key).status == 404
        assert served.ask("/tokenize", {"prompt": "x"}, **key).status == 404
        assert [served.ask(path).status for path in ("/metrics", "/health_generate", "/model_info")] == [200, 200, 401]


@pytest.mark.parametrize("stream", [False, True])
def test_a_proxy_that_knows_no_chunks_gets_the_same(tiny: Served, stream: bool) -> None:
    """What nginx speaks to servers unless told otherwise: an answer ends with its connection."""
    asked = completion(prompt="x", max_tokens=7, ignore_eos=True, stream=stream).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    with socket.create_connection((tiny.host, tiny.port), timeout=30) as raw:
        raw.sendall(asked)
        answer = b"".join(iter(lambda: raw.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 OK" in head and b"chunked" not in head.lower()
    told = Answered(200, {}, body)
    choices = [event["choices"][0] for event in told.events] if stream else told.document["choices"]
    new = tiny.ask("/v1/completions", {"prompt": "x", "max_tokens": 7, "ignore_eos": True}).document["choices"]
    assert "".join(choice["text"] for choice in choices) == new[0]["text"]


def test_a_client_that_leaves_frees_its_sequence(tiny: Served) -> None:
    """On a busy machine an answer may have ended before anybody looked: then another one is left."""
    for stream in (True, False):
        asked = completion(prompt="x" * 400, max_tokens=3500, ignore_eos=True, stream=stream)
        for _ in range(8):
            with socket.create_connection((tiny.host, tiny.port)) as raw:
                raw.sendall(asked)
                if tiny.settles("vllm:num_requests_running", 1, within_s=5.0):
                    break
        else:
            pytest.fail("no request was seen running")
        assert tiny.settles("vllm:num_requests_running", 0)
        assert tiny.settles("vllm:kv_cache_usage_perc", 0)


def test_one_connection_carries_requests_one_after_the_other(tiny: Served) -> None:
    body = b'{"prompt": "x", "max_tokens": 2}'
    body, one = b'{"prompt": "x", "max_tokens": 2}', completion(prompt="x", max_tokens=2)
    chunked = b"POST /v1/completions HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    chunked += b"5\r\n" + body[:5] + b"\r\n%x;a=b\r\n" % (len(body) - 5) + body[5:] + b"\r\n0\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    with socket.create_connection((tiny.host, tiny.port), timeout=10) as raw:
        for byte in one[:60]:
            raw.sendall(bytes([byte]))
        raw.sendall(one[60:] + chunked + last)
        found = b""
        while part := raw.recv(65_536):
            found += part
    assert found.count(b"HTTP/1.1 200 OK") == 3
    assert found.count(b"text_completion") == 2


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffffffff\r\n", 413),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, 431),
    ],
)
def test_what_is_no_http_is_answered_and_hung_up_on(tiny: Served, raw: bytes, status: int) -> None:
    with socket.create_connection((tiny.host, tiny.port), timeout=10) as connection:
        connection.sendall(raw)
        found = b""
        try:
            while part := connection.recv(65_536):
                found += part
        except ConnectionResetError:
            pass
    assert found.startswith(b"HTTP/1.1 %d " % status)


def test_a_body_in_many_chunks_is_read_once(tiny: Served) -> None:
    """Reading each piece anew took 8 s for 60 MB, in which nobody else was served."""
    piece = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    begun = time.monotonic()
    with socket.create_connection((tiny.host, tiny.port), timeout=30) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(100):
            client.sendall(piece * 100)
        client.sendall(b"0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - begun < 2.0


def test_a_key_is_asked_for_where_there_is_one() -> None:
    with serving(emulated(speed=100.0), api_key="sesame") as served:
        served.wait()
        assert served.chat(max_tokens=1).status == 401
        wrong = served.ask("/v1/models", None, Authorization="Bearer ses")
        assert (wrong.status, wrong.document) == (401, {"error": "Unauthorized"})
        assert served.ask("/v1/models", None, Authorization="Bearer sesame").status == 200
        assert served.ask("/metrics").status == 200
        assert b"sesame" not in served.ask("/metrics").body


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "0", "000.0.0.0", "0x0", "::0", "0:0:0:0:0:0:0:0", "192.0.2.7"])
def test_an_open_address_needs_a_key(host: str) -> None:
    with pytest.raises(BadInputError, match="SIZEWELL_API_KEY"):
        Door(host=host)
    assert "sesame" not in repr(Door(host=host, api_key="sesame"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "::1", "no.such.host.invalid"])
def test_this_machine_alone_needs_none(host: str) -> None:
    assert Door(host=host).api_key is None


@pytest.mark.parametrize("key", [" ", "sesame ", "ses\name"])
def test_a_key_no_client_can_send_is_refused(key: str) -> None:
    with pytest.raises(BadInputError, match="SIZEWELL_API_KEY"):
        Door(api_key=key)


def test_a_key_may_be_written_in_any_script() -> None:
    with serving(emulated(speed=100.0), api_key="ключ") as served:
        served.wait()
        said = "Bearer ключ".encode().decode("latin-1")
        assert served.ask("/v1/models", None, Authorization=said).status == 200


@pytest.mark.parametrize(
    ("engine", "version", "fields", "wording"),
    [
        ("vllm", "0.8.5", {"reasoning_content"}, "(5000 in the messages, 7 in the completion)"),
        ("vllm", "0.11.0", {"reasoning_content"}, "your request has 5000 input tokens"),
        ("vllm", "0.14.1", {"reasoning", "reasoning_content"}, "contains 5000 input tokens"),
        ("vllm", "0.33", {"reasoning"}, "contains 5000 input tokens"),
        ("sglang", "0.5.23", {"reasoning_content"}, "The input (5000 tokens) is longer"),
    ],
)
def test_each_engine_speaks_as_it_does(engine: str, version: str, fields: set[str], wording: str) -> None:
    dialect = Dialect(engine=engine, version=version)
    with serving(emulated(words=("--think", "5"), speed=100.0, dialect=dialect)) as served:
        served.wait()
        message = served.chat(max_tokens=9).document["choices"][0]["message"]
        assert set(message) == {"role", "content"} | fields
        refused = served.ask("/v1/completions", {"prompt": [1] * 5000, "max_tokens": 7})
        told = refused.document if engine == "sglang" or version == "0.8.5" else refused.document["error"]
        assert refused.status == 400 and wording in told["message"]
        assert (served.chat(model="other").status == 404) == (engine == "vllm")
        finished = [event["choices"][0] for event in served.chat(max_tokens=9, stream=True).events][-1]
        assert (finished["delta"] == {}) == (engine == "sglang")


def test_thinking_can_be_part_of_the_text() -> None:
    dialect = Dialect(engine="vllm", version="0.33", reasoning="text")
    with serving(emulated(words=("--think", "5", "--answer", "3"), speed=100.0, dialect=dialect)) as served:
        served.wait()
        whole = served.chat().document["choices"][0]["message"]["content"]
        streamed = "".join(event["choices"][0]["delta"].get("content", "") for event in served.chat(stream=True).events)
        assert whole == streamed
        thought, said = whole.removeprefix("<think>").split("</think>")
        assert (len(thought), len(said)) == (20, 12)


def test_a_conversation_finds_its_beginning_in_the_cache() -> None:
    with serving(emulated(speed=100.0)) as served:
        served.wait()
        first = [{"role": "user", "content": "Once upon a time " * 40}]
        said = served.ask("/v1/chat/completions", {"messages": first, "max_tokens": 64}).document
        turn = [*first, said["choices"][0]["message"], {"role": "user", "content": "and then?"}]
        served.ask("/v1/chat/completions", {"messages": turn, "max_tokens": 4})
        figures = dict(
            line.rsplit(" ", 1) for line in served.ask("/metrics").body.decode().splitlines() if "#" not in line
        )
        hits = next(float(value) for name, value in figures.items() if name.startswith("vllm:prefix_cache_hits_total"))
        # All but the piece the first turn ended in, a sixteenth of it.
        assert hits >= 0.9 * said["usage"]["total_tokens"] - 16
