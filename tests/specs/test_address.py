"""Which of several keys in the environment opens a server."""

from __future__ import annotations

import pytest

from sizewell.deployer.words import KEYS
from sizewell.specs.address import secret_from


@pytest.mark.parametrize("variable", KEYS.values())
def test_the_key_an_engine_was_started_with_opens_it(variable: str) -> None:
    """It wins over a key of OpenAI's own service, which the engine would refuse, and must not see."""
    assert secret_from({variable: "mine", "OPENAI_API_KEY": "theirs"}).key == "mine"
    assert secret_from({variable: "mine", "SIZEWELL_API_KEY": "said"}).key == "said"
