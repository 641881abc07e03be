"""Reads the price files: the shipped snapshot, over it the newest refreshed one, over both the user's own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast, get_args

from sizewell.catalog.facts import Facts
from sizewell.catalog.gpu_names import gpu_heads
from sizewell.catalog.overlay import data_files, is_shipped, overlay_folder
from sizewell.specs.errors import UnknownNameError
from sizewell.specs.prices import (
    Basis,
    Hall,
    Offer,
    PowerPrice,
    PowerRegion,
    PriceBook,
    Purchase,
    ServiceUnit,
    Tariff,
)

TARIFF = "service-units"
REFRESHED = "gpuhunt-"
CONFIDENCES = ("list", "reported", "estimate")


def read_prices() -> PriceBook:
    """Return all prices. What a stronger file says of an accelerator and basis replaces what weaker files say of it.

    The order: the user's files, the newest `gpuhunt-<date>.toml`, the shipped snapshot.
    Raises BadInputError naming the file and the row.
    """
    own = overlay_folder()
    layers = _layers(own)
    gpus = {head.text("key") for head in gpu_heads(own)}
    return PriceBook(
        offers=_offers(layers, gpus),
        purchases=_purchases(layers, gpus),
        power=PowerPrice(
            usd_per_kwh={region: _setting(layers, f"power.usd_per_kwh_{region}") for region in get_args(PowerRegion)},
            pue={hall: _setting(layers, f"power.pue_{hall}") for hall in get_args(Hall)},
        ),
        hosting_usd_per_kw_month=_setting(layers, "hosting.usd_per_kw_month"),
        depreciation_years=_setting(layers, "depreciation.years"),
        depreciation_years_low=_setting(layers, "depreciation.years_low"),
        depreciation_years_high=_setting(layers, "depreciation.years_high"),
        tariff=_tariff(Facts.read(data_files("prices", own)[TARIFF])),
        names=tuple(layer.path.stem for layer in layers),
    )


def _layers(own: Path) -> list[Facts]:
    """Return the price files, strongest first: the user's, the newest refreshed one, the shipped ones."""
    files = {key: path for key, path in data_files("prices", own).items() if key != TARIFF}
    users = [key for key, path in files.items() if not is_shipped(path) and not key.startswith(REFRESHED)]
    refreshed = [key for key in files if key.startswith(REFRESHED)]
    shipped = [key for key, path in files.items() if is_shipped(path) and key not in refreshed]
    strongest = [*sorted(users, reverse=True), *sorted(refreshed)[-1:], *sorted(shipped, reverse=True)]
    layers = [Facts.read(files[key]) for key in strongest]
    for layer in layers:
        layer.only_known()
    return layers


def _setting(layers: Sequence[Facts], field: str) -> float:
    stated = [layer for layer in layers if layer.has(field)]
    return (stated or list(layers[-1:]))[0].number(field, least=0.0)


def _offers(layers: Sequence[Facts], gpus: Collection[str]) -> tuple[Offer, ...]:
    taken: dict[tuple[str, Basis], list[Offer]] = {}
    for layer in layers:
        own: dict[tuple[str, Basis], list[Offer]] = {}
        for row in layer.rows("offer"):
            offer = _offer(row, gpus)
            own.setdefault((offer.gpu_key, offer.basis), []).append(offer)
        taken = own | taken
    return tuple(offer for offers in taken.values() for offer in offers)


def _above_zero(row: Facts, field: str) -> float:
    price = row.plain_number(field)
    if not price:
        raise row.error(field, "must be above zero: leave out what nobody sells")
    return price


def _offer(row: Facts, gpus: Collection[str]) -> Offer:
    return Offer(
        gpu_key=_known(row, "gpu", gpus),
        provider=row.text("provider"),
        basis=cast(Basis, row.choice("kind", get_args(Basis))),
        usd_per_gpu_hour=_above_zero(row, "usd_per_gpu_hour"),
        source=row.source(row.check_source("from", row.text("from"))),
        date=row.day("date"),
        estimate=row.choice("confidence", CONFIDENCES) == "estimate",
        instance=row.text("instance", ""),
        gpus=int(row.plain_number("gpus")) if row.has("gpus") else 1,
        region=row.text("region", ""),
    )


def _purchases(layers: Sequence[Facts], gpus: Collection[str]) -> tuple[Purchase, ...]:
    taken: dict[tuple[str | None, ...], Purchase] = {}
    for layer in layers:
        rows = [_purchase(row, gpus) for row in layer.rows("purchase")]
        taken = {(row.gpu_key, row.node_key, row.host_key): row for row in rows} | taken
    return tuple(taken.values())


def _purchase(row: Facts, gpus: Collection[str]) -> Purchase:
    if row.has("host") == (row.has("gpu") or row.has("node")):
        raise row.error(
            "gpu", "or node, or host must name what is bought: a card, a full node, or a host without cards"
        )
    return Purchase(
        usd=row.plain_number("usd"),
        date=row.day("date"),
        source=row.source(row.check_source("from", row.text("from"))),
        estimate=row.choice("confidence", CONFIDENCES) == "estimate",
        own=not is_shipped(row.path),
        gpu_key=_known(row, "gpu", gpus) if row.has("gpu") else None,
        node_key=row.text("node", "") or None,
        host_key=row.text("host", "") or None,
    )


def _known(row: Facts, field: str, gpus: Collection[str]) -> str:
    key = row.text(field)
    if key not in gpus:
        raise row.error(field, f"names an {UnknownNameError('GPU', key, gpus)}")
    return key


def _tariff(facts: Facts) -> Tariff:
    return Tariff(
        unit=facts.text("unit"),
        usd_per_unit=facts.number("usd_per_su"),
        rates=tuple(
            ServiceUnit(
                su_per_gpu_hour=row.number("su_per_gpu_hour"),
                region=row.text("region", "*"),
                partition=row.text("partition", "*"),
                gpu_key=row.text("gpu", "*"),
            )
            for row in facts.rows("rate")
        ),
        example=facts.flag("example"),
    )
