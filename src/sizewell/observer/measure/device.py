"""The device PyTorch would compute on: what it calls itself, how much memory it has, which types it runs."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sizewell.specs.errors import BadInputError
from sizewell.specs.hardware import GpuKind

Backend = Literal["cuda", "mps", "cpu"]
Torch = Any
"""The module `torch`: it is imported only here, and only when something is to be measured."""

CPU_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
CPU_NAMES = Path("/proc/cpuinfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CPU_CACHE_BYTES = 32 * 2**20
_GPU_CACHE_BYTES = 128 * 2**20
"""Where nobody says how large the last cache is: larger than most, so that a flush empties it."""
_AMD_CACHE_BYTES = 256 * 2**20
"""What lies behind the second-level caches of AMD's accelerators, which alone are reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device and its likes: `count` of them, `cores` of a processor, `cache_bytes` of the last-level cache."""

    backend: Backend
    kind: GpuKind
    vendor: str
    name: str
    memory_bytes: float
    free_bytes: float
    cache_bytes: float
    count: int
    capability: str | None
    cores: int
    versions: str


class NoTorchError(BadInputError):
    """Nothing can be measured without PyTorch."""


def load_torch() -> Torch:
    """Import PyTorch; raises NoTorchError with what to install."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise NoTorchError(
            f"measuring needs PyTorch ({error}): pip install 'sizewell[measure]', or on AMD and Apple the build "
            f"pytorch.org names for your machine"
        ) from error


def find_device(torch: Torch, wanted: Backend | None = None) -> Device:
    """Return the fastest device PyTorch sees, or the `wanted` one; raises BadInputError when that is not there."""
    present: dict[Backend, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted and not present[wanted]:
        there = ", ".join(name for name, here in present.items() if here)
        raise BadInputError(f"--device {wanted}: this PyTorch ({torch.__version__}) sees only {there}")
    found: dict[Backend, Callable[[Torch], Device]] = {"cuda": _cuda, "mps": _mps, "cpu": _cpu}
    fastest = [name for name, here in present.items() if here]
    return found[wanted or fastest[0]](torch)


def _cuda(torch: Torch) -> Device:
    facts = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info(0)
    amd = bool(torch.version.hip)
    runtime = f"hip {torch.version.hip}" if amd else f"cuda {torch.version.cuda}"
    return Device(
        backend="cuda",
        kind="unified" if getattr(facts, "is_integrated", 0) else "gpu",
        vendor="amd" if amd else "nvidia",
        name=facts.name,
        memory_bytes=float(total),
        free_bytes=float(free),
        cache_bytes=float(_AMD_CACHE_BYTES if amd else getattr(facts, "L2_cache_size", 0) or _GPU_CACHE_BYTES),
        count=torch.cuda.device_count(),
        capability=getattr(facts, "gcnArchName", "").split(":")[0] if amd else f"{facts.major}.{facts.minor}",
        cores=0,
        versions=_versions(torch, runtime),
    )


def _mps(torch: Torch) -> Device:
    memory = float(torch.mps.recommended_max_memory())
    return Device(
        backend="mps", kind="unified", vendor="apple", name=_cpu_name(), memory_bytes=memory, free_bytes=memory,
        cache_bytes=_GPU_CACHE_BYTES, count=1, capability=None, cores=os.cpu_count() or 1,
        versions=_versions(torch, f"macos {platform.mac_ver()[0]}"),
    )  # fmt: skip


def _cpu(torch: Torch) -> Device:
    memory = _host_bytes()
    return Device(
        backend="cpu", kind="cpu", vendor="cpu", name=_cpu_name(), memory_bytes=memory, free_bytes=memory * 0.5,
        cache_bytes=_cpu_cache_bytes(), count=1, capability=_cpu_capability(), cores=torch.get_num_threads(),
        versions=_versions(torch, f"threads {torch.get_num_threads()}"),
    )  # fmt: skip


def _versions(torch: Torch, runtime: str) -> str:
    return f"torch {torch.__version__}; {runtime}; python {platform.python_version()}; {platform.system().lower()}"


def _cpu_name() -> str:
    if CPU_NAMES.exists():
        for line in CPU_NAMES.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpu_capability() -> str | None:
    """Return `amx` where the processor multiplies tiles, which changes what engines run on it."""
    return "amx" if CPU_NAMES.exists() and " amx_tile " in CPU_NAMES.read_text() else None


def _cpu_cache_bytes() -> float:
    if not CPU_CACHE.exists():
        return _CPU_CACHE_BYTES
    said = CPU_CACHE.read_text(encoding="utf-8").strip()
    return float(said.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(said[-1:], 1)


def _host_bytes() -> float:
    installed = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = MEMORY_LIMIT.read_text(encoding="utf-8").strip() if MEMORY_LIMIT.exists() else "max"
    return min(installed, float(limit)) if limit.isdigit() else installed
