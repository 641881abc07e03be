"""What a deployment is called: as it was named, or made from what clients ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.deployer.kept import NAME
from sizewell.deployer.launch import Launch, plain_name
from sizewell.specs.errors import BadInputError


@given(st.text(max_size=60))
def test_any_text_makes_a_name_that_every_scheduler_takes(text: str) -> None:
    name = plain_name(text)
    assert NAME.fullmatch(name) and name[0].isalpha()
    assert plain_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("büro 1", "buro-1"), ("Straße", "strasse"), ("Élan/vital", "elan-vital"), ("$(id)", "id"), ("日本語", "model"),
        ("1e3", "model-1e3"), ("", "model"), ("a" * 39 + "-b", "a" * 39),
    ],
)  # fmt: skip
def test_accents_fall_and_all_else_is_a_dash(text: str, name: str) -> None:
    assert plain_name(text) == name


@pytest.mark.parametrize("name", ["büro 1", "A", "1b", "a--b", "-a", "a-", "a" * 41, "a\n"])
def test_a_name_that_was_given_is_never_changed(one_node: Launch, name: str) -> None:
    assert replace(one_node, site=replace(one_node.site, name="buro-1")).name == "buro-1"
    with pytest.raises(BadInputError, match="--name"):
        replace(one_node, site=replace(one_node.site, name=name))
