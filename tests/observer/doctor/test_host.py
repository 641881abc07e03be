"""Limits of containers, hyperthreads, NUMA nodes and small shared memories are read from texts and judged."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor_nodes import KNOWN, needs
from sizewell.observer.doctor.findings import GIB, Finding
from sizewell.observer.doctor.host import judge_host, likeliest
from sizewell.observer.doctor.host_facts import HostFacts, read_host
from sizewell.observer.doctor.needs import Needs
from sizewell.planner.stated import Stated

R1 = needs()
TWO_NODES = needs("r1", "16xh100", Stated(tp=8, pp=2))
PROCESSOR = needs("qwen3-0.6b", "cpu-epyc-9654-2s", engine="llama.cpp")
ROOMY = HostFacts(
    cpu="Intel(R) Xeon(R) Platinum 8480C", threads=224, cores=112, ram_bytes=2048 * GIB, ram_free_bytes=2000 * GIB,
    numa_nodes=2, shm_bytes=1024 * GIB, memlock_bytes=inf, open_files=1048576.0, flags=frozenset({"avx512f", "avx2"}),
)  # fmt: skip


def judged(facts: HostFacts, wanted: Needs | None = None) -> dict[str, Finding]:
    return {finding.check: finding for finding in judge_host(facts, wanted, KNOWN)}


def machine(root: Path, files: dict[str, str]) -> HostFacts:
    meminfo = {"proc/meminfo": "MemTotal:       263921748 kB\nMemFree: 1 kB\nMemAvailable:   250000000 kB\n"}
    for name, text in {**meminfo, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return read_host(root)


def test_a_machine_without_containers_has_what_it_has(tmp_path: Path) -> None:
    facts = machine(tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC 9654\nflags\t: avx2 avx512f\n"})
    assert (facts.cpu, facts.flags) == ("AMD EPYC 9654", {"avx2", "avx512f"})
    assert facts.usable_ram_bytes == facts.ram_bytes == 263921748 * 1024
    assert facts.ram_free_bytes == 250000000 * 1024
    assert (facts.quota_cores, facts.ram_limit_bytes, facts.numa_nodes) == (None, None, 1)


SECOND = {
    "proc/self/cgroup": "0::/kubepods/pod1/abc\n",
    "sys/fs/cgroup/kubepods/pod1/abc/memory.max": "max\n",
    "sys/fs/cgroup/kubepods/pod1/memory.max": f"{64 * GIB}\n",
    "sys/fs/cgroup/kubepods/pod1/memory.current": f"{40 * GIB}\n",
    "sys/fs/cgroup/kubepods/pod1/memory.stat": f"anon 5\ninactive_file {20 * GIB}\nactive_file {10 * GIB}\n",
    "sys/fs/cgroup/kubepods/memory.max": f"{128 * GIB}\n",
    "sys/fs/cgroup/kubepods/pod1/abc/cpu.max": "350000 100000\n",
    "sys/fs/cgroup/kubepods/pod1/cpu.max": "max 100000\n",
}
FIRST = {
    "proc/self/cgroup": "9:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n",
    "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{64 * GIB}\n",
    "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": f"{40 * GIB}\n",
    "sys/fs/cgroup/memory/docker/abc/memory.stat": f"cache 1\ninactive_file {20 * GIB}\nactive_file {10 * GIB}\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "350000\n",
    "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}
INSIDE = {  # docker with a control group namespace of its own: the folder it sees is the root
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/memory.max": f"{64 * GIB}\n",
    "sys/fs/cgroup/memory.current": f"{10 * GIB}\n",
    "sys/fs/cgroup/cpu.max": "350000 100000\n",
}


@pytest.mark.parametrize("files", [SECOND, FIRST, INSIDE], ids=["v2", "v1", "inside"])
def test_the_tightest_limit_of_a_container_counts_and_its_cache_does_not(tmp_path: Path, files: dict[str, str]) -> None:
    facts = machine(tmp_path, files)
    assert facts.usable_ram_bytes == 64 * GIB
    assert facts.ram_free_bytes == 54 * GIB
    assert facts.quota_cores == 3.5
    memory = judged(facts, needs(on="8xh200"))["memory"]
    assert "by the container's limit" in memory.found
    assert "64.0 GiB of the machine's 251.7 GiB" in memory.found


def test_hyperthreads_are_no_cores(tmp_path: Path) -> None:
    """Every thread of this machine, in pairs: half as many cores, whatever that machine is."""
    import os

    allowed = sorted(os.sched_getaffinity(0))
    pairs = {thread: allowed[place // 2 * 2] for place, thread in enumerate(allowed)}
    files = {
        f"sys/devices/system/cpu/cpu{thread}/topology/thread_siblings_list": f"{first},x\n"
        for thread, first in pairs.items()
    }
    assert machine(tmp_path, files).cores == (len(allowed) + 1) // 2


def test_nodes_of_memory_are_counted(tmp_path: Path) -> None:
    files = {f"sys/devices/system/node/node{n}/cpulist": "0\n" for n in range(4)}
    facts = machine(tmp_path, {**files, "proc/sys/kernel/numa_balancing": "1\n"})
    assert (facts.numa_nodes, facts.numa_balancing) == (4, True)
    assert judged(facts)["numa"].verdict == "warn"


def test_a_roomy_machine_passes() -> None:
    for wanted in (None, R1, TWO_NODES):
        assert {finding.verdict for finding in judge_host(ROOMY, wanted, KNOWN)} == {"pass"}
    assert judged(ROOMY, R1)["memory"].needed.startswith("52.2 GiB, 693.4 GiB")


@pytest.mark.parametrize(
    ("changed", "wanted", "check", "verdict"),
    [
        (replace(ROOMY, ram_bytes=32 * GIB), R1, "memory", "fail"),
        (replace(ROOMY, ram_free_bytes=20 * GIB), R1, "memory", "warn"),
        (replace(ROOMY, ram_limit_bytes=32 * GIB), R1, "memory", "fail"),
        (replace(ROOMY, cores=6), R1, "cores", "warn"),
        (replace(ROOMY, quota_cores=4.0), R1, "cores", "warn"),
        (replace(ROOMY, shm_bytes=64 * 2**20), R1, "shared memory", "fail"),
        (replace(ROOMY, shm_bytes=64 * 2**20), None, "shared memory", "warn"),
        (replace(ROOMY, shm_bytes=None), R1, "shared memory", "skipped"),
        (replace(ROOMY, memlock_bytes=65536.0), R1, "memlock", "pass"),
        (replace(ROOMY, memlock_bytes=65536.0), TWO_NODES, "memlock", "warn"),
        (replace(ROOMY, open_files=1024.0), R1, "open files", "warn"),
        (replace(ROOMY, flags=frozenset({"avx2"})), PROCESSOR, "instructions", "warn"),
        (replace(ROOMY, flags=frozenset({"sse4_2"})), PROCESSOR, "instructions", "fail"),
        (replace(ROOMY, flags=frozenset({"asimd"})), PROCESSOR, "instructions", "skipped"),
        (ROOMY, PROCESSOR, "numa", "warn"),
    ],
)
def test_what_is_short_is_told_with_a_cure(changed: HostFacts, wanted: Needs, check: str, verdict: str) -> None:
    finding = judged(changed, wanted)[check]
    assert finding.verdict == verdict
    assert bool(finding.fix) == (verdict in ("warn", "fail"))


def test_a_processor_needs_room_for_weights_and_cache_too() -> None:
    assert judged(ROOMY, PROCESSOR)["memory"].needed.startswith(f"{(8e9 + 6e9 + PROCESSOR.gpu_bytes) / GIB:,.1f} GiB")


def test_a_machine_is_likened_to_the_host_of_its_processor() -> None:
    found = likeliest(ROOMY, KNOWN.hosts)
    assert found is not None
    assert "8480C" in found.cpu
    small = likeliest(replace(ROOMY, cpu="AMD EPYC", cores=6, ram_bytes=32 * GIB), KNOWN.hosts)
    assert small is not None
    assert (small.cores, small.ram_bytes) == (6, pytest.approx(32 * GIB, rel=0.1))
    assert likeliest(ROOMY, ()) is None


@given(cpu=st.text(max_size=40), cores=st.integers(1, 1024), ram=st.floats(2.0**20, 2.0**50))
def test_every_machine_is_like_some_host(cpu: str, cores: int, ram: float) -> None:
    assert likeliest(replace(ROOMY, cpu=cpu, cores=cores, ram_bytes=ram), KNOWN.hosts) in KNOWN.hosts


def test_this_machine_can_be_read() -> None:
    facts = read_host()
    assert 1 <= facts.cores <= facts.threads
    assert 0 < (facts.ram_free_bytes or 1) <= facts.usable_ram_bytes <= facts.ram_bytes
