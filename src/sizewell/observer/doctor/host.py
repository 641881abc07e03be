"""Judges processor, memory, NUMA nodes and limits of a machine, and names its likeness in the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from math import inf, isinf, log2

from sizewell.observer.doctor.findings import Finding, gib
from sizewell.observer.doctor.host_facts import HostFacts
from sizewell.observer.doctor.needs import Known, Needs
from sizewell.specs.hardware import HostSpec

_host = partial(Finding, subject="host")
SHM_BYTES = 2**30
"""Shared memory that NCCL and the workers of several accelerators use at least; containers start with 64 MiB."""
OPEN_FILES = 4096
"""A server holds one for each connection beside those of its weights."""
VECTORS = {"x86": ("avx512f", "avx2")}
"""Instruction sets that engines on processors are built for, best first."""


def judge_host(facts: HostFacts, needs: Needs | None, known: Known) -> Iterator[Finding]:
    """Yield what the machine is fit for."""
    yield _processor(facts, needs)
    yield _likeness(facts, known)
    if needs is not None and needs.cluster.gpu.kind == "cpu":
        yield _vectors(facts)
    yield _memory(facts, needs)
    yield _numa(facts, needs)
    yield _shared(facts, needs)
    yield _locked(facts, needs)
    yield _files(facts)


def _processor(facts: HostFacts, needs: Needs | None) -> Finding:
    more = f", {facts.quota_cores:.3g} by the container's limit" if facts.usable_cores < facts.cores else ""
    cores = f"{facts.cores} core{'' if facts.cores == 1 else 's'}"
    found = f"{facts.cpu}: {cores} of {facts.threads} threads{more}"
    figures = {"cores": facts.usable_cores}
    if needs is None or facts.usable_cores >= needs.materials.cpu_cores:
        needed = f"{needs.materials.cpu_cores} cores" if needs else ""
        return _host(check="cores", verdict="pass", found=found, needed=needed, figures=figures)
    fix = "raise the container's or the job's limit" if more else "take a node with more: hyperthreads do not count"
    needed = f"{needs.materials.cpu_cores} cores: one for each worker, two beside them"
    return _host(check="cores", verdict="warn", found=found, needed=needed, fix=fix, figures=figures)


def _likeness(facts: HostFacts, known: Known) -> Finding:
    like = likeliest(facts, known.hosts)
    if like is None:
        return _host(check="likeness", verdict="skipped", found="the catalogue has no hosts")
    found = f"most like {like.key} in the catalogue ({like.cpu}, {like.cores} cores, {gib(like.ram_bytes)})"
    return _host(check="likeness", verdict="pass", found=found)


def likeliest(facts: HostFacts, hosts: Sequence[HostSpec]) -> HostSpec | None:
    """Return the host whose processor has the same number in its name, then the nearest in cores and memory."""
    own = _models(facts.cpu)

    def distance(host: HostSpec) -> tuple[bool, float]:
        apart = abs(log2(facts.cores / host.cores)) + abs(log2(facts.ram_bytes / host.ram_bytes))
        return not own & _models(host.cpu), apart

    return min(hosts, key=distance, default=None)


def _models(cpu: str) -> set[str]:
    """Return the words that tell one processor from its family: `9654`, `i5-12400`, `8480+`."""
    return {word for word in re.findall(r"[\w+-]+", cpu.lower()) if re.search(r"\d{3}", word)}


def _vectors(facts: HostFacts) -> Finding:
    if not facts.flags or {"asimd", "neon"} & facts.flags:
        return _host(check="instructions", verdict="skipped", found="not an x86 processor, or it does not say")
    best = next((name for name in VECTORS["x86"] if name in facts.flags), None)
    needed = "avx512f, or avx2 at some cost"
    if best is None:
        fix = "use llama.cpp built for this processor, or another machine"
        return _host(check="instructions", verdict="fail", found="neither AVX-512 nor AVX2", needed=needed, fix=fix)
    if best == "avx2":
        fix = "expect less than planned, or a virtual machine that passes AVX-512 on"
        return _host(check="instructions", verdict="warn", found="AVX2, no AVX-512", needed=needed, fix=fix)
    extra = [name for name in ("avx512_bf16", "amx_bf16") if name in facts.flags]
    return _host(check="instructions", verdict="pass", found=", ".join([best, *extra]), needed=needed)


def _memory(facts: HostFacts, needs: Needs | None) -> Finding:
    limited = facts.usable_ram_bytes < facts.ram_bytes
    more = f" of the machine's {gib(facts.ram_bytes)}, by the container's limit" if limited else ""
    free = facts.ram_free_bytes
    found = f"{gib(facts.usable_ram_bytes)}{more}" + (f", {gib(free)} available" if free is not None else "")
    figures = {"ram_bytes": facts.usable_ram_bytes} | ({"available_bytes": free} if free is not None else {})
    if needs is None:
        return _host(check="memory", verdict="pass", found=found, figures=figures)
    least = needs.materials.host_ram_minimum_bytes
    roomy = needs.materials.host_ram_bytes
    needed = f"{gib(least)}, {gib(roomy)} to restart from the page cache"
    if needs.cluster.gpu.kind == "cpu":
        least, needed = least + needs.gpu_bytes, f"{gib(least + needs.gpu_bytes)} with weights and cache"
    if facts.usable_ram_bytes < least:
        fix = "raise the container's or the job's memory limit" if limited else "take a node with more memory"
        return _host(check="memory", verdict="fail", found=found, needed=needed, fix=fix, figures=figures)
    if free is not None and free < least:
        fix = "end what else runs here: the loader would swap or be killed"
        return _host(check="memory", verdict="warn", found=found, needed=needed, fix=fix, figures=figures)
    return _host(check="memory", verdict="pass", found=found, needed=needed, figures=figures)


def _numa(facts: HostFacts, needs: Needs | None) -> Finding:
    found = "one NUMA node" if facts.numa_nodes == 1 else f"{facts.numa_nodes} NUMA nodes"
    if facts.numa_nodes > 1 and facts.numa_balancing:
        fix = "sysctl kernel.numa_balancing=0, as root: it stalls workers to move their pages"
        return _host(check="numa", verdict="warn", found=f"{found}, pages moved by the kernel", fix=fix)
    if facts.numa_nodes > 1 and needs is not None and needs.cluster.gpu.kind == "cpu":
        fix = "bind each rank to a node (VLLM_CPU_OMP_THREADS_BIND, or numactl -N 0 -m 0)"
        return _host(check="numa", verdict="warn", found=found, needed="one for each rank", fix=fix)
    return _host(check="numa", verdict="pass", found=found)


def _shared(facts: HostFacts, needs: Needs | None) -> Finding:
    if facts.shm_bytes is None:
        return _host(check="shared memory", verdict="skipped", found="no /dev/shm here")
    found = f"/dev/shm of {gib(facts.shm_bytes)}"
    if facts.shm_bytes >= SHM_BYTES:
        return _host(check="shared memory", verdict="pass", found=found)
    hard = needs is not None and needs.together > 1
    return _host(
        check="shared memory", verdict="fail" if hard else "warn", found=found, needed=gib(SHM_BYTES),
        fix="start the container with --ipc=host or --shm-size=16g; on a machine: mount -o remount,size=16g /dev/shm",
    )  # fmt: skip


def _locked(facts: HostFacts, needs: Needs | None) -> Finding:
    limit = inf if facts.memlock_bytes is None else facts.memlock_bytes
    found = "locked memory without limit" if isinf(limit) else f"{limit / 2**20:,.0f} MiB of locked memory"
    if isinf(limit):
        return _host(check="memlock", verdict="pass", found=found)
    if needs is None or needs.nodes == 1:
        return _host(check="memlock", verdict="pass", found=found, needed="no limit only for RDMA between nodes")
    fix = "ulimit -l unlimited (limits.conf, --ulimit memlock=-1, or SLURM's PropagateResourceLimits)"
    return _host(check="memlock", verdict="warn", found=found, needed="no limit: RDMA locks its buffers", fix=fix)


def _files(facts: HostFacts) -> Finding:
    limit = inf if facts.open_files is None else facts.open_files
    found = "open files without limit" if isinf(limit) else f"{limit:,.0f} open files"
    if limit >= OPEN_FILES:
        return _host(check="open files", verdict="pass", found=found)
    return _host(
        check="open files", verdict="warn", found=found, needed=f"{OPEN_FILES:,}: one for each connection",
        fix="ulimit -n 65536, or LimitNOFILE= in the unit",
    )  # fmt: skip
