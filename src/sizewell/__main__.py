"""`python -m sizewell` is the `sizewell` command."""

from __future__ import annotations

from sizewell.cli.main import main

if __name__ == "__main__":
    main()
