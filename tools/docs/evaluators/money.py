"""Evaluators of prices and of published quality."""

from __future__ import annotations

from sizewell.catalog.hardware import cluster
from sizewell.catalog.prices import read_prices
from sizewell.catalog.quality import read_quality
from sizewell.specs.prices import Purchase
from tools.docs.evaluators.deployments import model_of
from tools.docs.units import shown
from tools.docs.verdict import Finding

SCOPES = {"model": "this model", "family": "its family at its size", "size": "its size", "format": "any model"}


def rent_usd_per_hour(gpu: str, gpus: int, provider: str) -> Finding:
    """Return the on-demand rent of so many accelerators at one provider."""
    offers = [
        offer
        for offer in read_prices().offers
        if (offer.gpu_key, offer.provider, offer.basis) == (gpu, provider, "on-demand")
    ]
    return Finding(value=gpus * min(offer.usd_per_gpu_hour for offer in offers))


def purchase_usd(gpu: str, gpus: int) -> Finding:
    """Return the price of a full node where one is listed, else of the accelerators alone."""
    book, machine = read_prices(), cluster(gpu, gpus_per_node=gpus)
    card = book.purchase(gpu)
    whole = book.purchase_node(machine.node.key, gpu) if gpus == machine.node.max_gpus else None
    if whole is not None:
        return Finding(value=whole.usd, notes={"basis": f"{machine.node.name}, {_dated(whole)}"})
    if card is None:
        raise ValueError(book.why_no_capital(machine.node, gpu))
    basis = f"{shown(card.usd, 'usd')} a card, {_dated(card)}, no host"
    return Finding(value=gpus * card.usd, notes={"basis": basis})


def _dated(price: Purchase) -> str:
    return f"{'estimate of ' if price.estimate else ''}{price.date}"


def quality_loss(weight_format: str, model: str) -> Finding:
    """Return the share of the 16-bit score that published results lose in a format, nearest to a model."""
    recovery = read_quality().recovery(weight_format, model, model_of(model).text_parameters)
    if recovery is None:
        raise ValueError(read_quality().why_none(weight_format))
    notes = {
        "results": str(recovery.results),
        "scope": SCOPES[recovery.scope],
        "low": shown(1 - recovery.high, "fraction"),
        "high": shown(1 - recovery.low, "fraction"),
    }
    return Finding(value=1 - recovery.fraction, notes=notes)


EVALUATORS = (rent_usd_per_hour, purchase_usd, quality_loss)
