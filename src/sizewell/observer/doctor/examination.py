"""All checks of a node, in the order a reader wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sizewell.observer.doctor.disk import judge_disk
from sizewell.observer.doctor.disk_facts import read_disk
from sizewell.observer.doctor.engine import judge_engines
from sizewell.observer.doctor.engine_facts import PROGRAMS, read_engine
from sizewell.observer.doctor.findings import Finding
from sizewell.observer.doctor.gpu import in_use, judge_gpus
from sizewell.observer.doctor.gpu_facts import read_gpus
from sizewell.observer.doctor.gpu_health import judge_health
from sizewell.observer.doctor.host import judge_host
from sizewell.observer.doctor.host_facts import read_host
from sizewell.observer.doctor.needs import Known, Needs, Place
from sizewell.observer.doctor.network import judge_network
from sizewell.observer.doctor.network_facts import read_network
from sizewell.observer.doctor.topology import judge_links, read_links


def examine(needs: Needs | None, place: Place, known: Known, say: Callable[[str], None]) -> Iterator[Finding]:
    """Read and judge each subject, one after another; `say` is told before what may take seconds."""
    gpus = read_gpus()
    say("importing the engine")
    engines = [read_engine(needs.deployment.engine.name)] if needs else [read_engine(name) for name in PROGRAMS]
    cuda = next((facts.cuda for facts in engines if facts.cuda), None)
    yield from judge_gpus(gpus, needs, known, cuda)
    gpus = in_use(gpus, needs)
    yield from judge_health(gpus)
    if gpus.vendor == "nvidia" and len(gpus.gpus) > 1:
        yield judge_links(read_links(), gpus, needs)
    yield from judge_host(read_host(), needs, known)
    say(f"reading {place.model} for a few seconds")
    yield from judge_disk(read_disk(place.model), needs, place)
    ports = tuple(place.port + server for server in range(needs.servers if needs else 1))
    yield from judge_network(read_network(place.host, ports), needs, place.interface, ports)
    yield from judge_engines(engines, needs)
