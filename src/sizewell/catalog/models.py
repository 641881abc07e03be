"""Models by name: shipped configurations, the user's own folder, a path, the local hub cache, the hub."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from sizewell.catalog.architectures.assembly import TEXT_SECTIONS, build_model
from sizewell.catalog.config_fields import Fields, watched
from sizewell.catalog.config_file import NoConfigurationError, read_json
from sizewell.catalog.hub_cache import cached_snapshot, is_hub_id, is_offline
from sizewell.catalog.overlay import overlay_folder
from sizewell.catalog.safetensors import INDEX_NAME, read_sizes
from sizewell.catalog.stored_sizes import with_sizes
from sizewell.specs.errors import (
    BadInputError,
    SizewellError,
    UnknownNameError,
    UnreachableError,
    nearest_names,
)
from sizewell.specs.model import ModelSpec

SHIPPED = Path(__file__).parent / "data" / "models"
TYPO = 0.85
"""Likeness from which a shipped id is worth naming beside a hub id that cannot be looked up."""
_GGUF = "weights in GGUF: give the model they were made from (a name or its config.json) with --weight-format gguf-…"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A shipped model: its hub id, its file, its short names.

    `unread`: nobody read its released configuration; it was recalled, or assumed to have another model's shape.
    """

    id: str
    file: str
    aliases: tuple[str, ...]
    unread: bool = False

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
        source = re.search(r'^source = ".*(recalled|assumed)', block, re.MULTILINE)
        entry = ModelEntry(
            id=block[: block.index('"')], file=file[1] if file else "", aliases=tuple(names), unread=source is not None
        )  # fmt: skip
        found.append(entry)
    return tuple(found)


@cache
def _by_name() -> dict[str, ModelEntry]:
    names = {entry.id.lower(): entry for entry in list_models()}
    for entry in list_models():
        names.setdefault(entry.id.rpartition("/")[2].lower(), entry)
    return names | {alias.lower(): entry for entry in list_models() for alias in entry.aliases}


def read_model(model: str | os.PathLike[str], *, assume: tuple[str, ...] = ()) -> ModelSpec:
    """Return a model by name or path.

    Looked up in the user's catalogue, as a path, among shipped ids and aliases, in the hub cache, on the hub; where
    none has it, a plain copy of a shipped model is told by its name.
    `assume` holds `field=value` statements that add to or override the configuration. Raises UnknownNameError,
    BadInputError, UnknownArchitectureError or UnreachableError, each with the next step.
    """
    name_or_path = os.fspath(model)
    if not name_or_path.strip():
        raise unknown_model(name_or_path)
    own = _own_file(name_or_path)
    if own is not None:
        return _from_file(name_or_path, own, assume)
    path = _existing(name_or_path)
    if path is not None:
        return _from_file(path.resolve().name, path, assume)
    if _is_spelled_as_path(name_or_path):
        raise BadInputError(f"{name_or_path}: there is no such file or folder")
    entry = _by_name().get(name_or_path.lower())
    if entry is not None:
        return _noted(entry, _built(entry.id, read_json(SHIPPED / entry.file), entry.file, assume))
    return _not_shipped(name_or_path, assume)


def _noted(entry: ModelEntry, model: ModelSpec) -> ModelSpec:
    if not entry.unread:
        return model
    note = "the shipped configuration was not read from its publisher: give the model's own config.json to be exact"
    return replace(model, assumed=(*model.assumed, note))


def _shipped_like(name: str) -> str:
    """Return the shipped ids a name may be a typo of, as the end of a message."""
    near = nearest_names(name, [entry.id for entry in list_models()], cutoff=TYPO)
    return f"; shipped and spelt alike: {', '.join(near)}" if near else ""


def unknown_model(name: str) -> UnknownNameError:
    """Return the error for a name nothing carries, with the nearest shipped ones."""
    known = [entry.id for entry in list_models()] + [alias for entry in list_models() for alias in entry.aliases]
    return UnknownNameError("model", name, known, "(or give organisation/model, a folder or a config.json)")


def own_folder() -> Path:
    """Return the folder of the user's own models."""
    return overlay_folder() / "models"


def own_models() -> dict[str, Path]:
    """Return the user's own models by name: folders, and files that end in .json."""
    folder = own_folder()
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    named = {
        path.name if path.is_dir() else path.stem: path for path in paths if path.is_dir() or path.suffix == ".json"
    }
    return {name.replace("--", "/", 1): path for name, path in named.items()}


def _own_file(name: str) -> Path | None:
    wanted = name.lower().replace("--", "/", 1)
    return next((path for own, path in own_models().items() if own.lower() == wanted), None)


def _existing(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, an unknown ~user
        return None


def _is_spelled_as_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.endswith(".json") or name.count("/") > 1


def _from_file(name: str, path: Path, assume: tuple[str, ...]) -> ModelSpec:
    folder = path if path.is_dir() else path.parent
    file = path / "config.json" if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise BadInputError(f"{path}: the folder has no config.json{_instead(path)}")
    if file.suffix.lower() == ".gguf":
        raise BadInputError(f"{path}: {_GGUF}")
    values = read_json(file)
    beside = folder / "hf_quant_config.json"
    if values.get("quantization_config") is None and file.name == "config.json" and beside.is_file():
        values["hf_quant_config"] = read_json(beside)
    model = _built(name, values, str(file), assume)
    sizes = read_sizes(folder, _packed_bits(model), len(model.layers)) if file.name == "config.json" else None
    return with_sizes(model, sizes, (folder / INDEX_NAME).is_file())


def _instead(folder: Path) -> str:
    """Return what a folder is that is no model's own: the base model of an adapter, or packed weights."""
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = read_json(adapter).get("base_model_name_or_path")
        named = f", {base!r}" if isinstance(base, str) and base else ""
        return f": it is an adapter, which is served with its base model{named}: give that one"
    return f": {_GGUF}" if any(folder.glob("*.gguf")) else ": give one that has, or a config.json"


def _not_shipped(name: str, assume: tuple[str, ...]) -> ModelSpec:
    if not is_hub_id(name):
        return _by_its_name(name, assume, unknown_model(name))
    snapshot = cached_snapshot(name)
    if snapshot is not None:
        return _from_file(name, snapshot, assume)
    try:
        return _from_hub(name, assume)
    except UnreachableError as error:
        return _by_its_name(name, assume, UnreachableError(f"{error}{_shipped_like(name)}"))
    except NoConfigurationError as error:
        return _by_its_name(name, assume, error)


def _from_hub(name: str, assume: tuple[str, ...]) -> ModelSpec:
    if is_offline():
        raise UnreachableError(
            f"{name}: neither shipped nor in the hub cache, and HF_HUB_OFFLINE is set; give a folder"
        )
    # Imported here: the network's modules take longer to load than a shipped model to read.
    from sizewell.catalog.hub_model import download_index, download_sizes, download_values

    values = download_values(name)
    model = _built(name, values, f"{name}/config.json", assume)
    index = download_index(name)
    sizes = download_sizes(name, index, _packed_bits(model), len(model.layers))
    return with_sizes(model, sizes, index is not None)


def _by_its_name(name: str, assume: tuple[str, ...], error: SizewellError) -> ModelSpec:
    """Return the copy of a shipped model that the name plainly means, else raise `error`."""
    from sizewell.catalog.derived import derivation, stored_as, suffix_of, without_quantization

    files = {entry.id: entry.file for entry in list_models()}
    found = derivation(name, files)
    if found is None:
        owner, _, bare = name.lower().rpartition("/")
        raise (unknown_model(name) if suffix_of(owner, bare) else error) from None
    values = read_json(SHIPPED / files[found.base])
    if not found.weights:
        model = _built(name, values, files[found.base], assume)
    else:
        model = stored_as(_built(name, without_quantization(values), files[found.base], assume), found)
    return replace(model, assumed=(*model.assumed, *found.stated(name)))


def _packed_bits(model: ModelSpec) -> float:
    stored = {t.stored for layer in model.layer_counts for t in layer.tensors if t.stored}
    return min((encoding.bits_per_weight for encoding in stored), default=16.0)


def _built(name: str, values: dict[str, Any], source: str, assume: tuple[str, ...]) -> ModelSpec:
    for statement in assume:
        assume_into(values, statement)
    read: set[str] = set()
    model = build_model(name, Fields(watched(values, read), source), assume)
    for statement in assume:
        _refuse_unread(statement, read)
    return replace(model, assumed=(*model.assumed, *_left_aside(values, read)))


def _left_aside(values: dict[str, Any], read: set[str]) -> tuple[str, ...]:
    """Return what a file says of its layers and no reader of its architecture looks up: extra vectors, odd layers.

    Corrections of routers are left out on purpose: a value per expert, which transformers keeps beside parameters.
    """
    text = next((values[name] for name in TEXT_SECTIONS if isinstance(values.get(name), dict)), values)
    biased = [name for name, value in text.items() if name.endswith("bias") and value is True]
    layers = [name for name in biased if "rout" not in name and "expert" not in name]
    odd = [name for name in ("per_layer_config",) if text.get(name)]
    return tuple(f"{name} is in the file and is not counted" for name in (*layers, *odd) if name not in read)


def _refuse_unread(statement: str, read: set[str]) -> None:
    """Refuse a fact that changed nothing because no reader of this architecture looks it up."""
    field = statement.partition("=")[0]
    last = field.rpartition(".")[2]
    if field != "architecture" and last not in read:
        raise UnknownNameError("field", field, read, "(this architecture does not read it: --assume changes nothing)")


def assume_into(values: dict[str, Any], statement: str) -> None:
    """Put one `field=value` into a configuration; the value is JSON, else a string.

    `architecture` replaces the class; a dotted field goes to that section, a plain one to where it stands, else to
    the language model's section.
    """
    field, equals, written = statement.partition("=")
    if not equals or not field:
        raise BadInputError(f"--assume {statement!r} is not FIELD=VALUE")
    value = _value_of(written)
    if field == "architecture":
        values["architectures"] = [value]
        return
    *sections, last = field.split(".")
    target = values if sections else _home_of(last, values)
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise BadInputError(f"--assume {statement!r}: {section} is not an object")
    target[last] = value


def _home_of(field: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the object a plain field belongs to: where it stands already, else the language model's section."""
    inner = next((values[name] for name in TEXT_SECTIONS if isinstance(values.get(name), dict)), None)
    if inner is None or (field in values and field not in inner):
        return values
    return _home_of(field, inner)


def _value_of(written: str) -> Any:
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        return written
