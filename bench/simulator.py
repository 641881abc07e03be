"""Print what simulations cost on one core, and the fastest replaying peer on the same traces beside them.

    python bench/simulator.py [--million] [--overload-peer] [--peer PYTHON]

Each figure is a fresh process, start-up included: user CPU and peak memory as the kernel counts them. The traffic is
Poisson with lognormal lengths (prompts of 1,000 tokens on average, answers of 300), served by Llama-3.1-8B on an H100
with sizewell's own cost model. `--peer` names a Python that has `ai-dynamo` installed; without it the peer's published
figures (two cores, November 2026) stand in its place, marked *.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__)
MODEL, MACHINE = "llama-3.1-8b", "1xh100"


@dataclass(frozen=True)
class Case:
    """So many requests at so many per second; the bar and the peer's published figures in s of user CPU and MiB."""

    name: str
    requests: int
    rate_per_s: float
    bar_s: float
    peer_s: float
    peer_mib: float = 0.0


CASES = (
    Case("10,000 requests", 10_000, 10, 1.4, 1.4, 138),
    Case("100,000 requests", 100_000, 10, 2.0, 7.1, 657),
    Case("100,000 at twice the capacity", 100_000, 33, 4.0, 105),
    Case("100,000, all at once", 100_000, 1e6, 4.0, 191),
)
MILLION = Case("1,000,000 requests", 1_000_000, 10, 20.0, 62.9, 4035)


def play(requests: int, rate_per_s: float) -> None:
    """Simulate one case in this process and print what came out."""
    from sizewell.catalog.calibrations import read_efficiencies
    from sizewell.catalog.machine_code import CodeFolder
    from sizewell.cli import questions
    from sizewell.costs.ledger import ledger
    from sizewell.simulator.deployment import deployed_facts
    from sizewell.simulator.simulate import Options, simulate
    from sizewell.traffic.offer import offer
    from sizewell.traffic.score import score
    from sizewell.traffic.workload import Workload

    workload = Workload(input_tokens=1000, answer_tokens=300, rate_per_s=rate_per_s)
    deployment = questions.stated_on(MODEL, MACHINE, workload, least_context_tokens=16_384)
    facts = deployed_facts(deployment, ledger(deployment), read_efficiencies())
    run = simulate(facts, offer(_traffic(rate_per_s), requests), Options(store=CodeFolder.usual()))
    scored = score(run)
    print(json.dumps({"ok": scored.ok, "tpot_s": scored.tpot.mean_s, "ttft_p99_s": scored.ttft.p99_s}))


def _traffic(rate_per_s: float):  # type: ignore[no-untyped-def]
    from sizewell.traffic.arrivals import poisson
    from sizewell.traffic.classes import RequestClass
    from sizewell.traffic.lengths import Lognormal
    from sizewell.traffic.offer import Traffic

    lengths = RequestClass(
        text=Lognormal(mean_tokens=1000, sigma=0.555, most_tokens=12_000),
        answer=Lognormal(mean_tokens=300, sigma=0.632, most_tokens=4_000),
    )
    return Traffic(arrivals=poisson(rate_per_s), classes=(lengths,))


def measured(command: list[str]) -> tuple[float, float, str]:
    """Return user CPU in s, peak memory in MiB and the last line of a fresh process."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        out.seek(0)
        lines = out.read().decode(errors="replace").strip().splitlines()
    return used.ru_utime, used.ru_maxrss / 1024, lines[-1] if lines and status == 0 else f"failed: {lines[-1:]}"


def ours(case: Case) -> tuple[float, float, str]:
    """Measure sizewell on a case."""
    return measured([sys.executable, str(HERE), "--play", str(case.requests), str(case.rate_per_s)])


def peers(case: Case, python: str, folder: Path) -> tuple[float, float]:
    """Measure the peer on the very same requests."""
    from sizewell.traffic.offer import offer

    trace = folder / "trace.jsonl"
    requests = offer(_traffic(case.rate_per_s), case.requests)
    first = 0
    with trace.open("w") as file:
        for at, into, out in zip(requests.arrival_s, requests.input_tokens, requests.output_tokens, strict=True):
            blocks = -(-int(into) // 512)
            ids = list(range(first, first + blocks))
            row = {"timestamp": at * 1e3, "input_length": int(into), "output_length": int(out), "hash_ids": ids}
            file.write(json.dumps(row) + "\n")
            first += blocks
    report = str(folder / "report.json")
    words = [
        python,
        "-m",
        "dynamo.replay",
        str(trace),
        "--trace-block-size",
        "512",
        "--num-workers",
        "1",
        "--report-json",
        report,
    ]
    seconds, mib, _ = measured(words)
    return seconds, mib


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--play", nargs=2)
    asked.add_argument("--million", action="store_true")
    asked.add_argument("--overload-peer", action="store_true", help="run the peer where it takes minutes, too")
    asked.add_argument("--peer", default="")
    given = asked.parse_args()
    if given.play:
        play(int(given.play[0]), float(given.play[1]))
        return
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; user CPU of fresh processes, start-up included\n")
    print(f"{'':<32}{'sizewell':>10}{'MiB':>7}{'bar':>7}{'peer':>10}{'MiB':>7}{'ratio':>8}")
    ours(CASES[0])  # the first run on a machine compiles
    with tempfile.TemporaryDirectory() as folder:
        for case in (*CASES, *((MILLION,) if given.million else ())):
            seconds, mib, said = ours(case)
            slow = case.peer_s > 60 and not given.overload_peer
            peer_s, peer_mib = (
                (case.peer_s, case.peer_mib) if not given.peer or slow else peers(case, given.peer, Path(folder))
            )
            mark = "" if given.peer and not slow else "*"
            ratio = peer_s / seconds
            print(
                f"{case.name:<32}{seconds:>9.2f}s{mib:>7.0f}{case.bar_s:>6.1f}s{peer_s:>8.1f}s{mark:<1}{peer_mib:>7.0f}{ratio:>7.1f}x  {said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
