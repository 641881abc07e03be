"""Records of what was started: whole or not there, one for each name, read back as they were written."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from launches import STARTED
from sizewell.deployer.kept import Deployments
from sizewell.specs.errors import BadInputError, UnknownNameError

FILES = {"serve.sh": "#!/bin/sh\n"}


@pytest.fixture
def kept(tmp_path: Path) -> Deployments:
    """An empty folder of records."""
    return Deployments(tmp_path / "deployments")


def test_a_record_is_read_as_it_was_written(kept: Deployments) -> None:
    folder = kept.claim(STARTED, FILES)
    assert kept.read("tiny") == STARTED
    assert os.access(folder / "serve.sh", os.X_OK)
    kept.keep(changed := replace(STARTED, ready_at="2026-11-29T20:01:00+00:00"))
    assert kept.read("tiny") == changed
    assert sorted(path.name for path in folder.iterdir()) == ["deployment.json", "serve.sh"]


def test_a_name_in_use_is_refused_until_it_is_down(kept: Deployments) -> None:
    kept.claim(STARTED, FILES)
    with pytest.raises(BadInputError, match="sizewell down tiny"):
        kept.claim(STARTED, FILES)
    kept.keep(replace(STARTED, ended_at="2026-11-29T20:02:00+00:00"))
    kept.claim(again := replace(STARTED, port=9000), FILES)
    assert kept.read("tiny") == again
    assert [path.name for path in kept.folder("tiny").parent.iterdir()] == ["tiny"]


def test_of_many_who_claim_a_name_at_once_one_gets_it(kept: Deployments) -> None:
    won: list[int] = []
    together = threading.Barrier(8)

    def claim(number: int) -> None:
        together.wait()
        try:
            kept.claim(replace(STARTED, port=number), FILES)
            won.append(number)
        except BadInputError:
            return

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [kept.read("tiny").port] == won
    assert [path.name for path in kept.folder("tiny").parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 41, "é", "a\n"])
def test_a_name_that_is_no_folder_of_ours_is_refused(kept: Deployments, name: str) -> None:
    with pytest.raises(BadInputError, match="--name"):
        kept.claim(replace(STARTED, name=name), FILES)
    with pytest.raises(UnknownNameError):
        kept.read(name)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "sizewell/deployment/2"}', '{"schema": 1, "name": "x"}'])
def test_a_record_of_something_else_is_one_line(kept: Deployments, text: str) -> None:
    (kept.claim(STARTED, FILES) / "deployment.json").write_text(text)
    with pytest.raises(BadInputError, match="no record"):
        kept.read("tiny")


def test_who_is_forgotten_leaves_nothing(kept: Deployments) -> None:
    kept.claim(STARTED, FILES)
    kept.forget("tiny")
    kept.forget("tiny")
    assert kept.names() == () and list(kept.folder("tiny").parent.iterdir()) == []
