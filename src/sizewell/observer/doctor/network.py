"""Judges the network: the interface collectives would take, whether nodes find each other, free ports, the hub."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from functools import partial

from sizewell.observer.doctor.findings import Finding
from sizewell.observer.doctor.needs import Needs
from sizewell.observer.doctor.network_facts import Interface, NetworkFacts

_network = partial(Finding, subject="network")
SLOWER = 0.9
"""An interface below this share of the planned rate is another one."""


def judge_network(
    facts: NetworkFacts, needs: Needs | None, interface: str | None, ports: Sequence[int]
) -> Iterator[Finding]:
    """Yield what the network is fit for; `interface` is the one the plan is rendered with."""
    several = needs is not None and needs.nodes > 1
    yield _collectives(facts, interface, several=several)
    yield _hostname(facts, interface, several=several)
    if needs is not None and several:
        yield _speed(facts, needs, interface)
        yield _rdma(facts, needs)
    yield _ports(facts, ports)
    if needs is not None:
        yield _hub(needs)


def usual_interface(interfaces: Sequence[Interface]) -> Interface | None:
    """Return the interface NCCL takes by itself: InfiniBand's first, then real ones, containers', the loopback."""
    able = [each for each in interfaces if each.up and each.addresses]

    def rank(each: Interface) -> int:
        return 3 if each.loopback else 2 if each.virtual else 0 if each.name.startswith("ib") else 1

    return min(able, key=rank, default=None)


def _named(facts: NetworkFacts, interface: str | None) -> str | None:
    """Return the interface somebody chose, without the marks NCCL reads before a name."""
    said = interface or facts.chosen.get("NCCL_SOCKET_IFNAME", "").partition(",")[0]
    return said.lstrip("=") or None if not said.startswith("^") else None


def _taken(facts: NetworkFacts, interface: str | None) -> Interface | None:
    """Return the interface of the collectives; NCCL takes every name that begins as told."""
    named = _named(facts, interface)
    if named is None:
        return usual_interface(facts.interfaces)
    exact = [each for each in facts.interfaces if each.name == named]
    return next(iter(exact or [each for each in facts.interfaces if each.name.startswith(named)]), None)


def _collectives(facts: NetworkFacts, interface: str | None, *, several: bool) -> Finding:
    named, taken = _named(facts, interface), _taken(facts, interface)
    there = ", ".join(f"{each.name} ({', '.join(each.addresses)})" for each in facts.interfaces if each.addresses)
    if taken is None or not (taken.up and taken.addresses):
        what = f"{named} is not up here" if named else "no interface is up"
        fix = "name one of them with --interface" if there else "bring an interface up"
        found = f"{what}; there are {there or 'none with an address'}"
        return _network(check="interface", verdict="fail" if several else "warn", found=found, fix=fix)
    how = "chosen" if named else "taken by NCCL by itself"
    found = f"{taken.name} ({', '.join(taken.addresses)}), {how}"
    if several and taken.loopback:
        fix = "set NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME, or --interface, to one that reaches the other nodes"
        return _network(check="interface", verdict="fail", found=found, needed="one other nodes reach", fix=fix)
    rivals = [each.name for each in facts.interfaces if each.up and each.addresses and not each.loopback]
    if several and not named and len(rivals) > 1:
        fix = "say which with --interface: nodes that choose differently wait for each other for ever"
        return _network(check="interface", verdict="warn", found=f"{found}; also {', '.join(rivals)}", fix=fix)
    return _network(check="interface", verdict="pass", found=found)


def _hostname(facts: NetworkFacts, interface: str | None, *, several: bool) -> Finding:
    """Return whether the machine's name leads to it from outside: GLOO binds to what the name resolves to."""
    chosen = interface or facts.chosen.get("GLOO_SOCKET_IFNAME")
    said = ", ".join(facts.resolved) or "nothing"
    found = f"{facts.hostname} resolves to {said}"
    inside = not facts.resolved or all(_loopback(address) for address in facts.resolved)
    if not several or not inside:
        more = "; enough for one node" if inside else ""
        return _network(check="hostname", verdict="pass", found=f"{found}{more}")
    if chosen:
        return _network(check="hostname", verdict="pass", found=f"{found}; GLOO is told {chosen}")
    fix = "set GLOO_SOCKET_IFNAME (render --interface), or give the name its real address in /etc/hosts"
    needed = "an address other nodes reach: else ranks wait on 127.0.0.1 for ever"
    return _network(check="hostname", verdict="fail", found=found, needed=needed, fix=fix)


def _loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _speed(facts: NetworkFacts, needs: Needs, interface: str | None) -> Finding:
    taken, node = _taken(facts, interface), needs.cluster.node
    wanted = node.scale_out.bytes_per_s
    needed = f"{wanted * 8 / 1e9:.0f} Gbit/s ({node.scale_out_ports} × {node.scale_out.name}), as priced"
    if node.scale_out.rdma and facts.rdma:
        return _network(check="speed", verdict="skipped", found="RDMA carries the bytes, not this interface")
    if taken is None or taken.bytes_per_s is None:
        return _network(check="speed", verdict="skipped", found="the interface does not say its rate", needed=needed)
    found = f"{taken.name} at {taken.bytes_per_s * 8 / 1e9:g} Gbit/s"
    if taken.bytes_per_s < SLOWER * wanted:
        fix = "name a faster interface (--interface), or plan for this network (--node)"
        return _network(check="speed", verdict="warn", found=found, needed=needed, fix=fix)
    return _network(check="speed", verdict="pass", found=found, needed=needed)


def _rdma(facts: NetworkFacts, needs: Needs) -> Finding:
    node = needs.cluster.node
    if not node.scale_out.rdma:
        return _network(check="rdma", verdict="skipped", found=f"{node.scale_out.name} has none")
    found = f"{len(facts.rdma)} devices up: {', '.join(facts.rdma)}" if facts.rdma else "no RDMA device is up"
    needed = f"{node.scale_out_ports} × {node.scale_out.name}"
    if len(facts.rdma) >= node.scale_out_ports:
        return _network(check="rdma", verdict="pass", found=found, needed=needed)
    fix = "look at ibstat; in a container pass /dev/infiniband in: NCCL falls back to slow sockets silently"
    return _network(check="rdma", verdict="warn" if facts.rdma else "fail", found=found, needed=needed, fix=fix)


def _ports(facts: NetworkFacts, ports: Sequence[int]) -> Finding:
    if not facts.taken:
        return _network(check="port", verdict="pass", found=f"{', '.join(map(str, ports))} free")
    found = "; ".join(f"{port}: {why}" for port, why in facts.taken.items())
    fix = "end what listens there (ss -ltnp), or name another --port"
    return _network(check="port", verdict="fail", found=found, needed=", ".join(map(str, ports)), fix=fix)


def _hub(needs: Needs) -> Finding:
    if needs.hub is None:
        return _network(check="hub", verdict="skipped", found="the plan downloads nothing")
    complaint = needs.hub()
    if not complaint:
        return _network(check="hub", verdict="pass", found=f"it hands out {needs.deployment.model.name}")
    fix = "download it where there is a network, then HF_HOME or --model-path; HF_TOKEN for gated models"
    return _network(check="hub", verdict="fail", found=complaint, needed="a download", fix=fix)
