"""The `sizewell` command, also as `python -m sizewell`."""

from __future__ import annotations

import sys
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Entry point of the console script; Ctrl-C is one line even while modules are still being loaded."""
    try:
        from sizewell.cli.main import run

        code = run()
    except KeyboardInterrupt:
        sys.stderr.write("sizewell: interrupted\n")
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
