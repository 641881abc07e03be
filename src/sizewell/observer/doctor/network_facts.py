"""Interfaces, names and ports of a machine, read without sending anything."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sizewell.observer.doctor.asking import ask

VIRTUAL = ("docker", "veth", "br-", "virbr", "cni", "flannel", "cali", "ifb", "dummy", "tunl", "sit", "lxc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One network interface; `bytes_per_s` is None where the driver does not say."""

    name: str
    up: bool
    addresses: tuple[str, ...] = ()
    bytes_per_s: float | None = None

    @property
    def loopback(self) -> bool:
        """Whether it reaches nobody else."""
        return self.name == "lo" or self.name.startswith("lo0")

    @property
    def virtual(self) -> bool:
        """Whether containers and bridges made it."""
        return self.name.startswith(VIRTUAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts:
    """A machine's name, what it resolves to, its interfaces, RDMA devices that are up, and ports somebody holds.

    `chosen` are the variables by which interfaces are chosen for collectives.
    """

    hostname: str
    resolved: tuple[str, ...]
    interfaces: tuple[Interface, ...]
    rdma: tuple[str, ...] = ()
    chosen: Mapping[str, str]
    taken: Mapping[int, str]


def read_network(host: str, ports: tuple[int, ...], root: Path = Path("/")) -> NetworkFacts:
    """Return what the kernel and the resolver say; each port is bound for a moment to see whether it is free."""
    hostname = socket.gethostname()
    names = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")
    return NetworkFacts(
        hostname=hostname,
        resolved=_resolved(hostname),
        interfaces=_interfaces(root),
        rdma=_rdma(root),
        chosen={name: os.environ[name] for name in names if os.environ.get(name)},
        taken={port: why for port in ports if (why := _taken(host, port))},
    )


def _resolved(hostname: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _interfaces(root: Path) -> tuple[Interface, ...]:
    addresses = parse_addresses(ask(["ip", "-json", "addr"]).out)
    found = []
    for _, name in socket.if_nameindex():
        folder = root / "sys/class/net" / name
        state, speed = _text(folder / "operstate"), _text(folder / "speed")
        found.append(
            Interface(
                name=name,
                up=state in ("up", "unknown", "") and not (state == "unknown" and not addresses.get(name)),
                addresses=addresses.get(name) or _own_address(name),
                bytes_per_s=float(speed) * 1e6 / 8 if speed.isdigit() and int(speed) > 0 else None,
            )
        )
    return tuple(found)


def parse_addresses(text: str) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each interface as `ip -json addr` prints them; none where it prints something else."""
    try:
        rows = json.loads(text)
    except ValueError:
        return {}
    return {
        row["ifname"]: tuple(each["local"] for each in row.get("addr_info", ()) if each.get("scope") != "link")
        for row in rows
        if isinstance(row, dict) and "ifname" in row
    }


def _own_address(name: str) -> tuple[str, ...]:
    """Return an interface's first IPv4 address, asked of the kernel: containers often have no `ip`."""
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            packed = fcntl.ioctl(asked.fileno(), 0x8915, name.encode()[:15].ljust(256, b"\0"))  # SIOCGIFADDR
    except (ImportError, OSError):
        return ()
    return (socket.inet_ntoa(packed[20:24]),)


def _rdma(root: Path) -> tuple[str, ...]:
    """Return the RDMA devices with a port that is up."""
    ports = sorted((root / "sys/class/infiniband").glob("*/ports/*/state"))
    return tuple(dict.fromkeys(port.parts[-4] for port in ports if "ACTIVE" in _text(port)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _taken(host: str, port: int) -> str:
    """Return why a port cannot be listened on; empty where it can."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        return "somebody listens on it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return ""
