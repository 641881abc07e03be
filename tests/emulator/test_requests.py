"""What a request may say, how it is refused, and what it gets where it asks for several answers."""

from __future__ import annotations

import http.client
import json
import socket
from math import exp
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from emulated import Served, completion, emulated, serving
from sizewell.emulator.answers import Reply
from sizewell.emulator.asks import read_call

if TYPE_CHECKING:
    from sizewell.emulator.http import Exchange


@pytest.mark.parametrize("given", [
    {"temperature": "hot"}, {"temperature": -1}, {"temperature": 3}, {"top_p": 0}, {"top_p": "1,0"}, {"min_p": 2},
    {"presence_penalty": 9}, {"repetition_penalty": 0}, {"top_k": -5}, {"top_k": 1.5}, {"seed": "a"}, {"seed": []},
    {"stop": 5}, {"user": 5}, {"tools": {}}, {"n": 0}, {"n": 129}, {"n": "two"}, {"best_of": 2}, {"max_tokens": 1.5},
    {"stream": "maybe"}, {"logprobs": "please"}, {"top_logprobs": 2}, {"model": 5}, {"temperature": float("nan")},
    {"messages": [{"content": "x"}]}, {"messages": [{"role": 7}]}, {"messages": [{"role": "user", "content": 5}]},
    {"messages": [{"role": "user", "content": [5]}]}, {"messages": [{"role": "user", "content": [{"text": 5}]}]},
    {"seed": 10**30}, {"response_format": {"type": "yaml"}}, {"response_format": {"type": "json_schema"}},
    {"tool_choice": "auto"}, {"tool_choice": "any", "tools": [{"type": "function"}]},
    {"top_logprobs": 21, "logprobs": True}, {"top_logprobs": -2, "logprobs": True},
])  # fmt: skip
def test_what_no_engine_takes_is_refused_by_its_name(tiny: Served, given: dict[str, object]) -> None:
    answer = tiny.chat(**{"max_tokens": 1, **given})
    assert (answer.status, answer.document["error"]["param"]) == (400, next(iter(given)))


@pytest.mark.parametrize("given", [
    {"temperature": "0.5"}, {"temperature": 2}, {"top_p": 1}, {"top_k": 0}, {"top_k": -1}, {"max_tokens": "2"},
    {"max_tokens": 2.0}, {"stream": "no"}, {"ignore_eos": 1}, {"stop": ["a"]}, {"logprobs": True, "top_logprobs": 2},
    {"seed": None}, {"messages": [{"role": "user", "content": ["a", {"type": "text", "text": "b"}]}]},
    {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, {"tool_choice": "none"},
    {"tool_choice": "required", "tools": [{"type": "function"}]}, {"response_format": {"type": "json_object"}},
    {"priority": 10**30}, {"priority": -(10**30)},
])  # fmt: skip
def test_what_engines_read_leniently_is_taken(tiny: Served, given: dict[str, object]) -> None:
    assert tiny.chat(**{"max_tokens": 2, **given}).document["usage"]["completion_tokens"] == 2


def test_a_body_says_that_it_is_json(tiny: Served) -> None:
    """curl --data without a header is refused by the engines, too."""
    body = {"prompt": "x", "max_tokens": 1}
    assert tiny.ask("/v1/completions", body, **{"content-type": "application/x-www-form-urlencoded"}).status == 400
    assert tiny.ask("/v1/completions", body, **{"content-type": "application/json; charset=utf-8"}).status == 200


def test_every_prompt_of_a_list_gets_its_choices(tiny: Served) -> None:
    given = {"prompt": ["one", [1, 2, 3, 4, 5]], "n": 2, "max_tokens": 6, "ignore_eos": True}
    whole = tiny.ask("/v1/completions", given).document
    alone = tiny.ask("/v1/completions", {**given, "prompt": "one", "n": 1}).document
    assert [each["index"] for each in whole["choices"]] == [0, 1, 2, 3]
    texts = [each["text"] for each in whole["choices"]]
    assert texts[0] == alone["choices"][0]["text"] and len(set(texts)) == 4
    assert whole["usage"] == {"prompt_tokens": 1 + 5, "completion_tokens": 4 * 6, "total_tokens": 6 + 24}
    events = tiny.ask("/v1/completions", {**given, "stream": True, "stream_options": {"include_usage": True}}).events
    streamed = [""] * 4
    for event in events[:-1]:
        (choice,) = event["choices"]
        streamed[choice["index"]] += choice["text"]
    assert streamed == texts and events[-1]["usage"] == whole["usage"]
    assert sum(event["choices"][0]["finish_reason"] == "length" for event in events[:-1]) == 4


def test_choices_of_a_chat_think_and_speak_each(tiny: Served) -> None:
    whole = tiny.chat(n=3).document
    assert len({choice["message"]["reasoning"] for choice in whole["choices"]}) == 3
    assert whole["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3 * 8}
    events = tiny.chat(n=3, stream=True).events
    for index, choice in enumerate(whole["choices"]):
        deltas = [event["choices"][0]["delta"] for event in events if event["choices"][0]["index"] == index]
        assert deltas[0] == {"role": "assistant", "content": ""}
        for field in ("reasoning", "content"):
            assert "".join(delta.get(field, "") for delta in deltas) == choice["message"][field]


def test_a_client_that_leaves_frees_all_its_choices() -> None:
    with serving(emulated()) as served:
        served.wait()
        with socket.create_connection((served.host, served.port)) as client:
            client.sendall(completion(prompt=["a", "b", "c"], n=2, max_tokens=3000, ignore_eos=True, stream=True))
            assert served.settles("vllm:num_requests_running", 6)
        assert served.settles("vllm:num_requests_running", 0)
        assert sum(served.figures("vllm:request_success_total").values()) == 6


def test_usage_may_come_with_every_event(tiny: Served) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    events = tiny.chat(stream=True, max_tokens=5, ignore_eos=True, stream_options=options).events
    assert [event["usage"]["completion_tokens"] for event in events if event["choices"]][-1] == 5
    counted = [event["usage"]["completion_tokens"] for event in events]
    assert counted == sorted(counted) and all(event["usage"]["prompt_tokens"] > 0 for event in events)


def test_tokens_come_once_each_whether_there_was_time_to_make_them_ready_or_not() -> None:
    emulation = emulated()
    body = json.dumps({"prompt": "x", "max_tokens": 8, "ignore_eos": True, "stream": True}).encode()
    call = read_call(body, "application/json", emulation, chat=False)

    def sent(ready_after: str) -> str:
        parts: list[bytes] = []
        exchange = SimpleNamespace(write=parts.append, start_stream=lambda: None, end_stream=parts.append)
        answer = Reply(cast("Exchange", exchange), call, emulation).answers[0]
        for each in ready_after:
            answer.gain(1)
            if each == "r":
                answer.prepare()
        events = [line[6:] for line in b"".join(parts).decode().split("\r\n") if line.startswith("data: {")]
        return "".join(json.loads(event)["choices"][0]["text"] for event in events)

    assert len(sent("........").split()) == 8
    assert sent("rrrrrrrr") == sent("r.r..rr.") == sent("........")


def test_probabilities_come_with_each_token_in_streams_and_whole(tiny: Served) -> None:
    asked = {"max_tokens": 6, "ignore_eos": True, "logprobs": True, "top_logprobs": 3}
    (whole,) = tiny.chat(**asked).document["choices"]
    told = whole["logprobs"]["content"]
    message = whole["message"]
    assert "".join(each["token"] for each in told) == (message.get("reasoning") or "") + (message["content"] or "")
    for each in told:
        assert bytes(each["bytes"]).decode() == each["token"] and len(each["top_logprobs"]) == 3
        ranked = [other["logprob"] for other in each["top_logprobs"]]
        assert ranked == sorted(ranked, reverse=True) and each["logprob"] == ranked[0] < 0
        assert sum(exp(value) for value in ranked) < 1
    choices = [choice for event in tiny.chat(**asked, stream=True).events for choice in event["choices"]]
    assert [each for choice in choices for each in (choice["logprobs"] or {"content": []})["content"]] == told
    (none_beside,) = tiny.chat(**{**asked, "top_logprobs": 0}).document["choices"]
    assert none_beside["logprobs"]["content"][0]["top_logprobs"] == []
    assert tiny.chat(max_tokens=2).document["choices"][0]["logprobs"] is None


def test_probabilities_of_a_completion_say_where_each_token_stands(tiny: Served) -> None:
    asked = {"prompt": "Once", "max_tokens": 5, "ignore_eos": True, "logprobs": 2, "echo": True}
    (choice,) = tiny.ask("/v1/completions", asked).document["choices"]
    told = choice["logprobs"]
    for token, at in zip(told["tokens"], told["text_offset"], strict=True):
        assert choice["text"][at : at + len(token)] == token
    assert [len(each) for each in told["top_logprobs"]] == [2] * 5 and len(told["token_logprobs"]) == 5
    assert tiny.ask("/v1/completions", {**asked, "logprobs": 99}).status == 400


def test_tokens_are_told_as_they_are_counted(tiny: Served) -> None:
    text = "Hello there, übel"
    told = tiny.ask("/tokenize", {"prompt": text, "return_token_strs": True}).document
    counted = tiny.ask("/v1/completions", {"prompt": text, "max_tokens": 1}).document["usage"]["prompt_tokens"]
    assert told["count"] == len(told["tokens"]) == len(told["token_strs"]) == counted
    assert told["max_model_len"] == 4096
    assert tiny.ask("/detokenize", {"tokens": told["tokens"]}).document["prompt"].strip() == text
    chat = {"messages": [{"role": "user", "content": "Hello there"}]}
    opened = tiny.ask("/tokenize", chat).document["count"]
    assert opened == tiny.chat(max_tokens=1).document["usage"]["prompt_tokens"]
    assert tiny.ask("/tokenize", {**chat, "add_generation_prompt": False}).document["count"] == opened - 4
    for body in ({}, {"prompt": 5}, {"messages": []}):
        assert tiny.ask("/tokenize", body).status == 400
    assert tiny.ask("/detokenize", {"tokens": "x"}).status == 400
    assert (tiny.ask("/tokenize").status, tiny.ask("/tokenize", {"model": "x", "prompt": "y"}).status) == (405, 404)


def test_a_page_of_another_origin_may_ask(tiny: Served) -> None:
    connection = http.client.HTTPConnection(tiny.host, tiny.port, timeout=30)
    asks = {"origin": "http://page", "access-control-request-method": "POST"}
    wants = {"access-control-request-headers": "content-type,authorization"}
    connection.request("OPTIONS", "/v1/chat/completions", headers={**asks, **wants})
    answer = connection.getresponse()
    assert answer.status == 200 and answer.getheader("access-control-allow-origin") == "*"
    assert answer.getheader("access-control-allow-headers") == wants["access-control-request-headers"]
    answer.read()
    connection.close()
    assert tiny.chat(max_tokens=1).headers["access-control-allow-origin"] == "*"
    assert tiny.chat(max_tokens=1, stream=True).headers["access-control-allow-origin"] == "*"
