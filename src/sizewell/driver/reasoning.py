"""Thinking kept apart from the answer, whatever dialect a server speaks: a field of its own, or tags in the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

FIELDS = ("reasoning", "reasoning_content")
"""Names of the field, the newest first; servers disagree, so both are read always."""
OPEN, CLOSE = "<think>", "</think>"


class Parts(NamedTuple):
    """Text of one piece of output: what was thought and what was answered."""

    reasoning: str
    answer: str


def field_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message's or delta's own reasoning field, empty where it has none."""
    for name in FIELDS:
        text = message.get(name)
        if isinstance(text, str) and text:
            return text
    return ""


def content_of(content: object) -> Parts:
    """Return a message's content in its parts: a text, or a list of typed parts, some of them thinking."""
    parts = content if isinstance(content, list) else [content]
    thought = [_text(part["thinking"]) for part in parts if isinstance(part, Mapping) and "thinking" in part]
    answer = [_text(part) for part in parts if not (isinstance(part, Mapping) and "thinking" in part)]
    return Parts("".join(thought), "".join(answer))


def _text(part: object) -> str:
    if isinstance(part, list):
        return "".join(map(_text, part))
    text = part.get("text") if isinstance(part, Mapping) else part
    return text if isinstance(text, str) else ""


def parted(message: Mapping[str, Any]) -> Parts:
    """Return a whole message in its parts; tags in the text count only where there is no field."""
    thought, text = content_of(message.get("content"))
    own = field_of(message) or thought
    return Parts(own, text) if own else split(text)


def split(text: str) -> Parts:
    """Return a whole text in its parts.

    Thinking begins with a tag before any other text, or with the first character where the chat template has already
    written the tag and only the closing one comes. Never closed, all of it is thinking.
    """
    stream = TagStream()
    first, rest = stream.feed(text), stream.close()
    return Parts(
        (first.reasoning + rest.reasoning).strip("\n"),
        (first.answer + rest.answer).lstrip("\n") if stream.thought else text,
    )


class TagStream:
    """Tells thinking from answer in a text that comes in pieces; a tag may lie across several of them.

    Text before a closing tag that was never opened is handed out as answer first: nobody can know yet. `thought` says
    whether there was thinking, `unopened` that all handed out before was it.
    """

    __slots__ = ("_held", "_inside", "_seen", "_started", "thought", "unopened")

    def __init__(self) -> None:
        self._held = ""
        self._seen: list[str] = []
        self._started = False
        self._inside = False
        self.thought = False
        self.unopened = False

    def feed(self, piece: str) -> Parts:
        """Return what this piece makes known."""
        text = self._held + piece
        self._held = ""
        if not self._started:
            bare = text.lstrip()
            if OPEN.startswith(bare) and bare != OPEN:
                self._held = text
                return Parts("", "")
            self._started = True
            if bare.startswith(OPEN):
                self._inside = self.thought = True
                text = bare[len(OPEN) :]
        return self._after_start(text)

    def close(self) -> Parts:
        """Return what was held back for a tag that did not come."""
        held, self._held = self._held, ""
        return self._placed(held)

    def _after_start(self, text: str) -> Parts:
        if self.thought and not self._inside:
            return Parts("", text)
        if "<" not in text:  # nearly every piece: no tag begins or ends here
            return self._placed(text)
        before, tag, after = text.partition(CLOSE)
        if not tag:
            kept = _tail_of(text)
            self._held = text[len(text) - kept :]
            return self._placed(text[: len(text) - kept])
        if self._inside:
            self._inside = False
            return Parts(before, after)
        # The template wrote the opening tag: what was taken for an answer so far was thought.
        self.thought = self.unopened = True
        return Parts("".join([*self._seen, before]), after)

    def _placed(self, text: str) -> Parts:
        if self._inside:
            return Parts(text, "")
        self._seen.append(text)
        return Parts("", text)


def _tail_of(text: str) -> int:
    """Return how many last characters may be the beginning of a closing tag."""
    longest = min(len(CLOSE) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if CLOSE.startswith(text[-size:])), 0)
