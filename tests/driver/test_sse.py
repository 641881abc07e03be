"""Events come out the same however their bytes were cut, whatever ends their lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sizewell.driver.sse import EventParser

TEXTS = st.lists(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=6
)


def _parsed(data: bytes, cuts: list[int]) -> list[bytes]:
    parser, found, start = EventParser(), [], 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += parser.feed(data[start:end])
        start = end
    return found + parser.close()


@given(TEXTS, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 10_000), max_size=30))
def test_any_cut_gives_the_same_events(texts: list[str], end: str, cuts: list[int]) -> None:
    events = "".join(f": ping{end}{end}event: x{end}data: {text}{end}{end}" for text in texts)
    assert _parsed(events.encode(), cuts) == [text.encode() for text in texts]


def test_several_data_lines_are_one_event_and_the_last_needs_no_blank_line() -> None:
    assert _parsed(b"data: a\ndata:b\n\ndata: c", []) == [b"a\nb", b"c"]


def test_a_byte_order_mark_and_unknown_fields_are_dropped() -> None:
    assert _parsed(b"\xef\xbb\xbfretry: 5\nid: 1\ndata: a\n\n\n\n", [1]) == [b"a"]
