"""How long the simulator takes, and the fastest replaying peer beside it: each case in a process of its own.

    python bench/simulator.py                     # all cases, one after the other
    python bench/simulator.py 100k                # one of them
    python bench/simulator.py --peer PYTHON 100k  # with the peer, from a Python that has ai-dynamo 1.4.2
Start-up and cost surface are included. Llama-3.1-8B on one H100 (eight for a fleet), vLLM 0.33, Poisson arrivals,
input 500-1,500, output 100-500 tokens. The peer plays the very same requests with its own polynomial of step times,
which knows no model and no GPU; where it is not run its published figures stand, marked *.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sizewell.traffic.requests import Requests

CAPACITY_PER_S = 17.0
CASES = {
    "compile": (1, 12.0, "one"),
    "compile pools": (1, 12.0, "pools"),
    "10k": (10_000, 12.0, "one"),
    "100k": (100_000, 12.0, "one"),
    "100k overload": (100_000, 2 * CAPACITY_PER_S, "one"),
    "100k eight replicas": (100_000, 96.0, "eight"),
    "100k pools": (100_000, 12.0, "pools"),
    "1M": (1_000_000, 12.0, "one"),
}
"""Requests, rate per second, and what serves them; `compile` cases start with nothing in the store."""

BARS_S = {
    "compile": 5.0, "compile pools": 5.0, "100k": 2.0, "100k overload": 4.0, "100k eight replicas": 4.0,
    "100k pools": 4.0, "1M": 20.0,
}  # fmt: skip
PUBLISHED = {
    "10k": (1.4, 138.0), "100k": (7.1, 657.0), "100k overload": (105.0, 0.0), "100k eight replicas": (10.1, 679.0),
    "100k pools": (21.5, 720.0), "1M": (62.9, 4035.0),
}  # fmt: skip
"""The peer's user CPU in s and peak memory in MiB, two cores, November 2026."""

PEER_SERVES = {
    "one": ("--num-workers", "1"), "eight": ("--num-workers", "8"),
    "pools": ("--num-prefill-workers", "1", "--num-decode-workers", "1"),
}  # fmt: skip


def offered(count: int, rate_per_s: float) -> Requests:
    """Return the requests of a case, the same for everybody."""
    import numpy as np

    from sizewell.traffic.requests import Requests

    draw = np.random.default_rng(1)
    arrival = np.cumsum(draw.exponential(1 / rate_per_s, count))
    return Requests.of(arrival, draw.integers(500, 1501, count), draw.integers(100, 501, count))


def played(count: int, rate_per_s: float, kind: str) -> str:
    """Play a case in this process; return a digest of every time it gave."""
    from sizewell.catalog.calibrations import read_efficiencies
    from sizewell.catalog.hardware import list_gpus, nodes_for
    from sizewell.catalog.machine_code import CodeFolder
    from sizewell.catalog.models import read_model
    from sizewell.costs.machines import Machines, Reached
    from sizewell.costs.step_policy import StepPolicy
    from sizewell.costs.tabulate import make_surface
    from sizewell.simulator.facts import Disaggregated, Fleet, Network, ReplicaFacts
    from sizewell.simulator.simulate import Options, simulate
    from sizewell.specs.deployment import Formats, Parallelism
    from sizewell.specs.hardware import ClusterSpec

    gpu = next(gpu for gpu in list_gpus() if gpu.key == "h100-sxm-80gb")
    cluster = ClusterSpec(gpu=gpu, node=nodes_for(gpu)[0], gpus_per_node=8, nodes=2)
    reached = Reached.of(Machines.of([cluster]), read_efficiencies(), "vllm")
    model, policy = read_model("meta-llama/Llama-3.1-8B-Instruct"), StepPolicy(chunk_tokens=8192)
    surface = make_surface(model, Formats(), Parallelism(), policy, reached)
    replica = ReplicaFacts(surface=surface, blocks=27_000, max_num_seqs=1024, max_model_len_tokens=8192)
    network = Network(latency_s=1e-4, send_block_s=42e-6, receive_block_s=42e-6)
    served = {
        "one": replica,
        "eight": Fleet(replica=replica, replicas=8, router="least-requests"),
        "pools": Disaggregated(prefill=Fleet(replica=replica), decode=Fleet(replica=replica), network=network),
    }[kind]
    run = simulate(served, offered(count, rate_per_s), Options(store=CodeFolder(Path(os.environ["SIZEWELL_CODE"]))))
    digest = sha256()
    for column in (run.first_token_s, run.last_token_s, run.cached_tokens, run.preemptions):
        digest.update(column.tobytes())
    return digest.hexdigest()[:12]


def used(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Return user CPU in s, peak memory in MiB and the first word of a new process."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.DEVNULL)
        _, status, spent = os.wait4(process.pid, 0)
        out.seek(0)
        words = out.read().decode(errors="replace").split()
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return spent.ru_utime, spent.ru_maxrss / 1024, words[0] if words else ""


def ours(name: str, folder: str) -> tuple[float, float, str]:
    """Run a case in a new process on one core."""
    one_core = {**os.environ, "SIZEWELL_CODE": folder, "OPENBLAS_NUM_THREADS": "1"}
    return used([sys.executable, __file__, "--here", name], one_core)


def peers(name: str, python: str, folder: str) -> tuple[float, float]:
    """Run the peer on the same requests, as a trace of 512-token blocks that nobody shares."""
    count, rate_per_s, kind = CASES[name]
    requests, first = offered(count, rate_per_s), 0
    trace = Path(folder) / "trace.jsonl"
    with trace.open("w") as file:
        for at, into, out in zip(requests.arrival_s, requests.input_tokens, requests.output_tokens, strict=True):
            blocks = list(range(first, first - (-int(into) // 512)))
            first += len(blocks)
            row = {"timestamp": at * 1e3, "input_length": int(into), "output_length": int(out), "hash_ids": blocks}
            file.write(json.dumps(row) + "\n")
    words = [python, "-m", "dynamo.replay", str(trace), "--trace-block-size", "512", *PEER_SERVES[kind]]
    seconds, mib, _ = used(
        [*words, "--report-json", str(Path(folder) / "report.json")], {**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    return seconds, mib


def line(name: str, folder: str, python: str) -> None:
    """Print what a case took beside its bar and the peer."""
    seconds, mib, digest = ours(name, folder)
    bar = f"{BARS_S[name]:5.1f} s" if name in BARS_S else ""
    told = f"{name:22}{seconds:7.2f} s{mib:7.0f} MiB {bar:>8}"
    if name in PUBLISHED:
        peer_s, peer_mib = peers(name, python, folder) if python else PUBLISHED[name]
        told += f"{peer_s:9.2f} s{'' if python else '*':1}{peer_mib:7.0f} MiB{peer_s / seconds:7.1f} x"
    print(f"{told:76}  {digest}", flush=True)


def main() -> None:
    """Print one line for each case asked for."""
    if sys.argv[1:2] == ["--here"]:
        print(played(*CASES[sys.argv[2]]))
        return
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("cases", nargs="*", choices=[*CASES, []], default=[])
    words.add_argument("--peer", default="", metavar="PYTHON")
    asked = words.parse_args()
    print(
        f"{'user CPU, peak memory':22}{'sizewell':>9}{'':>11} {'bar':>8}{'peer':>11}{'':>12}{'ratio':>8}   digest of all times"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in dict.fromkeys(["compile", "compile pools", *(asked.cases or CASES)]):
            line(name, folder, asked.peer)


if __name__ == "__main__":
    main()
