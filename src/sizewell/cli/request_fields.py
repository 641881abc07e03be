"""Fields of requests as flags say them: `top_p=0.95`, `stop=["\\n"]`, `user=me`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sizewell.specs.errors import BadInputError


def fields_of(said: Sequence[str], **named: Any) -> dict[str, Any]:
    """Return the fields of `NAME=JSON` texts (what is no JSON is a text) and of flags that were given."""
    found: dict[str, Any] = {}
    for text in said:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise BadInputError(f"--field {text[:40]!r}: write NAME=JSON, e.g. top_p=0.95")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found | {name: value for name, value in named.items() if value is not None}
