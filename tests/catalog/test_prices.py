"""Prices are medians of what is listed, never an estimate where something is listed, and never invented."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.catalog.hardware import cluster, list_gpus, nodes_for, read_gpu
from sizewell.catalog.overlay import VARIABLE
from sizewell.catalog.prices import read_prices
from sizewell.catalog.refresh_prices import refresh_prices
from sizewell.specs.errors import BadInputError, UnreachableError
from sizewell.specs.prices import Offer, PowerPrice, PriceBook, Purchase, ServiceUnit, Tariff

DAY = date(2026, 11, 20)


def _offer(usd: float, provider: str = "a", *, estimate: bool = False) -> Offer:
    return Offer(
        gpu_key="x", provider=provider, basis="on-demand", usd_per_gpu_hour=usd, source=provider, date="2026-01",
        estimate=estimate,
    )  # fmt: skip


def _book(offers: Sequence[Offer] = (), purchases: Sequence[Purchase] = ()) -> PriceBook:
    return PriceBook(
        offers=tuple(offers),
        purchases=tuple(purchases),
        power=PowerPrice(usd_per_kwh={"us": 0.1, "eu": 0.2}, pue={"new": 1.2, "average": 1.5, "office": 1.0}),
        hosting_usd_per_kw_month=180,
        depreciation_years=4,
        depreciation_years_low=3,
        depreciation_years_high=6,
        tariff=Tariff(unit="SU", usd_per_unit=0, rates=(), example=True),
    )


def test_each_provider_counts_once_with_its_lowest_offer() -> None:
    rent = _book([_offer(2, "a"), _offer(9, "a"), _offer(3, "b"), _offer(10, "c")]).rent("x")
    assert rent is not None
    assert (rent.usd_per_gpu_hour, rent.low_usd_per_gpu_hour, rent.high_usd_per_gpu_hour) == (3, 2, 10)
    assert rent.providers == ("a", "b", "c")
    assert rent.provider == "median of 3 providers"


def test_an_estimate_counts_only_where_nothing_is_listed() -> None:
    mixed = _book([_offer(5, "a"), _offer(1, "b", estimate=True)]).rent("x")
    guessed = _book([_offer(1, "b", estimate=True)]).rent("x")
    assert mixed is not None and guessed is not None
    assert (mixed.usd_per_gpu_hour, mixed.estimate) == (5, False)
    assert (guessed.usd_per_gpu_hour, guessed.estimate) == (1, True)


def test_nothing_known_is_none_with_a_reason() -> None:
    book = _book([_offer(1)])
    assert book.rent("y") is None
    assert book.why_no_rent("y").startswith("no on-demand price of y is known; add an [[offer]]")
    assert book.rent("x", "spot") is None
    assert "known: on-demand" in book.why_no_rent("x", "spot")


@given(st.lists(st.tuples(st.floats(0.01, 100), st.sampled_from("abcd"), st.booleans()), min_size=1))
def test_the_median_lies_in_its_range(rows: list[tuple[float, str, bool]]) -> None:
    rent = _book([_offer(usd, name, estimate=guess) for usd, name, guess in rows]).rent("x")
    assert rent is not None
    assert rent.low_usd_per_gpu_hour <= rent.usd_per_gpu_hour <= rent.high_usd_per_gpu_hour
    assert rent.estimate == all(guess for _, _, guess in rows)


def test_a_full_node_has_its_own_price_a_part_is_cards_and_host() -> None:
    node = cluster("h100", gpus_per_node=8).node
    card = Purchase(usd=30, date="2026-01", source="card", estimate=False, gpu_key="h100-sxm-80gb")
    whole = Purchase(usd=200, date="2026-01", source="node", estimate=True, node_key=node.key)
    host = Purchase(usd=10, date="2026-01", source="host", estimate=True, host_key=node.host.key)
    full = _book(purchases=[card, whole, host]).capital(node, card.gpu_key or "", 8)
    part = _book(purchases=[card, whole, host]).capital(node, card.gpu_key or "", 4)
    bare = _book(purchases=[card]).capital(node, card.gpu_key or "", 8)
    assert full is not None and part is not None and bare is not None
    assert (full.usd, full.machine_known, full.estimate) == (200, True, True)
    assert (part.usd, part.machine_known, part.sources) == (130, True, ("card", "host"))
    assert (bare.usd, bare.machine_known) == (240, False)
    assert _book(purchases=[host]).capital(node, "h100-sxm-80gb", 8) is None


def test_the_most_specific_rate_of_a_tariff_wins() -> None:
    def rate(su: float, region: str = "*", partition: str = "*", gpu: str = "*") -> ServiceUnit:
        return ServiceUnit(su_per_gpu_hour=su, region=region, partition=partition, gpu_key=gpu)

    rates = (rate(1), rate(2, gpu="g"), rate(3, partition="p"), rate(4, partition="p", gpu="g"), rate(5, region="r"))
    tariff = Tariff(unit="SU", usd_per_unit=0, rates=rates, example=False)
    assert tariff.units_per_gpu_hour("other") == 1
    assert tariff.units_per_gpu_hour("g") == 2
    assert tariff.units_per_gpu_hour("other", partition="p") == 3
    assert tariff.units_per_gpu_hour("g", partition="p", region="r") == 4
    assert tariff.units_per_gpu_hour("g", region="r") == 2, "on a tie the accelerator beats the region"
    assert Tariff(unit="SU", usd_per_unit=0, rates=(), example=False).units_per_gpu_hour("g") is None


def test_the_shipped_snapshot() -> None:
    book = read_prices()
    rent = book.rent("h100-sxm-80gb")
    assert rent is not None
    assert 1.5 < rent.usd_per_gpu_hour < 5
    assert len(rent.providers) >= 8
    assert not rent.estimate
    assert book.tariff.example
    assert 0.03 < book.power_usd_per_kwh < book.power.usd_per_kwh["eu"] < 0.6
    assert 1 <= book.pue < 2
    assert book.depreciation_years_low < book.depreciation_years < book.depreciation_years_high
    assert 50 < book.hosting_usd_per_kw_month < 500


def test_newer_and_bigger_costs_more_in_the_shipped_snapshot() -> None:
    book = read_prices()
    rents = [
        book.rent(key) for key in ("rtx-3090-24gb", "l40s-48gb", "h100-sxm-80gb", "h200-sxm-141gb", "b200-sxm-180gb")
    ]
    usd = [rent.usd_per_gpu_hour for rent in rents if rent]
    assert len(usd) == len(rents)
    assert usd == sorted(usd)


def test_no_accelerator_has_a_price_out_of_nothing() -> None:
    book = read_prices()
    for gpu in list_gpus():
        offers = [offer for offer in book.offers if offer.gpu_key == gpu.key]
        assert (book.rent(gpu.key) is None) == (not [offer for offer in offers if offer.basis == "on-demand"])
        capital = book.capital(nodes_for(gpu)[0], gpu.key, nodes_for(gpu)[0].max_gpus)
        assert capital is None or capital.usd > 0
    assert book.rent("l20-48gb") is None
    assert "no purchase price" in book.why_no_capital(nodes_for(read_gpu("l20"))[0], "l20-48gb")


@dataclass
class Item:
    """One offer as gpuhunt lists it."""

    provider: str
    price: float
    gpu_count: int
    gpu_name: str | None
    gpu_memory: float | None
    spot: bool = False
    instance_name: str = 'in"stance'
    location: str = "here"


LISTED = (
    Item("one", 16.0, 8, "H100", 80),
    Item("one", 24.0, 8, "H100", 80),
    Item("two", 5.0, 2, "H100", 80),
    Item("two", 0.9, 1, "H100", 80, spot=True),
    Item("two", 0.5, 1, "RTX3060", 8),
    Item("two", 0.5, 1, "A4500", 20),
    Item("two", 1.2, 1, "RTXPRO6000", 96),
    Item("two", 0.1, 0, None, None),
)


def read_prices_of(path: Path) -> list[object]:
    offers = tomllib.loads(path.read_text())["offer"]
    assert isinstance(offers, list)
    return offers


def test_prices_that_cannot_be_meant_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cloud's NaN once made every later command fail on the file that was written."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    nonsense = [Item("three", price, 1, "H100", 80) for price in (float("nan"), float("inf"), -1.0, 0.0, 1e9)]
    refresh_prices(DAY, [*LISTED, *nonsense, Item('quo"te\n', 3.0, 8, "H100", 80)])
    rent = read_prices().rent("h100-sxm-80gb")
    assert rent is not None
    assert "three" not in rent.providers


def test_a_catalogue_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadInputError, match="cannot be written"):
        refresh_prices(DAY, LISTED, file)


def test_a_refreshed_snapshot_replaces_what_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    shipped = read_prices()
    path, offers, providers = refresh_prices(DAY, LISTED)
    assert (offers, providers) == (len(read_prices_of(path)), ("one", "two"))
    assert path == tmp_path / "prices" / "gpuhunt-2026-11-20.toml"
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no part of a file is left behind"
    book = read_prices()
    rent, spot = book.rent("h100-sxm-80gb"), book.rent("h100-sxm-80gb", "spot")
    assert rent is not None and spot is not None
    assert (rent.usd_per_gpu_hour, rent.providers, rent.date) == (2.25, ("one", "two"), "2026-11-20")
    assert spot.usd_per_gpu_hour == 0.9
    assert book.rent("h200-sxm-141gb") == shipped.rent("h200-sxm-141gb")
    assert {offer.gpu_key for offer in book.offers if offer.date == "2026-11-20"} == {
        "h100-sxm-80gb",
        "rtx-pro-6000-server-96gb",
    }


def test_only_the_newest_refreshed_snapshot_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    refresh_prices(DAY, LISTED)
    refresh_prices(date(2026, 11, 21), [Item("three", 4.0, 1, "H100", 80)])
    rent = read_prices().rent("h100-sxm-80gb")
    assert rent is not None
    assert rent.providers == ("three",)


def test_a_refresh_of_nothing_leaves_the_prices_alone(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="the prices stay as they were"):
        refresh_prices(DAY, [Item("two", 0.5, 1, "A4500", 20)], tmp_path)
    assert not (tmp_path / "prices").exists()


def test_without_gpuhunt_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gpuhunt", None)
    with pytest.raises(BadInputError, match=r"pip install 'sizewell\[prices\]'"):
        refresh_prices(DAY, folder=tmp_path)


def test_clouds_that_do_not_answer_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class GPUHuntError(Exception):
        pass

    class Catalog:
        def __init__(self, *, balance_resources: bool) -> None:
            assert not balance_resources

        def query(self, *, min_gpu_count: int) -> list[Item]:
            raise GPUHuntError(f"nobody has {min_gpu_count}") from OSError("connection\nrefused")

    module = ModuleType("gpuhunt")
    vars(module).update(GPUHuntError=GPUHuntError, Catalog=Catalog)
    monkeypatch.setitem(sys.modules, "gpuhunt", module)
    with pytest.raises(
        UnreachableError,
        match=r"nobody has 1: connection refused; the prices stay as they were\. gpuhunt needs the network",
    ):
        refresh_prices(DAY, folder=tmp_path)
