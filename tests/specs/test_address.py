"""Which of several keys in the environment opens a server."""

from __future__ import annotations

import pytest

from sizewell.deployer.words import KEYS
from sizewell.specs.address import Secret, base_url, secret_from
from sizewell.specs.errors import BadInputError


@pytest.mark.parametrize("variable", KEYS.values())
def test_the_key_an_engine_was_started_with_opens_it(variable: str) -> None:
    """It wins over a key of OpenAI's own service, which the engine would refuse, and must not see."""
    assert secret_from({variable: "mine", "OPENAI_API_KEY": "theirs"}).key == "mine"
    assert secret_from({variable: "mine", "SIZEWELL_API_KEY": "said"}).key == "said"


def test_a_key_is_hidden_in_texts_and_not_in_the_names_of_fields() -> None:
    secret = Secret("custom_id")
    hidden = secret.hide_in({"custom_id": "my custom_id", "list": [{"custom_id": 1}, "xcustom_idx"], "n": None})
    assert hidden == {"custom_id": "my [API key]", "list": [{"custom_id": 1}, "x[API key]x"], "n": None}


@pytest.mark.parametrize("key", ["EMPTY", "key", "e", "none"])
def test_a_key_that_is_a_word_spoils_no_answer(key: str) -> None:
    """Servers without keys are given such ones; error messages lose them as words, answers are full of them."""
    secret = Secret(key)
    line = {"key": "e", "answer": f"the {key} EMPTY set is none"}
    assert secret.hide_in(line) == line
    assert secret.hide(f"wrong key: Bearer {key}x {key}.").endswith(f"Bearer {key}x [API key].")


@pytest.mark.parametrize("end", ["?api-version=3", "/v1#top"])
def test_what_would_not_be_sent_is_refused(end: str) -> None:
    with pytest.raises(BadInputError, match="leave it out"):
        base_url(f"http://127.0.0.1:8000{end}")
