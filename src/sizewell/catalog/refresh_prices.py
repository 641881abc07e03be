"""Today's rental prices of many clouds through gpuhunt, written as a dated snapshot into the user's own catalogue.

gpuhunt does not tell SXM from PCIe: a name that leaves it open is taken as the standard board (docs/catalogue.md).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

from sizewell.catalog.bands import band
from sizewell.catalog.hardware import gpu_in_log
from sizewell.catalog.overlay import overlay_folder
from sizewell.catalog.prices import REFRESHED
from sizewell.catalog.whole_files import whole_file
from sizewell.specs.errors import BadInputError, UnknownNameError, UnreachableError

_GIB = 2**30
_SAME_SIZE = 0.1
MOST_USD_PER_HOUR = band("prices", "usd_per_gpu_hour")[1]
_RENTED_AS = {"RTXPRO6000": "rtx-pro-6000-server-96gb"}
_HEAD = """\
# Written by sizewell from gpuhunt {version}; the lowest price each provider listed on the day.
key = "{key}"
currency = "usd"

"""
_ROW = """\
[[offer]]
provider = {provider}
instance = {instance}
gpu = "{gpu}"
gpus = {gpus}
usd_per_gpu_hour = {price:.4f}
kind = "{kind}"
region = {region}
from = "gpuhunt"
date = "{day}"
confidence = "list"

"""
_SOURCES = """\
[sources]
gpuhunt = {{ title = "gpuhunt {version}", url = "https://github.com/dstackai/gpuhunt", date = "{day}" }}
"""


class CloudItem(Protocol):
    """What is read of a gpuhunt offer; `price` is for the whole instance, `gpu_memory` in GiB as sold."""

    provider: str
    instance_name: str
    location: str
    price: float
    gpu_count: int
    gpu_name: str | None
    gpu_memory: float | None
    spot: bool


class Refreshed(NamedTuple):
    """The file that was written, how many prices it holds, and the clouds they are of."""

    path: Path
    offers: int
    providers: tuple[str, ...]


def refresh_prices(day: date, items: Iterable[CloudItem] | None = None, folder: Path | None = None) -> Refreshed:
    """Write `prices/gpuhunt-<day>.toml` into the user's catalogue; all of it or nothing.

    Prices that cannot be meant are left out. Raises BadInputError when gpuhunt is not installed, nothing it lists is
    known or the file cannot be written, UnreachableError when no cloud answers.
    """
    version, offered = ("given", items) if items is not None else _from_gpuhunt()
    cheapest = _cheapest(offered)
    if not cheapest:
        raise BadInputError("no listed price is of an accelerator in the catalogue; the prices stay as they were")
    key = f"{REFRESHED}{day.isoformat()}"
    rows = [_row(item, gpu, day) for (_, gpu, _), item in sorted(cheapest.items())]
    text = "".join([
        _HEAD.format(version=version, key=key),
        *rows,
        _SOURCES.format(version=version, day=day.isoformat()),
    ])  # fmt: skip
    path = _write_whole((folder or overlay_folder()) / "prices" / f"{key}.toml", text)
    return Refreshed(path, len(rows), tuple(sorted({provider for provider, _, _ in cheapest})))


def _from_gpuhunt() -> tuple[str, Sequence[CloudItem]]:
    try:
        gpuhunt = import_module("gpuhunt")
    except ModuleNotFoundError as error:
        raise BadInputError(
            "refreshing prices needs gpuhunt; install it with: pip install 'sizewell[prices]'"
        ) from error
    # gpuhunt logs a traceback for each cloud that fails; all failing is one error line here.
    logging.getLogger("gpuhunt").setLevel(logging.CRITICAL)
    try:
        items: Sequence[CloudItem] = gpuhunt.Catalog(balance_resources=False).query(min_gpu_count=1)
    except (gpuhunt.GPUHuntError, OSError, ValueError, LookupError) as error:
        raise UnreachableError(
            f"no cloud's prices could be loaded: {_why(error)}; the prices stay as they were. gpuhunt needs the "
            "network, or $GPUHUNT_CATALOG_URL for a copy of its catalogue"
        ) from error
    return import_module("importlib.metadata").version("gpuhunt"), items


def _why(error: BaseException) -> str:
    """Return an error with what caused it, on one line: gpuhunt's own says only that something failed."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return ": ".join(" ".join(str(cause).split()) or type(cause).__name__ for cause in causes)


def _cheapest(items: Iterable[CloudItem]) -> dict[tuple[str, str, bool], CloudItem]:
    """Return the lowest price per accelerator of each provider, accelerator and basis that we know."""
    best: dict[tuple[str, str, bool], CloudItem] = {}
    for item in items:
        gpu = _gpu_key(item)
        if gpu is None or not 0 < _per_gpu(item) <= MOST_USD_PER_HOUR:
            continue
        place = (item.provider, gpu, item.spot)
        if place not in best or _per_gpu(item) < _per_gpu(best[place]):
            best[place] = item
    return best


def _gpu_key(item: CloudItem) -> str | None:
    """Return the accelerator meant, None for those the catalogue lacks, at another memory size included."""
    if not item.gpu_name or not item.gpu_memory or item.gpu_count < 1:
        return None
    try:
        gpu = gpu_in_log(_RENTED_AS.get(item.gpu_name, f"{item.gpu_name}-{item.gpu_memory:.0f}GB"), name_alone=True)
    except UnknownNameError:
        return None
    return gpu.key if abs(gpu.memory_bytes / _GIB / item.gpu_memory - 1) < _SAME_SIZE else None


def _per_gpu(item: CloudItem) -> float:
    return item.price / item.gpu_count


def _row(item: CloudItem, gpu: str, day: date) -> str:
    return _ROW.format(
        provider=json.dumps(item.provider),
        instance=json.dumps(item.instance_name),
        gpu=gpu,
        gpus=item.gpu_count,
        price=_per_gpu(item),
        kind="spot" if item.spot else "on-demand",
        region=json.dumps(item.location),
        day=day.isoformat(),
    )


def _write_whole(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(text)
    except OSError as error:
        raise BadInputError(
            f"{path}: cannot be written: {error.strerror}; $SIZEWELL_CATALOG names another folder"
        ) from error
    return path
