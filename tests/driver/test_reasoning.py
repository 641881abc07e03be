"""Thinking and answer come apart in every dialect, and wherever a stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.driver.reasoning import TagStream, parted, split

CASES = [
    ("<think>\nhm\n</think>\n\nyes", ("hm", "yes")),
    ("  <think>hm</think>yes", ("hm", "yes")),
    ("hm\n</think>\n\nyes", ("hm", "yes")),
    ("<think>never closed", ("never closed", "")),
    ("<think></think>yes", ("", "yes")),
    ("no tags, <b>bold</b> a < b", ("", "no tags, <b>bold</b> a < b")),
    ("<thin air", ("", "<thin air")),
    ("a </think", ("", "a </think")),
    ("", ("", "")),
    ("<think>a <think> b</think> c </think> d", ("a <think> b", " c </think> d")),
]


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_a_text_is_split(text: str, parts: tuple[str, str]) -> None:
    assert tuple(split(text)) == parts


@given(st.sampled_from([text for text, _ in CASES]), st.lists(st.integers(0, 60), max_size=8))
def test_cuts_change_nothing(text: str, cuts: list[int]) -> None:
    stream, reasoning, answer, start = TagStream(), "", "", 0
    for end in [*sorted(min(cut, len(text)) for cut in cuts), len(text)]:
        unopened = stream.unopened
        found = stream.feed(text[start:end])
        if stream.unopened and not unopened:
            reasoning = answer = ""
        reasoning, answer, start = reasoning + found.reasoning, answer + found.answer, end
    rest = stream.close()
    reasoning, answer = reasoning + rest.reasoning, answer + rest.answer
    whole = split(text)
    assert (reasoning.strip("\n"), answer.strip("\n")) == (whole.reasoning, whole.answer.strip("\n"))


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_a_field_of_its_own_leaves_the_content_alone(name: str) -> None:
    assert parted({name: "hm", "content": "<think> is a tag"}) == ("hm", "<think> is a tag")
    assert parted({name: None, "content": "<think>hm</think>yes"}) == ("hm", "yes")
    assert parted({name: "hm", "content": None}) == ("hm", "")
