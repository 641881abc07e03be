"""What a CPU can show of a real vLLM is diagnosed right, from its /metrics alone: one start, five conditions."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import aiohttp
import pytest

sys.path.append(str(Path(__file__).parent))

import served_vllm
import vllm_sessions

from sizewell.advisor.advice import Adviser
from sizewell.advisor.diagnosis import Diagnosis, Known, diagnose
from sizewell.advisor.observation import ClientFacts
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engine_metrics import read_engine_metrics
from sizewell.observer.exposition import read_page
from sizewell.observer.metrics import observe

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not vllm_sessions.PYTHON.exists(), reason="vLLM is not installed: make .venv-vllm/.installed"),
]
BLOCKS, BLOCK_TOKENS, SEATS = 33, 128, 16
WARM_S, WINDOW_S, READINGS = 2.0, 5.0, 6
NUMBERS = count(1)
WORDS = (
    "--max-model-len", "2048", "--max-num-seqs", str(SEATS), "--block-size", str(BLOCK_TOKENS),
    "--num-gpu-blocks-override", str(BLOCKS), "--enforce-eager", "--served-model-name", "tiny", "--host", "127.0.0.1",
)  # fmt: skip


@dataclass(frozen=True)
class Traffic:
    """Requests of so many tokens, so many in flight; `shared` tokens are alike, behind something unique if stamped.

    A sender with a pause sends one after the other and does something else in between.
    """

    in_flight: int
    prompt: int
    output: int
    shared: int = 0
    stamped: bool = False
    pause_s: float = 0.0

    def body(self) -> dict[str, object]:
        """Return the next request."""
        number = next(NUMBERS)
        own = [10 + (number // 200**at + at) % 200 for at in range(self.prompt - self.shared)]
        alike = [7] * self.shared
        prompt = own + alike if self.stamped else alike + own
        return {"model": "tiny", "prompt": prompt, "max_tokens": self.output, "ignore_eos": True}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a cache of 4,096 tokens."""
    folder = tmp_path_factory.mktemp("diagnosed")
    model, port = served_vllm.make_model(folder / "tiny"), served_vllm.free_port()
    command = [str(vllm_sessions.PYTHON.parent / "vllm"), "serve", str(model), "--port", str(port), *WORDS]
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            command, env=served_vllm.site_environment(), stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        until = time.monotonic() + 240
        while not served_vllm.answers(f"http://127.0.0.1:{port}"):
            assert started.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-3000:]
            time.sleep(0.25)
        yield f"http://127.0.0.1:{port}"
    finally:
        started.terminate()
        started.wait(60)
        for pid, _ in served_vllm.processes(started.pid):
            os.kill(pid, 9)


async def _send(session: aiohttp.ClientSession, url: str, traffic: Traffic) -> None:
    while True:
        async with session.post(f"{url}/v1/completions", json=traffic.body()) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        await asyncio.sleep(traffic.pause_s)


async def _watched(url: str, traffic: Traffic) -> list[tuple[float, str]]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        senders = 1 if traffic.pause_s else traffic.in_flight
        sending = [asyncio.create_task(_send(session, url, traffic)) for _ in range(senders)]
        await asyncio.sleep(WARM_S)
        pages = []
        for number in range(READINGS):
            await asyncio.sleep(WINDOW_S / (READINGS - 1) if number else 0)
            async with session.get(f"{url}/metrics") as answer:
                pages.append((time.time(), await answer.text()))
        for task in sending:
            task.cancel()
        ended = await asyncio.gather(*sending, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
    await asyncio.sleep(1.0)  # requests given up leave the engine
    return pages


def diagnosed(url: str, traffic: Traffic, shared: float | None = None) -> Diagnosis:
    """Return what is said of the server under some traffic."""
    pages = [read_page(text, at) for at, text in asyncio.run(_watched(url, traffic))]
    seen = observe(pages, read_engine_metrics("vllm"), ClientFacts(asked_in_flight=traffic.in_flight))
    return diagnose(seen, Known(expected_cached_fraction=shared), Adviser(efficiencies=read_efficiencies()))


# A prompt of 390 tokens and its answer take four blocks of 128 to the end: eight fit, and none is preempted.
CONDITIONS = [
    ("KV capacity", Traffic(in_flight=16, prompt=390, output=120), None),
    ("preemption storm", Traffic(in_flight=16, prompt=16, output=600), None),
    ("queueing", Traffic(in_flight=64, prompt=16, output=48), None),
    ("client", Traffic(in_flight=16, prompt=64, output=16, pause_s=0.2), None),
    ("cold prefix cache", Traffic(in_flight=2, prompt=1024, shared=1000, stamped=True, output=4), 0.95),
]


@pytest.mark.parametrize(("label", "traffic", "shared"), CONDITIONS, ids=[label for label, _, _ in CONDITIONS])
def test_the_first_label_is_right(url: str, label: str, traffic: Traffic, shared: float | None) -> None:
    found = diagnosed(url, traffic, shared)
    assert found.label == label, f"{found.findings} {found.seen}"
    assert found.seen.missing == () and found.seen.kv_tokens == BLOCKS * BLOCK_TOKENS


def test_a_warm_cache_is_not_called_cold(url: str) -> None:
    found = diagnosed(url, Traffic(in_flight=2, prompt=1024, shared=1000, output=4), 0.95)
    assert found.label != "cold prefix cache"
    assert found.seen.cached_fraction is not None and found.seen.cached_fraction > 0.8
