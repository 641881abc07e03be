"""Rent falls due per accelerator, ownership per node; what is not known is said, never guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell.catalog.hardware import nodes_for, read_gpu
from sizewell.catalog.planner_facts import read_facts
from sizewell.catalog.prices import read_prices
from sizewell.planner.candidates import Machine
from sizewell.planner.money import HOURS_PER_YEAR, hourly_price, node_power_w, running_usd_per_month
from sizewell.specs.deployment import Parallelism
from sizewell.specs.prices import ServiceUnit

BOOK = read_prices()


def _machine(gpu: str) -> Machine:
    card = read_gpu(gpu)
    node = nodes_for(card)[0]
    return Machine(card, node, max(node.gpu_counts))


def test_rent_is_per_accelerator_within_the_range_of_offers() -> None:
    price = hourly_price(_machine("h100"), "on-demand", BOOK)
    rent = BOOK.rent("h100-sxm-80gb")
    assert rent is not None
    assert price.usd_per_hour(4, 99) == pytest.approx(4 * rent.usd_per_gpu_hour)
    assert price.low_share <= 1 <= price.high_share


def test_ownership_is_write_off_power_and_floor_space() -> None:
    machine = _machine("h100")
    price = hourly_price(machine, "purchase", BOOK)
    capital = BOOK.capital(machine.node, machine.gpu.key, machine.gpus_per_node)
    assert capital is not None
    running = running_usd_per_month(node_power_w(machine), BOOK) / 730
    expected = capital.usd / BOOK.depreciation_years / HOURS_PER_YEAR + running
    assert price.usd_per_hour(3, 2) == pytest.approx(2 * expected)
    assert price.low_share < 1 < price.high_share


def test_an_unknown_price_is_infinite_and_says_why() -> None:
    price = hourly_price(_machine("h100"), "on-demand", replace(BOOK, offers=()))
    assert not price.known
    assert "h100-sxm-80gb" in price.why_unknown
    assert price.usd_per_hour(1, 1) == float("inf")


def test_power_costs_more_where_the_hall_is_worse() -> None:
    assert running_usd_per_month(2000, BOOK) == pytest.approx(2 * running_usd_per_month(1000, BOOK))


def test_a_sites_own_tariff_counts_service_units() -> None:
    rate = ServiceUnit(su_per_gpu_hour=4.0, gpu_key="h100-sxm-80gb")
    tariff = replace(BOOK.tariff, example=False, rates=(rate,))
    assert tariff.units_per_gpu_hour("h100-sxm-80gb") == 4.0
    assert BOOK.tariff.example, "the shipped tariff is only an example"


@pytest.mark.parametrize(("gpu", "sold"), [("h100-sxm-80gb", {4, 8}), ("h100-nvl-94gb", {1, 2, 4, 8})])
def test_a_board_is_bought_whole_and_cards_one_by_one(gpu: str, sold: set[int]) -> None:
    """Two H100 of a four-way board were "60,000 USD, accelerators alone", beside whole B200 servers: nobody sells that,
    nor a node of a cloud.
    """
    machines = read_facts(gpus=[gpu], bought=True).machines
    assert {machine.gpus_per_node for machine in machines} == sold
    assert all(machine.node.provider is None for machine in machines)
    held = {machine.cluster_for(Parallelism()).gpus_per_node for machine in machines}
    assert held == (sold if "sxm" in gpu else {1})


def test_a_part_of_a_board_may_be_rented() -> None:
    (whole,) = (each for each in read_facts(gpus=["h100-sxm-80gb"]).machines if each.node.key == "hgx-h100-4")
    assert whole.cluster_for(Parallelism()).gpus_per_node == 1
