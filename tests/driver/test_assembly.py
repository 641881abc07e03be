"""Streams of every shape: put together to the body that would have come at once, or refused as one exchange."""

from __future__ import annotations

from typing import Any

import pytest

from sizewell.driver.assembly import Assembly, refuse_error
from sizewell.driver.failures import ExchangeError
from sizewell.driver.replies import reply_of


def _delta(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _body(*chunks: dict[str, Any]) -> dict[str, Any]:
    whole = Assembly()
    for chunk in (*chunks, None):
        whole.add(chunk)
    return whole.body()


def _message(*chunks: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = _body(*chunks, _delta("stop"))["choices"][0]["message"]
    return message


def test_a_refusal_and_a_call_are_no_empty_answers() -> None:
    refused = _message(_delta(role="assistant", content=""), _delta(refusal="I "), _delta(refusal="won't"))
    assert refused == {"role": "assistant", "content": "", "refusal": "I won't"}
    called = _message(
        _delta(function_call={"name": "f", "arguments": "{"}),
        _delta(tool_calls=[{"index": 1, "id": "b", "type": "function", "function": {"name": "h", "arguments": ""}}]),
        _delta(tool_calls=[{"index": 0, "id": "a", "type": "function", "function": {"name": "g", "arguments": "{"}}]),
        _delta(tool_calls=[{"index": 0, "id": "a", "type": "function", "function": {"arguments": "}"}}]),
        _delta(function_call={"arguments": "}"}),
    )
    assert called["function_call"] == {"name": "f", "arguments": "{}"}
    assert called["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "h", "arguments": ""}},
    ]


def test_probabilities_and_what_stopped_it_are_kept() -> None:
    def piece(token: str, **more: Any) -> dict[str, Any]:
        logprobs = {"content": [{"token": token, "logprob": -1.0}]}
        return {"choices": [{"index": 0, "delta": {"content": token}, "logprobs": logprobs, **more}]}

    (choice,) = _body(piece("a"), piece("b", finish_reason="stop", stop_reason="###"))["choices"]
    assert [one["token"] for one in choice["logprobs"]["content"]] == ["a", "b"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "###")
    text = [
        {"choices": [{"index": 0, "text": t, "logprobs": {"tokens": [t]}, "finish_reason": "length"}]} for t in "ab"
    ]
    assert _body(*text)["choices"] == [
        {"index": 0, "text": "ab", "logprobs": {"tokens": ["a", "b"]}, "finish_reason": "length"}
    ]


def test_a_body_says_what_it_is_and_keeps_the_names_of_its_fields() -> None:
    body = _body(_delta(reasoning_content="h"), _delta(reasoning_content="m"), _delta("stop", content="yes"))
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "yes", "reasoning_content": "hm"}


def test_content_in_parts_is_thinking_and_answer_whole_and_streamed() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    parts = [thinking, {"type": "text", "text": "ye"}, {"type": "text", "text": "s"}]
    streamed = _body(*(_delta(content=[part]) for part in parts), _delta("stop", content=""))
    at_once = {"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}
    assert [reply_of(body, "").parts for body in (streamed, at_once)] == [("hm", "yes")] * 2


@pytest.mark.parametrize(
    "choices",
    [[None], "x", {"0": 1}, [{"delta": [1]}], [{"delta": "x"}], [{"delta": {"tool_calls": [None]}}], [{"index": "a"}],
     [{"delta": {"x": "a"}}, {"delta": {"x": {}}}], [{"delta": {"x": [1]}}, {"delta": {"x": "a"}}]],
)  # fmt: skip
def test_a_chunk_of_no_shape_costs_one_exchange_and_not_the_batch(choices: Any) -> None:
    with pytest.raises(ExchangeError) as raised:
        Assembly().add({"choices": choices})
    assert raised.value.again


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_the_engine_gave_up_is_asked_again(reason: str) -> None:
    with pytest.raises(ExchangeError, match=reason) as raised:
        reply_of(_body(_delta(content="a part"), _delta(reason)), "")
    assert raised.value.again


@pytest.mark.parametrize(
    ("code", "status"), [(400, 400), ("400", 400), ("503", 503), ("context_length", 500), (None, 500), (7, 500)]
)
def test_an_error_in_a_good_response_has_its_own_code(code: object, status: int) -> None:
    with pytest.raises(ExchangeError, match="too long") as raised:
        refuse_error({"error": {"message": "too long", "code": code}})
    assert raised.value.status == status
