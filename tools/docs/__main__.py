"""Writes the generated documents: `python -m tools.docs`; with `--check` it only says which are out of date."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.docs.accuracy import render as render_accuracy
from tools.docs.claims import read_claim_files
from tools.docs.evaluators import evaluate
from tools.docs.executed import executed
from tools.docs.exercise import render as render_exercise
from tools.docs.rules_of_thumb import render as render_rules

DOCS = Path(__file__).parents[2] / "docs"
NO_CATALOGUE = "/nonexistent"
"""The documents show the shipped catalogue, whatever the person who writes them keeps beside it."""


def rules_of_thumb() -> str:
    """Return docs/rules-of-thumb.md."""
    return render_rules(read_claim_files(DOCS / "claims"), evaluate)


def cost_model() -> str:
    """Return docs/cost-model.md with what its blocks print now."""
    path = DOCS / "cost-model.md"
    return executed(path.read_text(encoding="utf-8"), str(path))


GENERATED: Mapping[str, Callable[[], str]] = {
    "rules-of-thumb.md": rules_of_thumb,
    "cost-model.md": cost_model,
    "exercise.md": render_exercise,
    "accuracy.md": render_accuracy,
}
"""Document under docs/ → what writes it."""


def main(arguments: list[str]) -> int:
    """Write every generated document; return 1 if `--check` finds one that differs."""
    os.environ["SIZEWELL_CATALOG"] = NO_CATALOGUE
    stale = {name: text for name, text in ((n, write()) for n, write in GENERATED.items()) if not _current(name, text)}
    for name, text in stale.items():
        if "--check" in arguments:
            print(f"docs/{name} is out of date: run `make docs-rules`")
        else:
            (DOCS / name).write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    return 1 if stale and "--check" in arguments else 0


def _current(name: str, text: str) -> bool:
    path = DOCS / name
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
