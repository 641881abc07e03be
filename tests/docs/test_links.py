"""Every link inside the documents leads somewhere, and so does every document the code's docstrings name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"docs/([a-z0-9-]+\.md)(?:#([a-z0-9-]+))?")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: Path) -> Iterator[str]:
    """Yield the relative links of a document that lead nowhere."""
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            yield target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_resolve(path: Path) -> None:
    assert list(broken(path)) == []


def test_documents_named_in_the_code_exist() -> None:
    missing = set()
    for source in sorted(ROOT.glob("src/**/*.py")):
        for name, anchor in NAMED.findall(source.read_text(encoding="utf-8")):
            path = ROOT / "docs" / name
            if not path.exists() or (anchor and anchor not in anchors(path)):
                missing.add(f"{source.relative_to(ROOT)}: docs/{name}{'#' + anchor if anchor else ''}")
    assert missing == set()
