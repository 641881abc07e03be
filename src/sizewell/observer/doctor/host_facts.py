"""What the operating system says of processor, memory and limits, and what a container takes away of them."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

UNLIMITED_BYTES = 2**60
"""Control groups of the first kind write no limit as a number of this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """One machine; None is what it does not say.

    `threads` are the machine's, `cores` its physical ones this process may run on, `quota_cores` a container's limit;
    `ram_limit_bytes` likewise; `memlock_bytes` and `open_files` are soft limits (infinite: none).
    """

    cpu: str
    threads: int
    cores: int
    quota_cores: float | None = None
    flags: frozenset[str] = frozenset()
    ram_bytes: float
    ram_free_bytes: float | None = None
    ram_limit_bytes: float | None = None
    numa_nodes: int = 1
    numa_balancing: bool = False
    shm_bytes: float | None = None
    memlock_bytes: float | None = None
    open_files: float | None = None

    @property
    def usable_ram_bytes(self) -> float:
        """Memory this process may use at all."""
        return min(self.ram_bytes, self.ram_limit_bytes or self.ram_bytes)

    @property
    def usable_cores(self) -> float:
        """Physical cores this process may keep busy."""
        return min(float(self.cores), self.quota_cores or float(self.cores))


def read_host(root: Path = Path("/")) -> HostFacts:
    """Return what /proc, /sys and the kernel say; `root` stands before every path."""
    text = _text(root / "proc/cpuinfo")
    allowed = _allowed()
    installed, free = _memory(root)
    limit, used = _group_memory(root)
    if limit is not None and used is not None:
        free = min(free if free is not None else limit, max(0.0, limit - used))
    return HostFacts(
        cpu=_named(text),
        threads=os.cpu_count() or 1,
        cores=_cores(root, text, allowed),
        quota_cores=_quota(root),
        flags=frozenset(_field(text, "flags").split() or _field(text, "Features").split()),
        ram_bytes=installed,
        ram_free_bytes=free,
        ram_limit_bytes=limit,
        numa_nodes=max(1, len(list((root / "sys/devices/system/node").glob("node[0-9]*")))),
        numa_balancing=_text(root / "proc/sys/kernel/numa_balancing").strip() == "1",
        shm_bytes=_shm(root),
        **_limits(),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        if line.partition(":")[0].strip() == name:
            return line.partition(":")[2].strip()
    return ""


def _named(cpuinfo: str) -> str:
    return _field(cpuinfo, "model name") or platform.processor() or platform.machine()


def _allowed() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _cores(root: Path, cpuinfo: str, allowed: frozenset[int]) -> int:
    """Return physical cores among the allowed threads: threads of one core name the same siblings."""
    folder = root / "sys/devices/system/cpu"
    siblings = {_text(folder / f"cpu{thread}/topology/thread_siblings_list").strip() for thread in allowed} - {""}
    if siblings:
        return len(siblings)
    named = {
        (_field(part, "physical id"), _field(part, "core id"))
        for part in cpuinfo.split("\n\n")
        if _field(part, "processor").isdigit() and int(_field(part, "processor")) in allowed
    }
    return len(named - {("", "")}) or len(allowed)


def _memory(root: Path) -> tuple[float, float | None]:
    said = _text(root / "proc/meminfo")
    sizes = [_field(said, name).removesuffix(" kB") for name in ("MemTotal", "MemAvailable")]
    total, free = (float(size) * 1024 if size.isdigit() else None for size in sizes)
    return total or float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")), free


def _groups(root: Path, controller: str) -> list[Path]:
    """Return the folders of this process's control group and those above it: version 2, or 1 for a controller."""
    found: list[Path] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, place = [*line.split(":", 2), "", ""][:3]
        if names and controller not in names.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controller if names else "")
        parts = [part for part in place.split("/") if part not in ("", "..")]
        found += [base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return found


def _number(path: Path) -> float | None:
    said = _text(path).strip()
    return float(said) if said.isdigit() else None


def _group_memory(root: Path) -> tuple[float | None, float | None]:
    """Return the tightest limit of the groups above this process, and what is used of it and cannot be dropped."""
    found: list[tuple[float, float | None]] = []
    for folder in _groups(root, "memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        if limit is not None and limit < UNLIMITED_BYTES:
            used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
            stat = dict(line.split()[:2] for line in _text(folder / "memory.stat").splitlines() if " " in line)
            cached = sum(float(stat.get(name, 0)) for name in ("inactive_file", "active_file"))
            found.append((limit, None if used is None else used - cached))
    return min(found, default=(None, None), key=lambda row: row[0] or 0.0)


def _quota(root: Path) -> float | None:
    found: list[float] = []
    for folder in _groups(root, "cpu"):
        quota, period = [*_text(folder / "cpu.max").split(), "", ""][:2]
        if not quota:
            quota = _text(folder / "cpu.cfs_quota_us").strip()
            period = _text(folder / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period):
            found.append(int(quota) / int(period))
    return min(found, default=None)


def _shm(root: Path) -> float | None:
    try:
        place = os.statvfs(root / "dev/shm")
    except OSError:
        return None
    return float(place.f_blocks * place.f_frsize)


def _limits() -> dict[str, float]:
    import resource  # not on Windows, where nothing is served

    def soft(kind: int) -> float:
        value = resource.getrlimit(kind)[0]
        return float("inf") if value == resource.RLIM_INFINITY else float(value)

    return {"memlock_bytes": soft(resource.RLIMIT_MEMLOCK), "open_files": soft(resource.RLIMIT_NOFILE)}
