"""Server-sent events, parsed as their bytes come, however the network cut them."""

from __future__ import annotations

from sizewell.driver.failures import ExchangeError

MOST_EVENT_BYTES = 32 * 2**20
"""Bytes of one unfinished event beyond which a stream is refused."""
DONE = b"[DONE]"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventParser:
    """Turns pieces of a stream into the data of whole events.

    Lines end with LF, CRLF or CR; comments (keep-alives) and fields other than `data` are dropped; several data
    lines of one event are joined by LF. Data stay bytes until an event is whole, so a character cut in two is none
    of our concern.
    """

    __slots__ = ("_after_return", "_data", "_line", "_start")

    def __init__(self) -> None:
        self._line = b""
        self._data: list[bytes] = []
        self._after_return = False
        self._start = True

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that this piece completes; raises ExchangeError for an endless one."""
        text = self._line + self._unified(piece)
        *lines, self._line = text.split(b"\n")
        if len(self._line) > MOST_EVENT_BYTES:
            raise ExchangeError("malformed", f"an event of the stream exceeds {MOST_EVENT_BYTES} bytes")
        found: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._data:
                found.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data = []
        return found

    def close(self) -> list[bytes]:
        """Return the data of an event whose blank line never came: some servers leave it out at the end."""
        return self.feed(b"\n\n")

    def _unified(self, piece: bytes) -> bytes:
        """Return a piece with every line end as LF; a CRLF may lie across two pieces."""
        if self._start and piece:
            piece, self._start = piece.removeprefix(BYTE_ORDER_MARK), False
        if self._after_return and piece:
            piece, self._after_return = piece.removeprefix(b"\n"), False
        if b"\r" in piece:
            self._after_return = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece
