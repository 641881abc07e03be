"""The HTTP client: one session for many streams, imported only when something is sent."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Any

from sizewell.driver.failures import ExchangeError, Kind, retry_after_s
from sizewell.specs.address import Secret
from sizewell.specs.errors import BadInputError
from sizewell.specs.proxy import Proxy, proxy_for

NO_CLIENT = "sending requests needs aiohttp: pip install 'sizewell[drive]'"
READ_BUFFER_BYTES = 2**20
CONNECT_S = 10.0
IDLE_S = 2.0
"""How long an idle connection is kept: less than servers do (uvicorn: 5 s), or a request would meet one just closed."""
MOST_BODY_BYTES = 256 * 2**20
MOST_FILES, SPARE_FILES = 2**16, 64
"""Open files a process asks for at most, and those of them that are no connections."""
READ_ERROR_BYTES, SHOWN_ERROR_CHARACTERS = 2**16, 2000


def load_aiohttp() -> Any:
    """Return the client library; raises BadInputError naming the extra that brings it."""
    try:
        return import_module("aiohttp")
    except ImportError:
        raise BadInputError(NO_CLIENT) from None


@asynccontextmanager
async def opened(secret: Secret, timeout_s: float) -> AsyncIterator[Client]:
    """Open a session for as many connections as are asked for; `timeout_s` bounds one whole exchange."""
    aiohttp = load_aiohttp()
    most_connections()
    limits = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_S, timeout_s))
    # A limit of connections, or a small buffer that stops the socket, would be the client's queue in the server's name.
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=IDLE_S)
    session = aiohttp.ClientSession(
        connector=connector, timeout=limits, read_bufsize=READ_BUFFER_BYTES, headers=secret.headers, trust_env=False
    )
    async with session:
        yield Client(aiohttp, session, secret)


def most_connections() -> int:
    """Return how many connections this process may hold, its limit of open files raised as far as is allowed.

    Shells give 1,024 of half a million, which is a window of vLLM's on a large accelerator.
    """
    soft, hard = (MOST_FILES if limit == RLIM_INFINITY else limit for limit in getrlimit(RLIMIT_NOFILE))
    wanted = min(hard, MOST_FILES)
    if soft < wanted:
        setrlimit(RLIMIT_NOFILE, (wanted, getrlimit(RLIMIT_NOFILE)[1]))
    return max(soft, wanted) - SPARE_FILES


def require_room(connections: int) -> None:
    """Raise BadInputError for more connections at once than this process may hold."""
    most = most_connections()
    if connections > most:
        said = f"{connections:,} connections at once are more than the {most:,} this process may open"
        raise BadInputError(f"{said}: ask for fewer, or raise the limit on files (ulimit -n)")


class Client:
    """Requests, every failure an ExchangeError; redirects are not followed, so the key goes nowhere else."""

    def __init__(self, aiohttp: Any, session: Any, secret: Secret) -> None:
        self._aiohttp = aiohttp
        self._session = session
        self._secret = secret
        self._proxies: dict[str, Proxy | None] = {}

    @asynccontextmanager
    async def post(self, url: str, data: bytes) -> AsyncIterator[Any]:
        """Open the response to a JSON body; raises ExchangeError for any status but 200 and for what breaks inside."""
        with self._named():
            way = self._way(url)
            headers = {"Content-Type": "application/json", **way.pop("headers")}
            async with self._session.post(url, data=data, headers=headers, allow_redirects=False, **way) as response:
                await _require_ok(response)
                yield response

    async def get_text(self, url: str, timeout_s: float = CONNECT_S) -> str:
        """Return the text a server has at an address."""
        limits = self._aiohttp.ClientTimeout(total=timeout_s)
        with self._named():
            async with self._session.get(url, timeout=limits, allow_redirects=False, **self._way(url)) as response:
                await _require_ok(response)
                return (await _bounded(response)).decode("utf-8", "replace")

    def _way(self, url: str) -> dict[str, Any]:
        """Return how to reach an address: through the proxy of the environment, where it names one."""
        if url not in self._proxies:
            self._proxies[url] = proxy_for(url, os.environ)
        proxy = self._proxies[url]
        if proxy is None:
            return {"headers": {}}
        shown_to = "proxy_headers" if url.startswith("https:") else "headers"  # a tunnel is opened before the request
        return {"headers": {}, "proxy": f"http://{proxy.authority}", shown_to: proxy.headers}

    def _named(self) -> _Named:
        return _Named(self._aiohttp, self._secret)


class _Named:
    """Turns the client library's errors into ours, and takes the key out of what a server says in them."""

    def __init__(self, aiohttp: Any, secret: Secret) -> None:
        self._aiohttp = aiohttp
        self._secret = secret

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        aiohttp = self._aiohttp
        if isinstance(error, ExchangeError):
            said = self._secret.hide(str(error))[:SHOWN_ERROR_CHARACTERS]  # cut last: half a key would stay in sight
            raise ExchangeError(error.kind, said, error.status, error.retry_after_s) from None
        if isinstance(error, aiohttp.ConnectionTimeoutError):  # a node that is off answers nothing, not even a refusal
            raise ExchangeError("unreachable", "cannot connect: no answer in time") from None
        if isinstance(error, asyncio.TimeoutError):
            raise ExchangeError("timeout", "no whole answer in time") from None
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            said = f"cannot connect to the proxy {error.host}:{error.port}: {error.strerror or error}"
            raise ExchangeError("unreachable", said) from None
        if isinstance(error, aiohttp.ClientHttpProxyError):
            kind: Kind = "status" if error.status < 500 else "unreachable"
            raise ExchangeError(kind, f"the proxy says {error.status} {error.message}", error.status) from None
        if isinstance(error, aiohttp.ClientConnectorError):
            raise ExchangeError("unreachable", f"cannot connect: {error.strerror or error}") from None
        if isinstance(error, aiohttp.InvalidURL):
            raise ExchangeError("refused", "is no address") from None
        if isinstance(error, aiohttp.ClientError | ConnectionError):
            said = self._secret.hide(f"connection broken: {type(error).__name__} {error}")
            raise ExchangeError("reset", said[:SHOWN_ERROR_CHARACTERS]) from None


async def _require_ok(response: Any) -> None:
    if response.status == 200:
        return
    text = (await response.content.read(READ_ERROR_BYTES)).decode("utf-8", "replace")
    wait_s = retry_after_s(response.headers.get("Retry-After"), time.time())
    said = _message(text) or str(response.reason)
    if 300 <= response.status < 400:
        said = f"redirected to {response.headers.get('Location', 'nowhere')[:200]}: give the address it leads to"
    raise ExchangeError("status", said, response.status, wait_s)


def _message(text: str) -> str:
    """Return what an error body says: OpenAI's shape, older vLLM's, FastAPI's, or the text itself."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    if not isinstance(found, dict):
        return text.strip()
    error = found.get("error")
    said = error.get("message") if isinstance(error, dict) else error or found.get("message") or found.get("detail")
    return str(said) if said else text.strip()


async def _bounded(response: Any) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > MOST_BODY_BYTES:
            raise ExchangeError("refused", f"an answer exceeds {MOST_BODY_BYTES} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body as it is sent; half a surrogate pair, which no server could read, becomes a question mark."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


async def read_json(response: Any) -> dict[str, Any]:
    """Return a JSON body; raises ExchangeError where it is none."""
    try:
        found = json.loads(await _bounded(response))
    except (ValueError, RecursionError) as error:
        raise ExchangeError("malformed", f"the answer is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ExchangeError("malformed", "the answer is no JSON object")
    return found
