"""The `sizewell` command, also as `python -m sizewell`."""

from __future__ import annotations

import signal
import sys
from typing import Any, NoReturn

INTERRUPTED, BY_SIGNAL = 130, 128


def main() -> NoReturn:
    """Entry point of the console script; Ctrl-C is one line even while modules are still being loaded.

    Whoever is told to end (SIGTERM, SIGHUP) leaves as little behind as by Ctrl-C, and ends with 128 + the signal.
    """
    told: list[int] = []

    def end(number: int, _frame: Any) -> None:
        told.append(number)
        raise KeyboardInterrupt

    for each in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(each) == signal.SIG_DFL:
            signal.signal(each, end)
    try:
        from sizewell.cli.main import run

        code = run()
    except KeyboardInterrupt:
        sys.stderr.write("sizewell: interrupted\n")
        code = INTERRUPTED
    sys.exit(BY_SIGNAL + told[0] if told and code == INTERRUPTED else code)


if __name__ == "__main__":
    main()
