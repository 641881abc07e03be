"""Replay a measured trace and compare: `python bench/replay.py [trace.jsonl] [--gpu KEY]`.

The trace holds 300 requests of a real vLLM 0.19 serving Llama-3.1-8B in bf16 on an RTX PRO 6000
(max_num_batched_tokens 2048): arrival, first and last token of each. Its table of contents says max_num_seqs 256, but
the trace never runs more than 128 at once while others wait, with cache to spare: 128 is what was set. The same requests are sent to a simulated
replica; means and percentiles stand side by side. Nothing is fitted to the trace.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from accuracy import RESULTS, keep

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.rank_memory import rank_memory
from sizewell.costs.step_policy import StepPolicy
from sizewell.costs.tabulate import make_surface
from sizewell.simulator.facts import ReplicaFacts, replica_facts
from sizewell.simulator.simulate import simulate
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism
from sizewell.traffic.requests import Requests

TRACE = Path(__file__).parents[1].parent / "shared/data/traces/vllm-0.19-llama-3.1-8b-rtx-pro-6000.jsonl"
MODEL = "meta-llama/Llama-3.1-8B"
SETTINGS = EngineSettings(
    max_num_seqs=128, max_num_batched_tokens=2048, max_model_len_tokens=131_072, memory_fraction=0.9,
    prefix_caching=False,
)  # fmt: skip
BARS = {"TPOT": 0.05, "E2E": 0.05, "TTFT": 0.15}


def replica(gpu: str) -> tuple[ReplicaFacts, float]:
    """Return the replica the trace was measured on, and the seconds a request spends outside the engine."""
    model, engine, machine = read_model(MODEL), read_engine("vllm", "0.19.0"), cluster(gpu, gpus_per_node=1, nodes=1)
    engine = engine.on(machine.gpu.vendor, machine.gpu.compute_capability)
    cut, formats = Parallelism(), Formats()
    memory = rank_memory(model, formats, cut, SETTINGS, engine)
    reached = Reached.of(Machines.of([machine]), read_efficiencies(), also=engine.tags)
    surface = make_surface(model, formats, cut, StepPolicy.of(SETTINGS, engine), reached)
    cache = (memory.layout, int(memory.blocks(machine.gpu.total_bytes)))
    return replica_facts(surface, cache, engine, SETTINGS, cut), float(reached.factors["request_s"][0])


def main(arguments: argparse.Namespace) -> None:
    """Read, replay, print."""
    rows = [json.loads(line) for line in arguments.trace.read_text().splitlines() if line]
    rows.sort(key=lambda row: row["arrival_time"])
    # The engine's clock starts elsewhere than the client's: a request is queued when it has arrived.
    start = rows[0]["queued_ts"] - rows[0]["arrival_time"]
    column = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "request_id"}
    arrived = column["arrival_time"] + start
    facts, request_s = replica(arguments.gpu)
    requests = Requests.of(arrived - arrived[0], column["input_toks"], column["output_toks"])
    run = simulate(facts, requests)
    gaps = np.maximum(column["output_toks"] - 1, 1)
    measured = {
        "TTFT": column["first_token_ts"] - arrived,
        "TPOT": (column["last_token_ts"] - column["first_token_ts"]) / gaps,
        "E2E": column["last_token_ts"] - arrived,
    }
    simulated = {
        "TTFT": run.first_token_s - run.scheduled_s + request_s,
        "TPOT": (run.last_token_s - run.first_token_s) / gaps,
        "E2E": run.last_token_s - run.scheduled_s + request_s,
    }
    print(f"{len(rows)} requests, {facts.blocks} blocks on {arguments.gpu}")
    print(
        f"{'':6}{'measured':>12}{'simulated':>12}{'error':>9}{'bar':>6}{'p50':>9}{'p99':>9}{'each request, median':>22}"
    )
    kept = {}
    for name, bar in BARS.items():
        real, played = measured[name], simulated[name]
        error = played.mean() / real.mean() - 1
        tails = "".join(f"{np.percentile(played, p) / np.percentile(real, p) - 1:+9.1%}" for p in (50, 99))
        each = np.median(np.abs(played / real - 1))
        kept[name] = {"measured_s": round(float(real.mean()), 4), "error": round(float(error), 4), "bar": bar}
        print(f"{name:6}{real.mean():12.4f}{played.mean():12.4f}{error:+9.1%}{bar:6.0%}{tails}{each:22.1%}")
    if arguments.write:
        keep(RESULTS, replay=kept)


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trace", type=Path, nargs="?", default=TRACE)
    parser.add_argument("--write", action="store_true", help="keep the figures for docs/accuracy.md")
    parser.add_argument("--gpu", default="rtx-pro-6000-server-96gb")
    return parser.parse_args()


if __name__ == "__main__":
    main(parsed())
