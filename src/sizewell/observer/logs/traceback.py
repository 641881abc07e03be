"""The traceback an engine prints: whose code ran last, and the statement that failed."""

from __future__ import annotations

import re
from dataclasses import replace

from sizewell.observer.logs.log_line import LogLine

_OPENS = re.compile(r"Traceback \(most recent call last\):")
_FRAME = re.compile(r'\s*File "(?P<path>[^"]+)", line \d+(?:, in (?P<function>\S+))?')
_OWN = re.compile(
    r".*/(?P<file>(?:vllm|sglang|sgl_kernel|flashinfer|flash_attn|flash_mla|deep_gemm|deep_ep|aiter|triton|tilelang)/"
    r"(?!.*-packages/).+)"
)
_CODE = " " * 4
"""How a traceback indents the statements it shows: they name errors that may not have happened."""
_OPEN = re.compile(r"^(?:\w+\.)*\w+(?:Error|Exception): *$")
"""An exception whose words begin on the next line."""
_WORDLESS = "AssertionError"


class Traceback:
    """The traceback read last; `place` is the innermost frame of the engine and its kernels, `file in function`.

    Libraries below them refuse what the engine hands on, so their frames say less on why.
    """

    def __init__(self) -> None:
        self.place = ""
        self._statement: LogLine | None = None
        self._opened = ""

    def read(self, line: LogLine) -> bool:
        """Take a line in; return whether it is a frame or a statement, which accuse nobody."""
        if _OPENS.search(line.message):
            self.place, self._statement = "", None
            return False
        if found := _FRAME.match(line.message):
            own = _OWN.match(found["path"])
            self.place = f"{own['file']} in {found['function'] or ''}" if own else self.place
            self._statement = None
            return True
        if not line.message.startswith(_CODE) or self._opened:
            return False
        self._statement = self._statement or line
        return True

    def worded(self, line: LogLine) -> LogLine:
        """Return the line with what it leaves out: an assertion's statement, or the exception opened before."""
        if line.message.strip() == _WORDLESS and self._statement is not None:
            return replace(self._statement, message=f"{_WORDLESS}: {self._statement.message.strip()}")
        opened, self._opened = self._opened, line.message.strip() if _OPEN.search(line.message) else ""
        return replace(line, message=f"{opened} {line.message.strip()}") if opened else line
