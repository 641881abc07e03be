"""What machines cost: offers to rent, prices to buy, power, floor space and a cluster's own service units.

A price is what somebody listed on a date; an estimate says so, and where nothing is known the answer is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Literal

from sizewell.specs.hardware import NodeSpec

Basis = Literal["on-demand", "spot", "reserved-1y", "reserved-3y"]
PowerRegion = Literal["us", "eu"]
Hall = Literal["new", "average", "office"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One accelerator for one hour at one provider; an instance's price is divided by its accelerators."""

    gpu_key: str
    provider: str
    basis: Basis
    usd_per_gpu_hour: float
    source: str
    date: str
    estimate: bool
    instance: str = ""
    gpus: int = 1
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rent:
    """The price of an accelerator-hour over several offers: median, range, and whom it rests on."""

    gpu_key: str
    basis: Basis
    usd_per_gpu_hour: float
    low_usd_per_gpu_hour: float
    high_usd_per_gpu_hour: float
    providers: tuple[str, ...]
    sources: tuple[str, ...]
    oldest_date: str
    date: str
    estimate: bool

    @property
    def provider(self) -> str:
        """The provider, or how many the median is over."""
        return self.providers[0] if len(self.providers) == 1 else f"median of {len(self.providers)} providers"

    @property
    def source(self) -> str:
        """All sources as one text."""
        return "; ".join(self.sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """The price of one accelerator, of one whole node with its accelerators, or of a host without any.

    Exactly one of `gpu_key` alone, `node_key` (with `gpu_key` where the node comes with several) and `host_key` is set.
    `own` prices come from the user and win over all others.
    """

    usd: float
    date: str
    source: str
    estimate: bool
    own: bool = False
    gpu_key: str | None = None
    node_key: str | None = None
    host_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capital:
    """What one node costs to buy; without `machine_known` the accelerators alone are counted.

    `host_usd` is the machine around them where it has a price of its own.
    """

    usd: float
    machine_known: bool
    estimate: bool
    sources: tuple[str, ...]
    host_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerPrice:
    """Electricity by region, and by kind of hall the power drawn over the power computing takes (PUE)."""

    usd_per_kwh: Mapping[PowerRegion, float]
    pue: Mapping[Hall, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUnit:
    """Service units charged for a GPU-hour where region, partition and accelerator match; `*` matches all."""

    su_per_gpu_hour: float
    region: str = "*"
    partition: str = "*"
    gpu_key: str = "*"

    def matches(self, region: str, partition: str, gpu_key: str) -> bool:
        """Return whether the rate applies."""
        pairs = ((self.region, region), (self.partition, partition), (self.gpu_key, gpu_key))
        return all(stated in ("*", asked) for stated, asked in pairs)

    @property
    def precision(self) -> tuple[int, bool, bool, bool]:
        """Sort key: the more fields are stated the better; accelerator before partition before region."""
        stated = (self.gpu_key != "*", self.partition != "*", self.region != "*")
        return sum(stated), *stated


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """A cluster's own accounting. `example`: the shipped figures, made up, to be replaced by the site's."""

    unit: str
    usd_per_unit: float
    rates: tuple[ServiceUnit, ...]
    example: bool

    def units_per_gpu_hour(self, gpu_key: str, *, partition: str = "*", region: str = "*") -> float | None:
        """Return the units one GPU-hour is charged, by the most specific rate that applies."""
        applying = [rate for rate in self.rates if rate.matches(region, partition, gpu_key)]
        return max(applying, key=lambda rate: rate.precision).su_per_gpu_hour if applying else None


@dataclass(frozen=True, kw_only=True)
class PriceBook:
    """All prices of one moment; the user's own files have already replaced what they speak of."""

    offers: tuple[Offer, ...]
    purchases: tuple[Purchase, ...]
    power: PowerPrice
    hosting_usd_per_kw_month: float
    depreciation_years: float
    depreciation_years_low: float
    depreciation_years_high: float
    tariff: Tariff
    names: tuple[str, ...] = field(default=())

    def rent(self, gpu_key: str, basis: Basis = "on-demand") -> Rent | None:
        """Return the median over providers, each with its lowest offer; estimates count only where nothing is listed.

        None when nobody's price is known: `why_no_rent` says so in words.
        """
        offers = self._offers_by_gpu.get((gpu_key, basis), [])
        chosen = [offer for offer in offers if not offer.estimate] or offers
        return _rent(chosen) if chosen else None

    @cached_property
    def _offers_by_gpu(self) -> dict[tuple[str, str], list[Offer]]:
        found: dict[tuple[str, str], list[Offer]] = {}
        for offer in self.offers:
            found.setdefault((offer.gpu_key, offer.basis), []).append(offer)
        return found

    def why_no_rent(self, gpu_key: str, basis: Basis = "on-demand") -> str:
        """Return why `rent` has no answer and what the user can do."""
        others = sorted({offer.basis for offer in self.offers if offer.gpu_key == gpu_key})
        known = f"; known: {', '.join(others)}" if others else ""
        return f"no {basis} price of {gpu_key} is known{known}; add an [[offer]] to your own prices/<name>.toml"

    def purchase(self, gpu_key: str) -> Purchase | None:
        """Return the price of one accelerator, None when it is sold only inside a node or no price is known."""
        return _best(row for row in self.purchases if row.gpu_key == gpu_key and row.node_key is None)

    def purchase_node(self, node_key: str, gpu_key: str) -> Purchase | None:
        """Return the price of a whole node with all its accelerators."""
        whole = [row for row in self.purchases if row.node_key == node_key]
        return _best(row for row in whole if row.gpu_key in (None, gpu_key))

    def purchase_host(self, host_key: str) -> Purchase | None:
        """Return the price of a host without accelerators."""
        return _best(row for row in self.purchases if row.host_key == host_key)

    def capital(self, node: NodeSpec, gpu_key: str, gpus: int) -> Capital | None:
        """Return what a node with `gpus` accelerators costs: its own price when full, else accelerators plus host.

        None when neither the node's nor the accelerator's price is known.
        """
        whole = self.purchase_node(node.key, gpu_key) if gpus == node.max_gpus else None
        card = self.purchase(gpu_key)
        if whole and (whole.own or not (card and card.own)):
            return Capital(usd=whole.usd, machine_known=True, estimate=whole.estimate, sources=(whole.source,))
        if not card:
            return None
        host = self.purchase_host(node.host.key)
        parts = [card, host] if host else [card]
        return Capital(
            usd=gpus * card.usd + (host.usd if host else 0.0),
            machine_known=host is not None,
            estimate=any(part.estimate for part in parts),
            sources=tuple(part.source for part in parts),
            host_usd=host.usd if host else None,
        )

    def why_no_capital(self, node: NodeSpec, gpu_key: str) -> str:
        """Return why `capital` has no answer and what the user can do."""
        return (
            f"no purchase price of {gpu_key} or {node.key} is known; add a [[purchase]] to your own prices/<name>.toml"
        )

    @property
    def power_usd_per_kwh(self) -> float:
        """Industrial electricity in the US."""
        return self.power.usd_per_kwh["us"]

    @property
    def pue(self) -> float:
        """Power drawn over power computing takes, in an average hall."""
        return self.power.pue["average"]


def _rent(offers: list[Offer]) -> Rent:
    prices = [offer.usd_per_gpu_hour for offer in offers]
    providers = tuple(dict.fromkeys(offer.provider for offer in offers))
    lowest = [min(offer.usd_per_gpu_hour for offer in offers if offer.provider == name) for name in providers]
    return Rent(
        gpu_key=offers[0].gpu_key,
        basis=offers[0].basis,
        usd_per_gpu_hour=median(lowest),
        low_usd_per_gpu_hour=min(prices),
        high_usd_per_gpu_hour=max(prices),
        providers=providers,
        sources=tuple(dict.fromkeys(offer.source for offer in offers)),
        oldest_date=min(offer.date for offer in offers),
        date=max(offer.date for offer in offers),
        estimate=any(offer.estimate for offer in offers),
    )


def _best(rows: Iterable[Purchase]) -> Purchase | None:
    """Return the row to rest on: the user's first, listed before estimated, then the newest."""
    return max(rows, key=lambda row: (row.own, not row.estimate, row.date), default=None)
