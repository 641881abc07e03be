"""Failures come when and as often as asked for, and look like those of a real engine."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from emulated import BROKEN, completion, emulated, serving, small_fleet
from sizewell.emulator.deployment import Failures
from sizewell.emulator.failing import Failing
from sizewell.emulator.http import MOST_UNREAD_BYTES, Connection, Exchange, chunk
from sizewell.specs.errors import BadInputError
from surfaces import flat_surface


def test_nothing_is_served_until_it_is_loaded() -> None:
    begun = time.monotonic()
    with serving(emulated(speed=100.0, failures=Failures(load_s=0.6))) as served:
        assert served.ask("/health").status == 503
        assert served.chat(max_tokens=1).status == 503
        assert not any("Starting vLLM" in line for line in served.lines)
        served.wait()
        assert time.monotonic() - begun >= 0.6
        assert served.chat(max_tokens=1).status == 200
        assert any(line.startswith("GPU KV cache size: ") for line in served.lines)


def test_a_share_is_refused() -> None:
    failures = Failures(error_fraction=0.3, error_status=502, seed=1)
    with serving(emulated(speed=1000.0, failures=failures)) as served:
        served.wait()
        codes = [served.chat(max_tokens=1).status for _ in range(100)]
    assert set(codes) == {200, 502}
    assert 15 <= codes.count(502) <= 45


def test_shares_are_those_asked_for() -> None:
    failing = Failing(Failures(error_fraction=0.1, reset_fraction=0.2, stall_fraction=0.3))
    fates = [failing.fate(100) for _ in range(5000)]
    assert sum(fate.status is not None for fate in fates) / 5000 == pytest.approx(0.1, abs=0.03)
    assert sum(fate.resets for fate in fates) / 5000 == pytest.approx(0.2, abs=0.03)
    assert sum(fate.stall_s > 0 for fate in fates) / 5000 == pytest.approx(0.3, abs=0.03)
    assert all(0 <= fate.token < 100 for fate in fates if fate.resets)


def test_shares_of_more_than_all_are_refused() -> None:
    assert Failures(error_fraction=0.7, reset_fraction=0.2, stall_fraction=0.1)
    with pytest.raises(BadInputError, match="add to 120%"):
        Failures(error_fraction=0.6, reset_fraction=0.6)


def test_a_reset_stream_breaks_off_and_frees_its_sequence() -> None:
    with serving(emulated(speed=100.0, failures=Failures(reset_fraction=1.0))) as served:
        served.wait()
        for stream in (True, False):
            with pytest.raises(BROKEN):
                served.chat(max_tokens=200, stream=stream, ignore_eos=True)
        assert served.settles("vllm:num_requests_running", 0)
        assert served.settles("vllm:kv_cache_usage_perc", 0)


def test_connections_may_be_lost_at_the_first_token_and_at_the_last() -> None:
    """With one token these are the same, and it is the end of the sequence besides: its row is lent once only."""
    with serving(emulated(speed=100.0, failures=Failures(reset_fraction=1.0))) as served:
        served.wait()
        with ThreadPoolExecutor(16) as clients:
            lost = list(clients.map(lambda number: served.breaks_off(stream=number % 2 == 0), range(64)))
        assert all(lost)
        assert served.settles("vllm:num_requests_running", 0)
        assert sum(served.figures("vllm:request_success_total").values()) == 64
        free = served.server.service.live._free if served.server.service else []
        assert len(set(free)) == len(free)


def test_a_stalled_stream_goes_on_and_loses_nothing() -> None:
    failures = Failures(stall_fraction=1.0, stall_s=0.5)
    with serving(emulated(speed=100.0, failures=failures)) as served:
        served.wait()
        begun = time.monotonic()
        events = served.chat(max_tokens=50, ignore_eos=True, stream=True).events
        assert time.monotonic() - begun >= 0.5
        assert len("".join(event["choices"][0]["delta"].get("content", "") for event in events)) == 200
        assert served.chat(max_tokens=50, ignore_eos=True).document["usage"]["completion_tokens"] == 50


def test_a_stall_for_ever_ends_when_the_client_leaves() -> None:
    with serving(emulated(speed=100.0, failures=Failures(stall_fraction=1.0))) as served:
        served.wait()
        with socket.create_connection((served.host, served.port), timeout=0.5) as client:
            client.sendall(completion(max_tokens=50, ignore_eos=True, stream=True))
            with pytest.raises(TimeoutError):
                while client.recv(65_536):
                    pass
        assert served.settles("vllm:num_requests_running", 0)


def test_a_dead_engine_leaves_the_door_open() -> None:
    with serving(emulated(speed=100.0, failures=Failures(die_after_requests=3))) as served:
        served.wait()
        assert [served.chat(max_tokens=2).status for _ in range(5)] == [200, 200, 200, 500, 500]
        assert served.ask("/health").status == 503
        assert served.chat(max_tokens=2).document["error"]["type"] == "InternalServerError"
        assert served.ask("/v1/models").status == 200


def test_who_ended_with_the_last_request_is_answered_and_no_more() -> None:
    """Seven requests that came during one step share the next: they have their answers when the engine dies of one."""
    fleet = small_fleet(surface=flat_surface(0.5, 0.0))
    with serving(emulated(fleet, failures=Failures(die_after_requests=2))) as served, ExitStack() as stack:
        served.wait()
        clients = [stack.enter_context(socket.create_connection((served.host, served.port))) for _ in range(8)]
        for client in clients:
            client.settimeout(30)
            client.sendall(completion(max_tokens=1, ignore_eos=True, stream=True))
        answers = [_until(client, b"0\r\n\r\n") for client in clients]
        assert served.ask("/health").status == 503
        for client, answer in zip(clients, answers, strict=True):
            assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.recv(1)


def test_an_engine_that_dies_ends_a_stream_that_had_gone_silent_for_ever() -> None:
    failures = Failures(stall_fraction=1.0, die_after_s=1.0)
    with serving(emulated(speed=100.0, failures=failures)) as served:
        served.wait()
        answer = served.chat(max_tokens=50, ignore_eos=True, stream=True)
        assert answer.status == 500 or answer.events[-1]["error"]["code"] == 500


def _until(client: socket.socket, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        read += client.recv(65_536)
    return read


def test_a_dying_engine_breaks_off_what_it_does_and_the_server_ends() -> None:
    failures = Failures(die_after_s=1.0, dead_s=0.4)
    with serving(emulated(failures=failures)) as served:
        served.wait()
        answer = served.chat(max_tokens=3000, ignore_eos=True, stream=True)
        assert answer.events[-1]["error"]["code"] == 500
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                assert served.ask("/health").status == 503
            except (OSError, http.client.HTTPException):
                break
            time.sleep(0.05)
        else:
            pytest.fail("the server is still there")


def test_a_client_that_reads_nothing_is_dropped() -> None:
    """Whoever writes its answer is told, as if it had hung up: above, that ends its sequence."""
    written = asyncio.run(_written_to_a_client_that_reads_nothing(64 * MOST_UNREAD_BYTES))
    assert MOST_UNREAD_BYTES <= written < 32 * MOST_UNREAD_BYTES, "the system keeps a few MiB more"


async def _written_to_a_client_that_reads_nothing(most_bytes: int) -> int:
    piece, dropped, written = bytes(2**16), asyncio.Event(), 0
    asked: asyncio.Queue[Exchange] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(asked.put_nowait, 100, set()), "127.0.0.1", 0)
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            exchange = await asked.get()
            exchange.on_close = dropped.set
            exchange.start_stream()
            while not dropped.is_set() and written < most_bytes:
                exchange.write(chunk(piece))
                written += len(piece)
                await asyncio.sleep(0)
    return written
