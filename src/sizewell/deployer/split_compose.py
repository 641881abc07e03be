"""A compose file of a split deployment: a service for each replica and the router before them, on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sizewell.deployer import compose, router, words, yaml_text
from sizewell.deployer.compose import Item, literal
from sizewell.deployer.images import router_image
from sizewell.deployer.launch import Launch
from sizewell.deployer.placement import accelerators, on_this_machine, seats
from sizewell.deployer.terms import Priced
from sizewell.deployer.yaml_text import Why
from sizewell.specs.errors import BadInputError

NETWORK = {"network_mode": "host"}
"""Pools hand caches over faster without a network between containers; every port is on the machine's own loopback."""


def render(launch: Launch) -> Mapping[str, str]:
    """Return the file; raises BadInputError for more than one machine, and for others than it that would reach it."""
    if launch.deployment.cluster.nodes > 1:
        raise BadInputError("compose runs on one machine: render for slurm or kubernetes, or a plan of one node")
    if launch.exposed:
        raise BadInputError(
            f"pools share this machine's network, not {launch.site.host}: put a proxy before the router"
        )
    services, flags = {}, list(router.flags(launch))
    for seat in seats(launch):
        mine, value_of = launch.parts[seat.part], partial(on_this_machine, launch, seat.number)
        name = f"{launch.name}-{mine.pool.role}-{seat.replica}"
        services[name] = compose.engine(mine, accelerators(launch, seat), NETWORK, value_of)
        places = (value_of(live) for live in router.PLACE)
        flags.append(router.worker(launch, mine.pool.role, *places))
    services[f"{launch.name}-router"] = {
        "image": literal(router_image(launch)),
        "entrypoint": [literal(word) for word in router.program(launch)],
        "command": compose.command(flags, partial(on_this_machine, launch, None)),
        "environment": _key(launch),
        **NETWORK,
        "depends_on": {name: {"condition": "service_healthy"} for name in services},
        "restart": "unless-stopped",
        "stop_grace_period": "120s",
    }
    document: Item = {
        compose.PRICED: literal(Priced.of(launch).text),
        "name": launch.name,
        "services": services,
        "volumes": {"weights": {}},
    }
    return {compose.FILE: yaml_text.dump([document])}


def _key(launch: Launch) -> list[str]:
    if launch.flags.engine == "sglang":
        return []
    key = f"{router.ENGINES_KEY}=${{{words.key_variable(launch)}:-}}"
    return [Why("the key of the engines, where the caller sets one"), key]
