"""What a deployment costs: rent by the hour, or capital written off plus power and floor space.

Derivations: docs/cost-model.md#money.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.planner.candidates import Machine
from sizewell.planner.objective import usd_per_million_tokens
from sizewell.planner.plan import BreakEven, Cost
from sizewell.planner.question import PriceBasis
from sizewell.specs.deployment import Deployment
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.prices import Capital, PriceBook

HOURS_PER_MONTH = 730.0
HOURS_PER_YEAR = 8760.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyPrice:
    """USD per hour of a machine: rent falls due per accelerator in use, ownership per node.

    `purchase_usd_per_node` is the price of what is owned. `why_unknown` is set, and the prices are None, when nobody's
    price is known.
    """

    usd_per_gpu: float | None = None
    usd_per_node: float | None = None
    purchase_usd_per_node: float | None = None
    low_share: float = 1.0
    high_share: float = 1.0
    estimate: bool = False
    source: str = ""
    why_unknown: str = ""

    @property
    def known(self) -> bool:
        """Whether a price was found."""
        return not self.why_unknown

    def usd_per_hour(self, gpus: float, nodes: float) -> float:
        """Return the hourly cost of so many accelerators in so many nodes; infinite when no price is known."""
        if not self.known:
            return float("inf")
        return gpus * (self.usd_per_gpu or 0.0) + nodes * (self.usd_per_node or 0.0)


def hourly_price(machine: Machine, basis: PriceBasis, prices: PriceBook) -> HourlyPrice:
    """Return what an hour of a machine costs on a price basis."""
    if basis == "purchase":
        return _owned(machine, prices)
    rent = prices.rent(machine.gpu.key, basis)
    if rent is None:
        return HourlyPrice(why_unknown=prices.why_no_rent(machine.gpu.key, basis))
    return HourlyPrice(
        usd_per_gpu=rent.usd_per_gpu_hour,
        low_share=rent.low_usd_per_gpu_hour / rent.usd_per_gpu_hour,
        high_share=rent.high_usd_per_gpu_hour / rent.usd_per_gpu_hour,
        estimate=rent.estimate,
        source=f"{rent.provider}, {basis}, {rent.oldest_date} to {rent.date}",
    )


def _owned(machine: Machine, prices: PriceBook) -> HourlyPrice:
    capital = prices.capital(machine.node, machine.gpu.key, machine.gpus_per_node)
    if capital is None:
        return HourlyPrice(why_unknown=prices.why_no_capital(machine.node, machine.gpu.key))
    write_off = capital.usd / HOURS_PER_YEAR
    running = running_usd_per_month(node_power_w(machine), prices) / HOURS_PER_MONTH
    usd = write_off / prices.depreciation_years + running
    return HourlyPrice(
        usd_per_node=usd,
        purchase_usd_per_node=capital.usd,
        low_share=(write_off / prices.depreciation_years_high + running) / usd,
        high_share=(write_off / prices.depreciation_years_low + running) / usd,
        estimate=capital.estimate or not capital.machine_known,
        source=_ownership_source(capital, prices),
    )


def _ownership_source(capital: Capital, prices: PriceBook) -> str:
    missing = "" if capital.machine_known else ", the machine around the accelerators not priced"
    years = f"{prices.depreciation_years:g} years"
    return f"bought for {capital.usd:,.0f} USD a node over {years}, power and hosting{missing}"


def node_power_w(machine: Machine) -> float:
    """Return the power of one node with its accelerators at their limit, in W."""
    return ClusterSpec(gpu=machine.gpu, node=machine.node, gpus_per_node=machine.gpus_per_node, nodes=1).power_w


def running_usd_per_month(power_w: float, prices: PriceBook) -> float:
    """Return electricity (with the hall's overhead) and floor space for so much power."""
    kilowatts = power_w / 1000
    electricity = kilowatts * prices.pue * prices.power_usd_per_kwh * HOURS_PER_MONTH
    return electricity + kilowatts * prices.hosting_usd_per_kw_month


def cost(
    deployment: Deployment, price: HourlyPrice, basis: PriceBasis, output_tokens_per_s: float, power_w: float
) -> Cost:
    """Return what a deployment costs per hour and per million generated tokens at the stated load."""
    hourly = price.usd_per_hour(deployment.gpus, deployment.cluster.nodes) if price.known else None
    owned = price.purchase_usd_per_node
    per_token = None if hourly is None else usd_per_million_tokens(hourly, output_tokens_per_s)
    return Cost(
        basis=basis,
        usd_per_hour=hourly,
        usd_per_hour_low=None if hourly is None else hourly * price.low_share,
        usd_per_hour_high=None if hourly is None else hourly * price.high_share,
        usd_per_million_output_tokens=per_token,
        estimate=price.estimate,
        source=price.source or price.why_unknown,
        power_w=power_w,
        purchase_usd=None if owned is None else owned * deployment.cluster.nodes,
    )


def service_units_per_hour(deployment: Deployment, prices: PriceBook) -> float | None:
    """Return what the site's own tariff charges an hour; None when it states none of its own."""
    if prices.tariff.example:
        return None
    rate = prices.tariff.units_per_gpu_hour(deployment.cluster.gpu.key)
    return None if rate is None else rate * deployment.gpus


def break_even(deployment: Deployment, power_w: float, prices: PriceBook) -> BreakEven | None:
    """Return buying against on-demand rent for the whole nodes of a deployment; None when either price is unknown."""
    cluster = deployment.cluster
    rent = prices.rent(cluster.gpu.key)
    capital = prices.capital(cluster.node, cluster.gpu.key, cluster.gpus_per_node)
    if rent is None or capital is None:
        return None
    return BreakEven(
        capital_usd=capital.usd * cluster.nodes,
        host_usd=None if capital.host_usd is None else capital.host_usd * cluster.nodes,
        running_usd_per_month=running_usd_per_month(power_w, prices),
        rent_usd_per_month=rent.usd_per_gpu_hour * cluster.gpus * HOURS_PER_MONTH,
        estimate=capital.estimate or rent.estimate,
        machine_known=capital.machine_known,
    )
