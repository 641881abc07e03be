"""The shipped facts as they are written: every field of a data file with the source it names.

The other modules of this room turn the same files into types; this one keeps the sources, for people to check.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sizewell.catalog.hardware import read_gpu, read_node
from sizewell.catalog.models import own_models
from sizewell.catalog.overlay import SHIPPED, data_files
from sizewell.catalog.prices import read_prices
from sizewell.specs.errors import BadInputError, UnknownNameError
from sizewell.specs.prices import Basis, Offer, Rent
from sizewell.specs.weight_format import ALIASES, FORMATS, weight_formats

SHEET_KINDS = (
    "gpus", "nodes", "networks", "hosts", "storage", "prices", "quality", "models", "engines", "calibrations",
    "formats", "workloads",
)  # fmt: skip
"""Folders of the catalogue, in the order a reader meets them."""
BASES: tuple[Basis, ...] = ("on-demand", "spot", "reserved-1y", "reserved-3y")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One field of a sheet: a dotted path, the value as written, and the source (empty = the sheet's own naming)."""

    field: str
    value: object
    source: str = ""
    url: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Everything one data file says about one thing."""

    kind: str
    key: str
    aliases: tuple[str, ...]
    facts: tuple[Fact, ...]

    def value(self, field: str) -> object:
        """Return the value of a dotted field, None when the sheet does not have it."""
        return next((fact.value for fact in self.facts if fact.field == field), None)


def read_sheets(kind: str) -> tuple[Sheet, ...]:
    """Return all sheets of one kind, by key; raises UnknownNameError for a kind there is not."""
    if kind not in SHEET_KINDS:
        raise UnknownNameError("kind of fact", kind, SHEET_KINDS)
    if kind == "models":
        return tuple(_model_sheets())
    if kind == "formats":
        return tuple(_format_sheets())
    if kind == "prices":
        return tuple(_price_sheets())
    return tuple(_sheet(kind, key, _keyed(path)) for key, path in sorted(data_files(kind).items()))


def read_sheet(kind: str, name: str) -> Sheet:
    """Return one sheet by key or alias, whatever the case; raises UnknownNameError with the nearest names.

    Accelerators and nodes are found by every spelling `catalog.hardware` knows.
    """
    sheets = read_sheets(kind)
    wanted = {"gpus": _gpu_key, "prices": _gpu_key, "nodes": _node_key}.get(kind, str)(name).lower()
    for sheet in sheets:
        if wanted in (sheet.key.lower(), *(alias.lower() for alias in sheet.aliases)):
            return sheet
    known = [known for sheet in sheets for known in (sheet.key, *sheet.aliases)]
    raise UnknownNameError(kind.removesuffix("s"), name, known, f"(sizewell catalog {kind} lists them)")


def _gpu_key(name: str) -> str:
    return read_gpu(name).key


def _node_key(name: str) -> str:
    return read_node(name).key


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error


def _keyed(path: Path) -> dict[str, Any]:
    table = _parsed(path)
    if (key := table.get("key", path.stem)) != path.stem:
        raise BadInputError(f"{path}: key must be the file's own name {path.stem!r}, found {key!r}")
    return table


def _model_sheets() -> Iterator[Sheet]:
    own = {name: {"file": str(path), "source": "your own catalogue"} for name, path in own_models().items()}
    index = _parsed(SHIPPED / "models" / "index.toml") | own
    for model_id, entry in sorted(index.items(), key=lambda item: item[0].lower()):
        yield _sheet("models", model_id, entry)


def _price_sheets() -> Iterator[Sheet]:
    """Yield one sheet for each accelerator somebody rents out or sells, with every offer."""
    book = read_prices()
    for key in sorted({offer.gpu_key for offer in book.offers} | {bought.gpu_key or "" for bought in book.purchases}):
        offers = sorted((o for o in book.offers if o.gpu_key == key), key=lambda o: (o.basis, o.usd_per_gpu_hour))
        rents = [rent for basis in BASES if (rent := book.rent(key, basis))]
        facts = [_rent_fact(rent) for rent in rents]
        facts += [_offer_fact(offer) for offer in offers]
        facts += [
            Fact(field="purchase_usd", value=bought.usd, source=bought.source, date=bought.date)
            for bought in book.purchases
            if bought.gpu_key == key and not bought.node_key
        ]
        if key and facts:
            yield Sheet(kind="prices", key=key, aliases=(), facts=tuple(facts))


def _format_sheets() -> Iterator[Sheet]:
    """Yield one sheet for each weight format by name; what a GGUF mix takes depends on the model."""
    for name in weight_formats():
        known = FORMATS.get(name)
        facts: list[Fact] = [] if known is None else [
            Fact(field=each.name, value=getattr(known, each.name)) for each in fields(known)
        ]  # fmt: skip
        aliases = tuple(alias for alias, meant in ALIASES.items() if meant == name)
        yield Sheet(kind="formats", key=name, aliases=aliases, facts=tuple(facts))


def _rent_fact(rent: Rent) -> Fact:
    return Fact(
        field=f"usd_per_hour.{rent.basis}", value=rent.usd_per_gpu_hour, source=rent.provider, date=rent.date
    )  # fmt: skip


def _offer_fact(offer: Offer) -> Fact:
    guess = " (an estimate)" if offer.estimate else ""
    place = " ".join(part for part in (offer.provider, offer.instance, offer.region) if part)
    return Fact(
        field=f"offer.{offer.basis}.{place}",
        value=offer.usd_per_gpu_hour,
        source=offer.source + guess,
        date=offer.date,
    )


def _sheet(kind: str, key: str, written: Mapping[str, Any]) -> Sheet:
    sources = written.get("sources", {})
    facts = tuple(fact for name, node in written.items() if name != "sources" for fact in _walk(name, node, sources))
    aliases = tuple(str(alias) for alias in written.get("aliases", ()))
    return Sheet(kind=kind, key=str(written.get("key", key)), aliases=aliases, facts=facts)


def _walk(path: str, node: Any, sources: Mapping[str, Any], origin: str = "") -> Iterator[Fact]:
    """Yield the facts under `node`; a `from` inside a table is the source of everything beside it."""
    if isinstance(node, Mapping):
        named = node.get("from") in sources
        origin = str(node["from"]) if named else origin
        if "value" in node:
            yield _fact(path, node["value"], sources, origin)
            return
        for name, inner in node.items():
            if name != "from" or not named:
                yield from _walk(f"{path}.{name}", inner, sources, origin)
    elif isinstance(node, list) and node and isinstance(node[0], Mapping):
        for number, inner in enumerate(node, start=1):
            yield from _walk(f"{path}[{number}]", inner, sources, origin)
    else:
        yield _fact(path, node, sources, origin)


def _fact(path: str, value: Any, sources: Mapping[str, Any], origin: str) -> Fact:
    source = sources.get(origin, {})
    plain = value if isinstance(value, str | int | float | bool | list) else str(value)
    return Fact(
        field=path,
        value=tuple(plain) if isinstance(plain, list) else plain,
        source=str(source.get("title", origin)),
        url=str(source.get("url", "")),
        date=str(source.get("date", "")),
    )
