"""Write again every block of README and docs that shows what the program prints; `--check` fails when one differs.

A block is marked by a comment line `<!-- run: sizewell … -->` right before its fence. What differs from run to run
(timings) is never shown this way.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- run: (?P<command>[^\n]+?) -->\n```[a-z]*\n)(?P<body>.*?)(\n?```)", re.DOTALL)


def output_of(command: str) -> str:
    """Return what a `sizewell` command prints on both streams, without trailing blanks; ` | head -N` is understood."""
    words, _, cut = command.partition(" | head -")
    program, *arguments = shlex.split(words)
    if program != "sizewell":
        raise SystemExit(f"docs may only show sizewell, not {program!r}")
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "sizewell", *arguments],
        cwd=ROOT, env=environment, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if "Traceback" in done.stdout:
        raise SystemExit(f"{command}\n{done.stdout}")
    lines = [line.rstrip() for line in done.stdout.strip("\n").splitlines()]
    return "\n".join([*lines[: int(cut)], "…"] if cut and len(lines) > int(cut) else lines)


def renewed(text: str) -> str:
    """Return a page with every marked block's body replaced by the program's output."""
    return BLOCK.sub(lambda block: f"{block[1]}{output_of(block['command'])}\n```", text)


def main() -> int:
    """Rewrite the pages, or compare them; return the exit code."""
    check = "--check" in sys.argv[1:]
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fresh = renewed(text)
        if fresh != text:
            stale.append(page.relative_to(ROOT).as_posix())
            if not check:
                page.write_text(fresh, encoding="utf-8")
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run `make docs` and commit", file=sys.stderr)
        return 1
    print(f"{len(PAGES)} pages, {len(stale)} rewritten" if not check else f"{len(PAGES)} pages are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
