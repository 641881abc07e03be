"""Tokens come when the simulation says: the same requests, sent at the same times, take as long."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest

from emulated import completion, emulated, serving, small_fleet
from sizewell.emulator.deployment import Emulation
from sizewell.simulator.live import Asked
from sizewell.simulator.simulate import Options, simulate
from sizewell.traffic.requests import Requests
from surfaces import flat_surface

GAPS_S = np.random.default_rng(3).exponential(0.03, 40)
PROMPTS = np.random.default_rng(4).integers(10, 800, 40)
OUTPUTS = np.random.default_rng(5).integers(5, 30, 40)


async def _stream(port: int, row: int, at_s: float, begun_s: float) -> tuple[float, float, float, int]:
    """Send one request at a time and return when it went, its first and its last token, and its tokens."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(begun_s + at_s - loop.time())
    asked = {"prompt": [row + 1] * int(PROMPTS[row]), "max_tokens": int(OUTPUTS[row]), "ignore_eos": True}
    sent = loop.time()
    writer.write(completion(**asked, stream=True))
    await reader.readuntil(b"\r\n\r\n")
    times, text = [], ""
    while True:
        line = await reader.readline()
        if line.startswith(b"data: [DONE]"):
            writer.close()
            return sent - begun_s, times[0], times[-1], len(text) // 4
        if line.startswith(b"data: "):
            times.append(loop.time() - begun_s)
            text += json.loads(line[6:])["choices"][0]["text"]


async def _streams(port: int, arrivals_s: np.ndarray) -> list[tuple[float, float, float, int]]:
    begun_s = asyncio.get_running_loop().time() + 0.2
    jobs = (_stream(port, row, float(at), begun_s) for row, at in enumerate(arrivals_s))
    return await asyncio.gather(*jobs)


def _slow(speed: float, replicas: int) -> Emulation:
    """Return a deployment whose steps take 40 ms on the wall, whatever the speed."""
    fleet = small_fleet(replicas=replicas, surface=flat_surface(0.04 * speed, 0.0001 * speed), request_s=0.005 * speed)
    return replace(emulated(replace(fleet, router="least-requests"), speed=speed), compiled=True)


@pytest.mark.parametrize(("speed", "replicas"), [(1.0, 1), (10.0, 2)])
def test_an_emulated_run_takes_as_long_as_the_simulated_one(speed: float, replicas: int) -> None:
    emulation = _slow(speed, replicas)
    came_s: list[tuple[float, int, int]] = []
    with serving(emulation) as served:
        live = served.wait().server.service.live  # type: ignore[union-attr]
        offer = live.offer

        def noted(asked: Asked, now_s: float) -> int | None:
            came_s.append((now_s, asked.input_tokens, asked.answer_tokens))
            return offer(asked, now_s)

        live.offer = noted  # type: ignore[method-assign]
        seen = np.array(asyncio.run(_streams(served.port, np.cumsum(GAPS_S))))
        ttft_s, decode_s = (
            sum(served.figures(f"vllm:{name}_seconds_sum").values())
            for name in ("time_to_first_token", "request_decode_time")
        )
    arrivals_s, prompts, outputs = np.array(came_s).T
    run = simulate(emulation.fleet, Requests.of(arrivals_s, prompts, outputs), Options(compiled=False))
    assert seen[:, 3].tolist() == OUTPUTS.tolist()
    # Exact in emulated time, however busy this machine is; on the wall other processes can only make it longer.
    assert ttft_s == pytest.approx(float((run.first_token_s - run.scheduled_s).sum()), rel=0.01)
    assert decode_s == pytest.approx(float((run.last_token_s - run.first_token_s).sum()), rel=1e-6)
    assert (seen[:, 2] - seen[:, 0]).sum() * speed >= 0.99 * float((run.last_token_s - run.scheduled_s).sum())


def test_no_token_comes_before_its_time() -> None:
    late: list[float] = []
    with serving(_slow(10.0, 1)) as served:
        served.wait()
        assert served.server.service is not None
        served.server.service.late = late.extend
        asyncio.run(_streams(served.port, np.cumsum(GAPS_S[:10])))
    assert len(late) >= 50
    assert min(late) >= 0.0
