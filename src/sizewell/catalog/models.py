"""Models by name: shipped configurations, the user's own folder, a path, the local hub cache, the hub."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sizewell.catalog.architectures.assembly import build_model
from sizewell.catalog.config_fields import Fields
from sizewell.specs.errors import BadInputError, UnknownNameError
from sizewell.specs.model import ModelSpec

SHIPPED = Path(__file__).parent / "data" / "models"
LARGEST_FILE_BYTES = 16 * 2**20
LARGEST_DEPTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A shipped model: its hub id, its file, its short names."""

    id: str
    file: str
    aliases: tuple[str, ...]

    @property
    def architecture(self) -> str:
        """The first architecture its configuration names."""
        return str(read_json(SHIPPED / self.file)["architectures"][0])


@cache
def list_models() -> tuple[ModelEntry, ...]:
    """Return all shipped models in the order of the index."""
    # A whole TOML parser takes longer than reading a model; a test holds this scan and the parser equal.
    text = (SHIPPED / "index.toml").read_text(encoding="utf-8")
    found = []
    for block in re.split(r'^\["', text, flags=re.MULTILINE)[1:]:
        file = re.search(r'^file = "(.*)"$', block, re.MULTILINE)
        aliases = re.search(r"^aliases = \[(.*)\]$", block, re.MULTILINE)
        names = re.findall(r'"([^"]*)"', aliases[1]) if aliases else []
        found.append(ModelEntry(id=block[: block.index('"')], file=file[1] if file else "", aliases=tuple(names)))
    return tuple(found)


@cache
def _by_name() -> dict[str, ModelEntry]:
    names = {entry.id.lower(): entry for entry in list_models()}
    for entry in list_models():
        names.setdefault(entry.id.rpartition("/")[2].lower(), entry)
    return names | {alias.lower(): entry for entry in list_models() for alias in entry.aliases}


def read_model(name_or_path: str, *, assume: tuple[str, ...] = ()) -> ModelSpec:
    """Return the model of a shipped id or alias, a folder with config.json, or a configuration file."""
    path = Path(name_or_path).expanduser()
    if path.exists():
        file = path / "config.json" if path.is_dir() else path
        return _built(path.name, file, assume)
    entry = _by_name().get(name_or_path.lower())
    if entry is None:
        known = [e.id for e in list_models()] + [alias for e in list_models() for alias in e.aliases]
        raise UnknownNameError("model", name_or_path, known)
    return _built(entry.id, SHIPPED / entry.file, assume)


def _built(name: str, file: Path, assume: tuple[str, ...]) -> ModelSpec:
    values = read_json(file)
    for statement in assume:
        assume_into(values, statement)
    return build_model(name, Fields(values, file.name), assume)


def assume_into(values: dict[str, Any], statement: str) -> None:
    """Put one `field=value` into a configuration; the value is JSON, else a string.

    `architecture` replaces the class; a dotted field goes to that section, a plain one to the language model's.
    """
    field, equals, written = statement.partition("=")
    if not equals or not field:
        raise BadInputError(f"--assume {statement!r} is not FIELD=VALUE")
    value = _value_of(written)
    if field == "architecture":
        values["architectures"] = [value]
        return
    *sections, last = field.split(".")
    text = values.get("text_config")
    target = text if not sections and isinstance(text, dict) else values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise BadInputError(f"--assume {statement!r}: {section} is not an object")
    target[last] = value


def _value_of(written: str) -> Any:
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        return written


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; anything else is a BadInputError naming the file."""
    try:
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise BadInputError(f"{file}: {file.stat().st_size} bytes is too large for a configuration")
        raw = file.read_bytes()
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read ({error.strerror})") from None
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
