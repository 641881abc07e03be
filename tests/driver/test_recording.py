"""What a stream carried: pieces with text, pieces without, and tokens that only the server's count knows of."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from sizewell.driver.failures import ExchangeError
from sizewell.driver.recording import Recording
from sizewell.traffic.run import FAILED, OK


def _recorded(tokens: int, *choices: dict[str, Any]) -> Recording:
    """Return a request whose stream brought these choices, one a second, and then the server's count."""
    one = Recording(row=0, scheduled_s=0.0, asked_tokens=3, sent_s=0.0)
    for number, choice in enumerate(choices, 1):
        one.take({"choices": [choice]}, float(number))
    one.ended = True
    one.take({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": tokens}}, float(len(choices)))
    one.end()
    return one


@pytest.mark.parametrize("end", [{"text": "", "finish_reason": "length"}, {"delta": {}, "finish_reason": "length"}])
def test_an_only_token_that_is_no_whole_character_has_its_time(end: dict[str, Any]) -> None:
    one = _recorded(1, end)
    assert (one.status, one.token_s, one.first_answer_s, one.output_tokens) == (OK, [1.0], 1.0, 1)


def test_a_last_token_without_text_comes_when_the_stream_ends() -> None:
    one = _recorded(3, {"text": "a"}, {"text": "b"}, {"text": "", "finish_reason": "stop"})
    assert one.token_s == [1.0, 2.0, 3.0]


def test_an_end_that_carries_nothing_is_no_token() -> None:
    one = _recorded(2, {"text": "a"}, {"text": "b"}, {"text": "", "finish_reason": "stop"})
    assert one.token_s == [1.0, 2.0]


def test_thinking_that_ends_in_silence_is_no_answer() -> None:
    one = _recorded(2, {"delta": {"reasoning": "hm"}}, {"delta": {}, "finish_reason": "length"})
    assert (one.token_s, one.first_answer_s) == ([1.0, 2.0], pytest.approx(nan, nan_ok=True))


@pytest.mark.parametrize(("finish", "done"), [("stop", False), (None, True), (None, False)])
def test_a_stream_that_breaks_off_has_failed(finish: str | None, done: bool) -> None:
    """Behind a proxy an engine's death ends its streams like any other end."""
    one = Recording(row=0, scheduled_s=0.0, asked_tokens=3, sent_s=0.0)
    one.take({"choices": [{"text": "a", "finish_reason": finish}]}, 1.0)
    one.ended = one.ended or done
    one.end()
    assert (one.status == OK) is bool(finish or done)


def test_a_stream_without_any_token_has_failed() -> None:
    assert _recorded(0, {"text": "", "finish_reason": "stop"}).status == FAILED


def test_thinking_parts_are_no_answer() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    one = _recorded(2, {"delta": {"content": [thinking]}}, {"delta": {"content": [{"type": "text", "text": "yes"}]}})
    assert (one.token_s, one.first_answer_s, one.think_tokens) == ([1.0, 2.0], 2.0, 1)


@pytest.mark.parametrize("choice", [None, "x", {"delta": {"content": "a"}, "finish_reason": "abort"}])
def test_what_is_no_choice_or_was_given_up_fails_its_request_alone(choice: Any) -> None:
    with pytest.raises(ExchangeError):
        _recorded(1, choice)
