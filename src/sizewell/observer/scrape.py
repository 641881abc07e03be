"""Reads /metrics of a server over a window, and what else it says of itself."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from sizewell.specs.errors import UnreachableError
from sizewell.specs.proxy import proxy_for

TIMEOUT_S = 10.0
MOST_BYTES = 64 * 2**20


def scrape(url: str, window_s: float, every_s: float, headers: Mapping[str, str]) -> Iterator[tuple[float, str]]:
    """Yield pages of /metrics with the Unix times they were read at: at the start, every `every_s`, and at the end.

    Between those a server may be away for a while, as one that is started anew. Raises UnreachableError where it does
    not answer the first time or the last.
    """
    yield _page(url, headers)
    until_s = time.monotonic() + window_s
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(every_s, left_s))
        try:
            page = _page(url, headers)
        except UnreachableError:
            if time.monotonic() >= until_s:
                raise
        else:
            yield page


def said(url: str, path: str, headers: Mapping[str, str]) -> Any:
    """Return a JSON answer of the server, None where it has none."""
    try:
        return json.loads(_get(f"{url}{path}", headers))
    except (UnreachableError, ValueError):
        return None


def _page(url: str, headers: Mapping[str, str]) -> tuple[float, str]:
    return time.time(), _get(f"{url}/metrics", headers).decode("utf-8", "replace")


def _get(url: str, headers: Mapping[str, str]) -> bytes:
    request, proxy = urllib.request.Request(url, headers=dict(headers)), proxy_for(url, os.environ)
    if proxy is not None:
        for name, value in proxy.headers.items():
            request.add_header(name, value)
        request.set_proxy(proxy.authority, "http")
    try:
        with _no_redirects().open(request, timeout=TIMEOUT_S) as answer:
            body: bytes = answer.read(MOST_BYTES)
            return body
    except urllib.error.HTTPError as error:
        raise UnreachableError(f"{url}: answers {error.code}: does this server publish metrics?") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise UnreachableError(f"{url}: does not answer: {why}") from None


class _Refused(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the key goes nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _no_redirects() -> urllib.request.OpenerDirector:
    # Without proxies of its own choice: which one leads to a server is said in one place.
    return urllib.request.build_opener(_Refused, urllib.request.ProxyHandler({}))
