"""Rent falls due per accelerator, ownership per node; what is not known is said, never guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizewell.catalog.hardware import nodes_for, read_gpu
from sizewell.catalog.models import read_model
from sizewell.catalog.planner_facts import read_facts
from sizewell.catalog.prices import read_prices
from sizewell.planner.candidates import Machine
from sizewell.planner.money import HOURS_PER_YEAR, hourly_price, node_power_w, running_usd_per_month
from sizewell.planner.question import Limits, Question
from sizewell.planner.search import answer
from sizewell.specs.deployment import Parallelism
from sizewell.specs.errors import BadInputError
from sizewell.specs.prices import ServiceUnit
from sizewell.traffic.workload import Workload

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


def test_a_site_plans_for_the_nodes_it_has() -> None:
    """A cluster of four-way boards got plans for eight-way ones, and nothing could be said against it."""
    found = read_facts(nodes=["hgx-h100-4", "aws-g6-12xlarge"]).machines
    assert {(each.node.key, each.gpu.key) for each in found} == {
        ("hgx-h100-4", "h100-sxm-80gb"), ("aws-g6-12xlarge", "l4-24gb"),
    }  # fmt: skip
    with pytest.raises(BadInputError, match="does not hold l4"):
        read_facts(gpus=["l4"], nodes=["hgx-h100-4"])
    with pytest.raises(BadInputError, match="is rented, not sold"):
        read_facts(nodes=["p5.48xlarge"], bought=True)


def test_a_budget_buys_the_source_documents_machines() -> None:
    """500 to 1,500 USD are a desktop with one small card; what costs more is rejected by its price."""
    cards = ("rtx-3060-ti-8gb", "rtx-4090-24gb")
    question = Question(
        model=read_model("deepseek-llm-7b"),
        workload=Workload(users=1, input_tokens=1000, answer_tokens=300),
        limits=Limits(gpu_keys=cards, purchase_usd=1500),
        weight_formats=("gguf-q4_k_m",),
        price_basis="purchase",
    )
    found = answer(question, read_facts(gpus=cards, bought=True))
    (plan,) = found.plans
    assert (plan.deployment.cluster.node.key, plan.cost.purchase_usd) == ("small-desktop", 900 + 399)
    assert any("USD to buy" in each.reason and each.family.startswith("rtx-4090") for each in found.rejections)
    with pytest.raises(BadInputError, match="--prices purchase"):
        replace(question, price_basis="on-demand")


def test_what_is_bought_is_the_cheapest_machine_around_a_card() -> None:
    """Nodes that differ in their host alone were taken for one, at the price of the first."""
    sold = read_facts(gpus=["rtx-4090"], bought=True).machines
    alone = [each for each in sold if each.gpus_per_node == 1]
    prices = {each.node.key: hourly_price(each, "purchase", BOOK).purchase_usd_per_node for each in alone}
    assert prices["small-desktop"] == 900 + 1599
    assert prices["desktop"] == 1500 + 1599
