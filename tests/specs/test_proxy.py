"""Which proxy leads where: the rules of curl and httpx, and none for what is near."""

from __future__ import annotations

import pytest

from sizewell.specs.errors import BadInputError
from sizewell.specs.proxy import Proxy, proxy_for

OUT = {"HTTPS_PROXY": "http://proxy.corp:3128", "http_proxy": "proxy.corp"}


@pytest.mark.parametrize(
    ("url", "environment", "authority"),
    [
        ("https://api.example.com", OUT, "proxy.corp:3128"),
        ("http://api.example.com:8000", OUT, "proxy.corp:80"),
        ("http://8.8.1.2:8000", OUT, "proxy.corp:80"),
        ("https://api.example.com", {"ALL_PROXY": "http://[::1]:8"}, "[::1]:8"),
        ("https://api.example.com", {"https_proxy": "http://small:1", **OUT}, "small:1"),
        ("https://api.example.com", {**OUT, "no_proxy": "example.org, api.example.com:8443,,x.com"}, "proxy.corp:3128"),
        ("https://notexample.com", {**OUT, "no_proxy": "example.com"}, "proxy.corp:3128"),
    ],
)  # fmt: skip
def test_the_environment_names_a_proxy(url: str, environment: dict[str, str], authority: str) -> None:
    found = proxy_for(url, environment)
    assert found is not None and found.authority == authority


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        ("http://127.0.0.1:8000", ""),
        ("http://[::1]:8000", ""),
        ("http://localhost:8000", ""),
        ("http://node17:8000", ""),
        ("http://10.1.2.3:8000", ""),
        ("http://[fd00::2]:8000", ""),
        ("https://api.example.com", "*"),
        ("https://api.example.com", "other.com, EXAMPLE.com"),
        ("https://api.example.com", ".example.com"),
        ("https://api.example.com", "api.example.com:443"),
        ("https://api.example.com:8443", "api.example.com:8443"),
        ("http://8.8.1.2:8000", "8.8.0.0/16"),
        ("http://8.8.1.2:8000", "8.8.1.2"),
        ("http://8.8.1.2:8000", "8.8.1.2:8000"),
        ("http://[2606:4700::2]:8000", "2606:4700::/32"),
    ],
)
def test_no_proxy_leads_to_what_is_near_or_listed(url: str, no_proxy: str) -> None:
    assert proxy_for(url, {**OUT, "NO_PROXY": no_proxy}) is None


def test_without_variables_there_is_none() -> None:
    assert proxy_for("https://api.example.com", {"https_proxy": ""}) is None


def test_a_password_is_carried_and_not_shown() -> None:
    found = proxy_for("https://a.b", {"https_proxy": "http://me:p%40ss@proxy.corp:3128"})
    assert found == Proxy(host="proxy.corp", port=3128, user="me", password="p@ss")
    assert found.headers == {"Proxy-Authorization": "Basic bWU6cEBzcw=="}
    assert "ss" not in repr(found)


@pytest.mark.parametrize("said", ["socks5://me:secret@proxy.corp:1080", "http://me:secret@proxy.corp:port", "http://"])
def test_a_proxy_nobody_speaks_is_refused_without_its_password(said: str) -> None:
    with pytest.raises(BadInputError, match="http://HOST:PORT") as refused:
        proxy_for("https://api.example.com", {"https_proxy": said})
    assert "secret" not in str(refused.value)
