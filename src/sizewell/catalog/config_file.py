"""Reads a JSON object from a file or from bytes, within limits, and says in one line what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sizewell.specs.errors import BadInputError

LARGEST_FILE_BYTES = 4 * 2**20


class NoConfigurationError(BadInputError):
    """A repository that exists and has no config.json, as those of GGUF files."""


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file of at most 4 MiB; anything else is a BadInputError naming the file."""
    try:
        if not file.is_file():
            raise BadInputError(f"{file}: is not a file")
        with file.open("rb") as stream:
            raw = stream.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read ({error.strerror})") from None
    if len(raw) > LARGEST_FILE_BYTES:
        raise BadInputError(f"{file}: more than {LARGEST_FILE_BYTES} bytes is too large for a configuration")
    return parse_json(raw, str(file))


def parse_json(raw: bytes, source: str) -> dict[str, Any]:
    """Return the object in JSON bytes; anything else is a BadInputError naming the source."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(":")[0] or "nested too deeply"
        raise BadInputError(f"{source}: is not valid JSON ({reason})") from None
    if not isinstance(value, dict):
        raise BadInputError(f"{source}: holds a {type(value).__name__}, expected an object")
    return value
