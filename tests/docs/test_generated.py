"""The committed documents are what the code computes today: `make docs-rules` writes them again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.docs import __main__ as docs
from tools.docs import exercise
from tools.docs.executed import BLOCK, outputs

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*\.?\d*")
SMALL = 16
"""Numbers up to here in a takeaway are counts of the sentence, not results."""


@pytest.fixture(autouse=True)
def shipped_catalogue_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIZEWELL_CATALOG", str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["rules-of-thumb.md", "cost-model.md", "traffic.md"])
def test_a_generated_document_is_current(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert docs.GENERATED[name]() == written, f"docs/{name} is out of date: run `make docs-rules`"


def test_the_exercise_is_current_for_the_smallest_and_the_largest_distill() -> None:
    """The whole document takes half a minute of searches, which `python -m tools.docs --check` spends."""
    written = (ROOT / "docs" / "exercise.md").read_text(encoding="utf-8")
    for name in (exercise.DISTILLS[0], exercise.DISTILLS[-1]):
        asked = exercise.Asked(model=name, formats="16 bits", slo=exercise.CHAIN)
        assert exercise.answered(asked) in written, "docs/exercise.md is out of date: run `make docs-rules`"
    assert all(exercise.needs(name) in written for name in exercise.DISTILLS)


def takeaways() -> Iterator[tuple[str, str]]:
    """Yield every takeaway of the executed documents with all that its section prints."""
    text = "\n".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("cost-model.md", "traffic.md"))
    for section in re.split(r"^#+ ", text, flags=re.MULTILINE):
        for found in re.finditer(r"\*\*Takeaway\.\*\*(.*?)\n\n", BLOCK.sub("", section + "\n\n"), re.DOTALL):
            yield found[1], outputs(section)


@pytest.mark.parametrize(("words", "printed"), list(takeaways()), ids=lambda text: text[:30])
def test_figures_of_a_takeaway_were_printed_above_it(words: str, printed: str) -> None:
    figures = [number.rstrip(".,") for number in NUMBER.findall(words)]
    large = [figure for figure in figures if float(figure.replace(",", "")) > SMALL]
    assert [figure for figure in large if figure not in printed] == []
