"""Writes the generated documents: `python -m tools.docs`; with `--check` it only says which are out of date."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.docs.claims import read_claim_files
from tools.docs.evaluators import evaluate
from tools.docs.exercise import render as render_exercise
from tools.docs.rules_of_thumb import render as render_rules

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def rules_of_thumb() -> str:
    """Return docs/rules-of-thumb.md."""
    return render_rules(read_claim_files(DOCS / "claims"), evaluate)


GENERATED: Mapping[str, Callable[[], str]] = {
    "rules-of-thumb.md": rules_of_thumb,
    "exercise.md": render_exercise,
}
"""Document under docs/ → what writes it."""


def main(arguments: list[str]) -> int:
    """Write every generated document; return 1 if `--check` finds one that differs."""
    stale = [name for name, write in GENERATED.items() if not _current(DOCS / name, write())]
    if "--check" in arguments:
        print("\n".join(f"docs/{name} is out of date: run `make docs-rules`" for name in stale))
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(GENERATED[name](), encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


def _current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
