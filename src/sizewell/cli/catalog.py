"""`sizewell catalog`: the facts everything rests on, each with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from sizewell.cli.output import amount, print_json, show, table, talk
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.catalog.sheets import Fact, Sheet

COLUMNS: Mapping[str, tuple[tuple[str, str, float], ...]] = {
    "gpus": (
        (">GiB", "memory.bytes", 2.0**30),
        (">TB/s", "memory.bytes_per_s", 1e12),
        (">bf16 TFLOP/s", "flops_per_s.bf16", 1e12),
        (">fp8 TFLOP/s", "flops_per_s.fp8", 1e12),
        (">W", "power.tdp_w", 1),
        ("link", "scale_up.name", 1),
    ),
    "nodes": (
        ("name", "name", 1),
        ("GPU", "gpu", 1),
        (">GPUs", "gpu_counts", 1),
        ("inside", "scale_up.network", 1),
        ("outside", "scale_out.network", 1),
    ),
    "networks": (("name", "name", 1), ("kind", "kind", 1), (">GB/s", "bytes_per_s", 1e9), (">µs", "latency_s", 1e-6)),
    "hosts": (("CPU", "cpu", 1), (">cores", "cores", 1), (">RAM GiB", "ram_bytes", 2.0**30)),
    "storage": (("name", "name", 1), ("basis", "basis", 1), (">GB/s", "read_bytes_per_s", 1e9)),
    "models": (("aliases", "aliases", 1), (">published parameters, 10⁹", "published_parameters", 1e9)),
    "quality": (("format", "format", 1), ("note", "note", 1)),
    "engines": (("newest known", "latest", 1),),
    "calibrations": (("name", "name", 1),),
    "formats": ((">bits/weight", "bits_per_weight", 1), ("arithmetic", "compute", 1), ("aliases", "aliases", 1)),
    "workloads": (("arrivals", "traffic.arrivals.process", 1), (">requests/s", "traffic.arrivals.rate", 1)),
    "prices": (
        (">on-demand USD/h", "usd_per_hour.on-demand", 1),
        (">spot", "usd_per_hour.spot", 1),
        (">reserved 1 y", "usd_per_hour.reserved-1y", 1),
        (">reserved 3 y", "usd_per_hour.reserved-3y", 1),
        (">to buy, USD", "purchase_usd", 1),
    ),
}
"""Kind → columns of its list: head (`>` = right-aligned), field of the sheet, size of the printed unit."""


@click.command("catalog")
@click.argument("kind")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (schema: docs/json-schema.md).")
@click.option("--refresh", is_flag=True, help="Prices only: first fetch today's from the clouds (needs gpuhunt).")
def command(kind: str, name: str | None, as_json: bool, refresh: bool) -> None:
    """List the facts of one KIND, or show every field of one NAME with its source.

    Kinds: gpus nodes networks hosts storage prices quality models engines calibrations formats workloads.
    """
    from sizewell.catalog import sheets as written

    if refresh:
        _refresh(kind)
    sheets = (written.read_sheet(kind, name),) if name is not None else written.read_sheets(kind)
    if as_json:
        print_json("catalog", {"kind": kind, "entries": [_entry(sheet) for sheet in sheets]})
    elif name is not None:
        _show_sheet(sheets[0])
    else:
        _show_list(kind, sheets)


def _refresh(kind: str) -> None:
    """Put today's prices into the user's own catalogue, where they win over the shipped ones."""
    from datetime import date

    from sizewell.catalog.refresh_prices import refresh_prices

    if kind != "prices":
        raise BadInputError(f"--refresh is for prices, not {kind}: run sizewell catalog prices --refresh")
    path, offers, providers = refresh_prices(date.today())
    talk(f"wrote {path}: {offers} prices of {len(providers)} clouds ({', '.join(providers)})")


def _entry(sheet: Sheet) -> Mapping[str, object]:
    return {"key": sheet.key, "aliases": sheet.aliases, "facts": sheet.facts}


def _show_list(kind: str, sheets: Sequence[Sheet]) -> None:
    columns = COLUMNS.get(kind, ())
    rows = [
        (sheet.key, *(_printed(_value(sheet, field), unit) for _, field, unit in columns)) for sheet in sheets
    ]  # fmt: skip
    title = f"{len(rows)} {kind if len(rows) != 1 else kind.removesuffix('s')}"
    show(table(title, (kind.removesuffix("s"), *(head for head, _, _ in columns)), rows))


def _value(sheet: Sheet, field: str) -> object:
    return sheet.aliases if field == "aliases" else sheet.value(field)


def _show_sheet(sheet: Sheet) -> None:
    rows = [(fact.field, _printed(fact.value, 1), _source(fact)) for fact in sheet.facts]
    show(table(sheet.key, ("field", "value", "source"), rows))


def _source(fact: Fact) -> str:
    return f"{fact.source} ({fact.date})" if fact.date else fact.source


def _printed(value: object, unit: float) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, int | float) and unit != 1:
        return amount(value / unit)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
