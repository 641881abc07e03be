"""How long the simulator takes: each case in a process of its own, start-up and cost surface included.

    python bench/simulator.py                # all cases, one after the other
    python bench/simulator.py 100k           # one of them
Llama-3.1-8B on one H100 (eight for a fleet), vLLM 0.33, Poisson arrivals, input 500-1,500, output 100-500 tokens.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

CAPACITY_PER_S = 17.0
CASES = {
    "compile": (1, 12.0, "one"),
    "compile pools": (1, 12.0, "pools"),
    "100k": (100_000, 12.0, "one"),
    "100k overload": (100_000, 2 * CAPACITY_PER_S, "one"),
    "100k eight replicas": (100_000, 96.0, "eight"),
    "100k pools": (100_000, 12.0, "pools"),
    "1M": (1_000_000, 12.0, "one"),
}
"""Requests, rate per second, and what serves them; `compile` cases start with nothing in the store."""


def played(count: int, rate_per_s: float, kind: str) -> str:
    """Play a case in this process; return a digest of every time it gave."""
    import numpy as np

    from sizewell.catalog.calibrations import read_efficiencies
    from sizewell.catalog.hardware import list_gpus, nodes_for
    from sizewell.catalog.machine_code import CodeFolder
    from sizewell.catalog.models import read_model
    from sizewell.costs.machines import Machines, Reached
    from sizewell.costs.step_policy import StepPolicy
    from sizewell.costs.tabulate import make_surface
    from sizewell.simulator.facts import Disaggregated, Fleet, ReplicaFacts
    from sizewell.simulator.simulate import Options, simulate
    from sizewell.specs.deployment import Formats, Parallelism
    from sizewell.specs.hardware import ClusterSpec
    from sizewell.traffic.requests import Requests

    gpu = next(gpu for gpu in list_gpus() if gpu.key == "h100-sxm-80gb")
    cluster = ClusterSpec(gpu=gpu, node=nodes_for(gpu)[0], gpus_per_node=8, nodes=2)
    reached = Reached.of(Machines.of([cluster]), read_efficiencies(), "vllm")
    model, policy = read_model("meta-llama/Llama-3.1-8B-Instruct"), StepPolicy(chunk_tokens=8192)
    surface = make_surface(model, Formats(), Parallelism(), policy, reached)
    replica = ReplicaFacts(surface=surface, blocks=27_000, max_num_seqs=1024, max_model_len_tokens=8192)
    served = {
        "one": replica,
        "eight": Fleet(replica=replica, replicas=8, router="least-requests"),
        "pools": Disaggregated(
            prefill=Fleet(replica=replica), decode=Fleet(replica=replica), transfer_s=1e-4, transfer_token_s=2.6e-6
        ),
    }[kind]
    draw = np.random.default_rng(1)
    arrival = np.cumsum(draw.exponential(1 / rate_per_s, count))
    requests = Requests.of(arrival, draw.integers(500, 1501, count), draw.integers(100, 501, count))
    run = simulate(served, requests, Options(store=CodeFolder(Path(os.environ["SIZEWELL_CODE"]))))
    digest = sha256()
    for column in (run.first_token_s, run.last_token_s, run.cached_tokens, run.preemptions):
        digest.update(column.tobytes())
    return digest.hexdigest()[:12]


def measured(name: str, folder: str) -> None:
    """Run a case in a new process and print what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    one_core = {**os.environ, "SIZEWELL_CODE": folder, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--here", name]
    found = subprocess.run(command, env=one_core, capture_output=True, text=True, check=True).stdout.split()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    print(f"{name:22} {spent:6.2f} s user CPU {float(found[1]):8.0f} MiB   times {found[0]}", flush=True)


def main() -> None:
    """Print one line for each case asked for."""
    if sys.argv[1:2] == ["--here"]:
        digest = played(*CASES[sys.argv[2]])
        print(digest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as folder:
        asked = sys.argv[1:] or list(CASES)
        for name in dict.fromkeys(["compile", "compile pools", *asked]):
            measured(name, folder)


if __name__ == "__main__":
    main()
