"""Which proxy leads to a server, by the variables that curl, httpx and the rest read."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from sizewell.specs.address import host_port
from sizewell.specs.errors import BadInputError

USUAL_PORT = 80
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy's address, and its user and password, which no output may show: they are left out of `repr`."""

    host: str
    port: int
    user: str = ""
    password: str = ""

    @property
    def authority(self) -> str:
        """Host and port, as an address writes them."""
        return host_port(self.host, self.port)

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries for the proxy."""
        if not self.user:
            return {}
        return {"Proxy-Authorization": "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()}

    def __repr__(self) -> str:
        return f"Proxy({self.authority})"


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy to an address: `http_proxy` or `https_proxy`, else `all_proxy`, in small letters or capitals.

    None leads to this machine, to private addresses and names without a dot (nodes of a cluster, services of compose),
    and to what `no_proxy` lists: `*`, names with all below them, addresses, networks, each perhaps with a port.
    Raises BadInputError for a proxy that is no http://HOST:PORT.
    """
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or PORTS.get(parts.scheme, 0)
    said = _said(f"{parts.scheme}_proxy", environment) or _said("all_proxy", environment)
    if not said or _is_near(host) or any(_covers(one, host, port) for one in _listed(environment)):
        return None
    return _parsed(said)


def _said(name: str, environment: Mapping[str, str]) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _listed(environment: Mapping[str, str]) -> list[str]:
    return [one.strip().lower() for one in _said("no_proxy", environment).split(",") if one.strip()]


def _is_near(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(".localhost")


def _covers(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of `no_proxy` means a host, in small letters."""
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:  # a name, or an address with a port
        pass
    name, colon, behind = entry.rpartition(":")
    if colon and behind.isdigit():
        if int(behind) != port:
            return False
        entry = name.strip("[]")
    entry = entry.removeprefix("*").removeprefix(".")
    return not entry or host == entry or host.endswith(f".{entry}")


def _parsed(said: str) -> Proxy:
    try:
        parts = urlsplit(said if "://" in said else f"http://{said}")
        port = parts.port or USUAL_PORT
    except ValueError:
        raise BadInputError("the proxy in the environment is no address: write http://HOST:PORT") from None
    if parts.scheme != "http" or not parts.hostname:
        what = f"{parts.scheme}://{parts.hostname or ''}"
        raise BadInputError(
            f"the proxy {what} in the environment is none of http://HOST:PORT: list the server in no_proxy"
        )
    return Proxy(
        host=parts.hostname, port=port, user=unquote(parts.username or ""), password=unquote(parts.password or "")
    )  # fmt: skip
