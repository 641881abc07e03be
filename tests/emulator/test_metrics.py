"""What the server counts: it can be read by Prometheus' rules, adds up, and has the names of its version."""

from __future__ import annotations

import re
import socket
from collections import defaultdict
from contextlib import ExitStack

import pytest

from emulated import completion, emulated, serving, small_fleet
from sizewell.catalog.engine_metrics import read_engine_metrics
from sizewell.emulator.metrics import Metrics
from sizewell.specs.engine_metrics import metrics_in

LINE = re.compile(r'^([a-zA-Z_:][\w:]*)\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*)\} (-?[\d.e+-]+|[+-]Inf|NaN)$')


def read(text: str) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Return the types and values of a text; fails where it is none of Prometheus' text format."""
    types: dict[str, str] = {}
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types or types[name] == kind
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = LINE.match(line)
            assert match, line
            family = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert family in types or match[1] in types, line
            assert match[2] not in values[match[1]]
            values[match[1]][match[2]] = float(match[3])
    return types, values


def test_counters_add_up_to_what_was_sent() -> None:
    with serving(emulated(small_fleet(replicas=2), speed=200.0)) as served:
        served.wait()
        usages = [served.chat(max_tokens=5 + each, ignore_eos=True).document["usage"] for each in range(20)]
        types, values = read(served.ask("/metrics").body.decode())
    total = {name: sum(each.values()) for name, each in values.items()}
    prompt, output = (sum(usage[f"{word}_tokens"] for usage in usages) for word in ("prompt", "completion"))
    assert total["vllm:prompt_tokens_total"] == total["vllm:request_prompt_tokens_sum"] == prompt
    assert total["vllm:generation_tokens_total"] == total["vllm:request_generation_tokens_sum"] == output
    assert total["vllm:request_success_total"] == total["vllm:e2e_request_latency_seconds_count"] == 20
    assert total["vllm:time_to_first_token_seconds_count"] == 20
    assert total["vllm:inter_token_latency_seconds_count"] == output - 20
    assert total["vllm:inter_token_latency_seconds_sum"] == pytest.approx(total["vllm:request_decode_time_seconds_sum"])
    parts = ("queue", "prefill", "decode")
    assert sum(total[f"vllm:request_{part}_time_seconds_sum"] for part in parts) == pytest.approx(
        total["vllm:e2e_request_latency_seconds_sum"]
    )
    assert len(values["vllm:num_requests_running"]) == 2
    for name in (name for name, kind in types.items() if kind == "histogram"):
        for labels, count in values[f"{name}_count"].items():
            buckets = [value for key, value in values[f"{name}_bucket"].items() if key.startswith(labels)]
            assert buckets == sorted(buckets) and buckets[-1] == count


def test_a_name_with_quotes_is_escaped() -> None:
    metrics = Metrics(metrics_in(read_engine_metrics("vllm"), (0, 33)), 'a "quoted"\\\nname', 1, {})
    read(metrics.text())


@pytest.mark.parametrize(
    ("engine", "version", "there", "gone"),
    [
        ("vllm", "0.6.6", {"gpu_prefix_cache_hit_rate", "gpu_cache_usage_perc"}, {"gpu_prefix_cache_hits_total"}),
        ("vllm", "0.8.5", {"gpu_cache_usage_perc", "time_per_output_token_seconds"}, {"kv_cache_usage_perc"}),
        ("vllm", "0.10.2", {"gpu_cache_usage_perc", "kv_cache_usage_perc", "inter_token_latency_seconds"}, set()),
        ("vllm", "0.12", {"kv_cache_usage_perc"}, {"gpu_cache_usage_perc", "time_per_output_token_seconds"}),
        ("vllm", "0.33", {"num_requests_waiting_by_reason", "request_num_preemptions"}, {"num_requests_swapped"}),
        ("sglang", "0.5.23", {"token_usage", "num_queue_reqs", "inter_token_latency_seconds"}, {"kv_cache_usage_perc"}),
    ],
)
def test_names_are_those_of_the_version(engine: str, version: str, there: set[str], gone: set[str]) -> None:
    release = tuple(int(part) for part in version.split("."))
    names = {metric.name.partition(":")[2] for metric in metrics_in(read_engine_metrics(engine), release)}
    assert there <= names
    assert not gone & names


def test_who_waits_and_what_is_cached_is_seen() -> None:
    with serving(emulated(small_fleet(max_num_seqs=1))) as served:
        served.wait()
        asked = completion(prompt=[5] * 1600, max_tokens=2000, ignore_eos=True)
        with ExitStack() as clients:
            for _ in range(3):
                client = clients.enter_context(socket.create_connection((served.host, served.port)))
                client.sendall(asked)
            assert served.settles("vllm:num_requests_waiting", 2)
            assert served.settles("vllm:num_requests_running", 1)
            (used,) = served.figures("vllm:kv_cache_usage_perc").values()
            assert used * 4096 == pytest.approx(100, abs=15)
        assert served.settles("vllm:num_requests_waiting", 0)
        assert 'finished_reason="abort"} 3' in served.ask("/metrics").body.decode()
