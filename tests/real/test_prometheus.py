"""A real Prometheus scrapes the emulator, and its own checker finds nothing wrong with the text.

Both programs come with Debian's package `prometheus`; PROMETHEUS names a folder that holds them where it is not
installed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from emulated import Served, emulated, serving, small_fleet

pytestmark = pytest.mark.real
PLACES = os.pathsep.join((os.environ.get("PROMETHEUS", ""), os.environ["PATH"]))


def program(name: str) -> str:
    """Return where one of the programs is."""
    found = shutil.which(name, path=PLACES)
    if found is None:
        pytest.skip(f"{name} is not installed: tests/real/install_system_parts.sh")
    return found


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Two replicas that have served and are serving requests."""
    with serving(emulated(small_fleet(replicas=2, max_num_seqs=4), speed=0.7)) as found:
        found.wait()
        with ThreadPoolExecutor(16) as clients:
            jobs = [clients.submit(found.chat, max_tokens=600, ignore_eos=True) for _ in range(16)]
            yield found
            assert {job.result().status for job in jobs} == {200}


def test_promtool_has_nothing_to_complain_of(served: Served) -> None:
    text = served.ask("/metrics").body
    checked = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    said = (checked.stdout + checked.stderr).decode()
    # The engines' own names break Prometheus' advice on colons and units; that they parse is what counts.
    advice = ("should not contain ':'", "should not contain abbreviated units", "should have ", "should not ")
    assert checked.returncode in (0, 3), said
    assert [line for line in said.splitlines() if not any(word in line for word in advice)] == []


def test_prometheus_reads_what_the_engines_do(served: Served, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms}\n"
        f"scrape_configs: [{{job_name: emulator, static_configs: [{{targets: ['127.0.0.1:{served.port}']}}]}}]\n"
    )
    command = [
        program("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address={address}",
    ]  # fmt: skip
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert _until(address, "up", lambda found: found == [1.0])
        assert _until(address, "max_over_time(vllm:num_requests_running[1m])", lambda found: max(found, default=0) == 4)
        assert _until(address, "max_over_time(vllm:num_requests_waiting[1m])", lambda found: max(found, default=0) == 4)
        assert _until(address, "sum(vllm:request_success_total)", lambda found: found == [16.0])
        quantile = "histogram_quantile(0.5, sum by (le) (vllm:inter_token_latency_seconds_bucket))"
        (median_s,) = _asked(address, quantile)
        assert 0.01 <= median_s <= 0.025
    finally:
        started.terminate()
        started.wait(timeout=30)


def _asked(address: str, query: str) -> list[float]:
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return [float(each["value"][1]) for each in json.load(answer)["data"]["result"]]


def _until(address: str, query: str, good: Any) -> bool:
    until = time.monotonic() + 40
    while time.monotonic() < until:
        try:
            if good(_asked(address, query)):
                return True
        except OSError:
            pass  # not up yet
        time.sleep(0.2)
    return False
