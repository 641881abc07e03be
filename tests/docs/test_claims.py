"""The claims are quotations: short, literal, and covered by an evaluator."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.docs.claims import ClaimFile, read_claim_files
from tools.docs.evaluators import evaluate

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


def test_what_a_document_measured_is_computed_for_the_release_that_it_ran() -> None:
    """The cache of R1 on 16 H100 was "off by 2.8×" under a release of a year and a half later; under its own it is
    what the document says.
    """
    (slurm,) = (file for file in FILES if file.document == "r1-vllm-slurm-deployment.md")
    served = [claim for claim in slurm.claims if "gpus_per_node" in claim.case.arguments]
    assert {claim.case.arguments.get("engine_version") for claim in served if "eager" in claim.case.arguments} == {
        "0.8.5"
    }
    (cache,) = (claim for claim in served if claim.case.evaluator == "kv_pool_bytes")
    assert evaluate(cache.case).value == pytest.approx(366e9, rel=0.05)
