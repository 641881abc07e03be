"""Flags of fleets: how a deployment is split into pools, what joins them, and cache in host memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from sizewell.cli.options import Decorator, quantity, stack
from sizewell.cli.quantities import BYTES
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.planner.stated import StatedPool

_POOL = re.compile(r"(?:(\d{1,5})[x×])?((?:(?:tp|pp|dp|ep)\d{1,5})(?:[x×](?:tp|pp|dp|ep)\d{1,5})*)", re.IGNORECASE)
EXAMPLE = "2xTP4 or TP1xDP8xEP8"


def parse_pool(text: str) -> StatedPool:
    """Return the pool that a text such as `2xTP4` names: replicas, one where none is said, and their cut.

    Raises BadInputError for anything else, and for a size given twice.
    """
    from sizewell.planner.stated import StatedPool
    from sizewell.specs.deployment import Parallelism

    found = _POOL.fullmatch(text.strip())
    if found is None:
        raise BadInputError(f"{text[:80]!r} is no pool: write e.g. {EXAMPLE}")
    sizes = [(part[:2].lower(), int(part[2:])) for part in re.split("[x×]", found[2])]
    if len(dict(sizes)) < len(sizes):
        raise BadInputError(f"{text!r} gives a size twice: write e.g. {EXAMPLE}")
    if min(int(found[1] or 1), *(size for _, size in sizes)) < 1:
        raise BadInputError(f"{text!r}: every count is at least 1")
    return StatedPool(replicas=int(found[1] or 1), cut=Parallelism(**dict(sizes)))


class PoolText(click.ParamType[Any]):
    """The words of one pool."""

    name = "pool"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a pool; one that is parsed already stays as it is."""
        return parse_pool(value) if isinstance(value, str) else value


def pool_flags() -> Decorator:
    """Return the flags that split a deployment into pools and give its cache host memory."""
    return stack(
        click.option("--prefill", type=PoolText(), metavar="2xTP4", help="Replicas that only compute prompts."),
        click.option("--decode", type=PoolText(), metavar="1xTP8", help="Replicas that only decode; with --prefill."),
        click.option(
            "--kv-network", metavar="KEY",
            help="What carries caches between them, e.g. infiniband-ndr-400 [what joins their accelerators].",
        ),
        quantity("--kv-host-memory", BYTES, "Host memory for cache, per engine [0]."),
        click.option("--pin-prefixes", is_flag=True, help="Never evict prompt beginnings that several sessions share."),
    )  # fmt: skip
