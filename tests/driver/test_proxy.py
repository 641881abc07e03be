"""A server that only the environment's proxy reaches, and a proxy that does not let us."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from driver.double import Double
from forwarding import forwarding

FAR = "http://model.example:8000"


def test_a_batch_goes_through_the_proxy_of_the_environment(
    say: Any, here: Path, double: tuple[str, Double], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "p.txt").write_text("one\ntwo\n")
    with forwarding(double[0]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:password17@"))
        said = say("batch", "p.txt", "--url", FAR)
    assert said.code == 0, said.err
    answers = [json.loads(line) for line in (here / "p.answers.jsonl").read_text().splitlines()]
    assert sorted(one["answer"] for one in answers) == ["answer to one", "answer to two"]
    assert [path for path, _ in proxy.asked].count(f"{FAR}/v1/chat/completions") == 2
    assert {shown for _, shown in proxy.asked} == {"Basic bWU6cGFzc3dvcmQxNw=="}
    assert "password17" not in said.out + said.err


def test_a_server_near_by_is_met_directly(
    say: Any, here: Path, double: tuple[str, Double], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "p.txt").write_text("one\n")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert say("batch", "p.txt", "--url", double[0]).code == 0


@pytest.mark.parametrize("status", [407, 502])
@pytest.mark.usefixtures("impatient")
def test_a_proxy_that_opens_no_tunnel_is_named(
    say: Any, here: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    (here / "p.txt").write_text("one\n")
    with forwarding("http://127.0.0.1:1", tunnel_status=status) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:password17@"))
        said = say("batch", "p.txt", "--url", "https://model.example")
    assert (said.code, f"the proxy says {status}" in said.err) == (5, True), said.err
    assert {asked for asked, _ in proxy.asked} == {"CONNECT model.example:443"}
    assert "password17" not in said.out + said.err


def test_no_proxy_there_is_named(say: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "p.txt").write_text("one\n")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    said = say("batch", "p.txt", "--url", FAR, "--retries", "0")
    assert (said.code, "cannot connect to the proxy 127.0.0.1:1" in said.err) == (5, True), said.err
