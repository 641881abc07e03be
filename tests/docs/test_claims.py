"""The claims are quotations: short, literal, and covered by an evaluator."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.docs.claims import ClaimFile, read_claim_files

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT.parent / "shared" / "source-documents"
FILES = read_claim_files(ROOT / "docs" / "claims")


def test_every_document_has_claims() -> None:
    assert len(FILES) == 5
    assert sum(len(file.claims) for file in FILES) > 100


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.document)
def test_words_are_quoted_literally(file: ClaimFile) -> None:
    path = DOCUMENTS / file.document
    if not path.exists():
        pytest.skip("the source documents are not beside this checkout")
    text = " ".join(path.read_text(encoding="utf-8").split())
    quoted = [entry.words for entry in (*file.claims, *file.unchecked)]
    assert [words for words in quoted if " ".join(words.split()) not in text] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.document)
def test_no_claim_is_made_twice(file: ClaimFile) -> None:
    keys = [(claim.words, claim.case.evaluator, claim.unit) for claim in file.claims]
    assert len(keys) == len(set(keys))
