"""Which interface collectives take, the name that leads nowhere, taken ports: on paper, and on this machine."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import pytest

from doctor_nodes import needs
from sizewell.observer.doctor.findings import Finding
from sizewell.observer.doctor.needs import Needs
from sizewell.observer.doctor.network import judge_network, usual_interface
from sizewell.observer.doctor.network_facts import Interface, NetworkFacts, parse_addresses, read_network
from sizewell.planner.stated import Stated

R1 = needs()
TWO_NODES = needs("r1", "16xh100", Stated(tp=8, pp=2))
LOOPBACK = Interface(name="lo", up=True, addresses=("127.0.0.1", "::1"))
BRIDGE = Interface(name="docker0", up=True, addresses=("172.17.0.1",))
WIRE = Interface(name="ens1f0", up=True, addresses=("10.0.0.5",), bytes_per_s=12.5e9)
FABRIC = Interface(name="ib0", up=True, addresses=("192.168.1.5",), bytes_per_s=50e9)
RDMA = tuple(f"mlx5_{n}" for n in range(8))
WELL = NetworkFacts(
    hostname="node1", resolved=("10.0.0.5",), interfaces=(LOOPBACK, BRIDGE, WIRE), rdma=RDMA, chosen={}, taken={}
)


def judged(facts: NetworkFacts, wanted: Needs | None = TWO_NODES, interface: str | None = None) -> dict[str, Finding]:
    return {finding.check: finding for finding in judge_network(facts, wanted, interface, (8000,))}


def test_a_node_of_several_is_well() -> None:
    found = judged(replace(WELL, interfaces=(LOOPBACK, WIRE)))
    assert {finding.verdict for finding in found.values()} == {"pass", "skipped"}
    assert found["interface"].found == "ens1f0 (10.0.0.5), taken by NCCL by itself"
    assert found["rdma"].found.startswith("8 devices up")


@pytest.mark.parametrize(
    ("interfaces", "name"),
    [
        ((LOOPBACK, BRIDGE, WIRE, FABRIC), "ib0"),
        ((LOOPBACK, BRIDGE, WIRE), "ens1f0"),
        ((LOOPBACK, BRIDGE, replace(WIRE, up=False)), "docker0"),
        ((LOOPBACK, replace(WIRE, addresses=())), "lo"),
    ],
)
def test_nccl_takes_the_fabric_then_wires_then_bridges(interfaces: tuple[Interface, ...], name: str) -> None:
    taken = usual_interface(interfaces)
    assert taken is not None
    assert taken.name == name


def test_a_name_that_leads_to_the_loopback_is_the_classic_failure_of_several_nodes() -> None:
    facts = replace(WELL, resolved=("127.0.1.1", "::1"))
    hostname = judged(facts)["hostname"]
    assert hostname.verdict == "fail"
    assert "GLOO_SOCKET_IFNAME" in hostname.fix
    assert judged(facts, R1)["hostname"].verdict == "pass"
    assert judged(facts, interface="ens1f0")["hostname"].verdict == "pass"
    assert judged(replace(facts, chosen={"GLOO_SOCKET_IFNAME": "ens1f0"}))["hostname"].verdict == "pass"
    assert judged(replace(WELL, resolved=()))["hostname"].verdict == "fail"


@pytest.mark.parametrize(
    ("changed", "interface", "check", "verdict"),
    [
        (WELL, None, "interface", "warn"),
        (WELL, "ens1f0", "interface", "pass"),
        (WELL, "ens9", "interface", "fail"),
        (replace(WELL, chosen={"NCCL_SOCKET_IFNAME": "=ens1f0"}), None, "interface", "pass"),
        (replace(WELL, chosen={"NCCL_SOCKET_IFNAME": "ens"}), None, "interface", "pass"),
        (replace(WELL, interfaces=(LOOPBACK,)), None, "interface", "fail"),
        (replace(WELL, interfaces=()), None, "interface", "fail"),
        (replace(WELL, rdma=()), None, "rdma", "fail"),
        (replace(WELL, rdma=RDMA[:7]), None, "rdma", "warn"),
        (replace(WELL, rdma=()), "ens1f0", "speed", "warn"),
        (replace(WELL, rdma=(), interfaces=(LOOPBACK, FABRIC)), None, "speed", "pass"),
        (replace(WELL, taken={8000: "somebody listens on it"}), None, "port", "fail"),
    ],
)
def test_each_trouble_is_named(changed: NetworkFacts, interface: str | None, check: str, verdict: str) -> None:
    finding = judged(changed, interface=interface)[check]
    assert finding.verdict == verdict
    assert bool(finding.fix) == (verdict in ("warn", "fail"))


def test_the_hub_is_asked_only_where_something_is_downloaded() -> None:
    assert judged(WELL, replace(R1, hub=None))["hub"].verdict == "skipped"
    assert judged(WELL, replace(R1, hub=lambda: ""))["hub"].verdict == "pass"
    asked = judged(WELL, replace(R1, hub=lambda: "the hub asks for permission (401)"))["hub"]
    assert (asked.verdict, asked.found) == ("fail", "the hub asks for permission (401)")
    assert "hub" not in judged(WELL, None)


def test_addresses_of_a_link_alone_are_left_out() -> None:
    rows = [
        {"ifname": "eth0", "addr_info": [
            {"local": "10.0.0.5", "scope": "global"}, {"local": "10.0.0.6", "scope": "global"},
            {"local": "fe80::1", "scope": "link"},
        ]},
        {"ifname": "lo"}, {},
    ]  # fmt: skip
    assert parse_addresses(json.dumps(rows)) == {"eth0": ("10.0.0.5", "10.0.0.6"), "lo": ()}
    assert parse_addresses("ip: command not found") == parse_addresses("") == {}


def test_a_port_somebody_listens_on_is_found_and_a_free_one_is_left_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as freed:
        ports = taken.getsockname()[1], freed.getsockname()[1]
        freed.close()
        facts = read_network("127.0.0.1", ports)
    assert facts.taken == {ports[0]: "somebody listens on it"}
    socket.create_server(("127.0.0.1", ports[1])).close()
    assert any(each.loopback and each.up for each in facts.interfaces)
    assert read_network("no.such.host.invalid", (8000,)).taken[8000]
