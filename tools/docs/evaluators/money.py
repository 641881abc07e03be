"""Evaluators of prices and of published quality."""

from __future__ import annotations

from sizewell.catalog.hardware import cluster
from sizewell.catalog.prices import read_prices
from sizewell.catalog.quality import read_quality
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
    """Return the price of accelerators, or of the whole node where they are sold only so."""
    book = read_prices()
    card = book.purchase(gpu)
    if card is not None:
        basis = f"{shown(card.usd, 'usd')} a card ({'estimate, ' if card.estimate else ''}{card.date}), no host"
        return Finding(value=gpus * card.usd, notes={"basis": basis})
    machine = cluster(gpu, gpus_per_node=gpus)
    whole = book.capital(machine.node, gpu, gpus)
    if whole is None:
        raise ValueError(book.why_no_capital(machine.node, gpu))
    return Finding(
        value=whole.usd, notes={"basis": f"a whole {machine.node.name}{', estimate' if whole.estimate else ''}"}
    )


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
