"""What a server says of itself: the models it serves and how many sequences it takes at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sizewell.driver.client import Client
from sizewell.driver.failures import ExchangeError
from sizewell.specs.errors import BadInputError, UnreachableError

USUAL_WINDOW = 256
"""What vLLM takes at once on small accelerators, where no server says its own number."""
SETTINGS_PATHS = ("/get_server_info", "/server_info")
SEQUENCE_SETTINGS = ("max_num_seqs", "max_running_requests")


async def served_models(client: Client, url: str) -> list[str]:
    """Return the names under which a server serves; raises UnreachableError where it does not answer or list any."""
    try:
        listed = json.loads(await client.get_text(f"{url}/v1/models"))
        return [str(one["id"]) for one in listed["data"]]
    except ExchangeError as error:
        raise UnreachableError(f"{url} does not answer: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise UnreachableError(
            f"{url}/v1/models lists no models: name one with --model, or is it another kind of server?"
        ) from None


def the_model(served: list[str], asked: str | None, url: str) -> str:
    """Return the model to ask for; raises BadInputError where the choice is not ours."""
    if asked is not None:
        return asked
    if not served:
        raise BadInputError(f"{url} serves no model: name one with --model")
    return served[0]


async def said_window(client: Client, url: str) -> int | None:
    """Return how many sequences a server says it takes at once; None where it does not say."""
    for path in SETTINGS_PATHS:
        try:
            found = _setting(json.loads(await client.get_text(url + path)))
        except (ExchangeError, ValueError):
            continue
        if found is not None:
            return found
    return None


def _setting(found: object) -> int | None:
    """Return the first such setting in an answer; servers nest it, or not."""
    if not isinstance(found, Mapping):
        return None
    for name in SEQUENCE_SETTINGS:
        value: Any = found.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return next((inner for value in found.values() if (inner := _setting(value)) is not None), None)
