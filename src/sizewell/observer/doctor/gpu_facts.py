"""What drivers say of the accelerators: nvidia-smi's XML of every release, rocm-smi, amd-smi, macOS."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sizewell.observer.doctor.asking import PATIENCE_S, Answer, ask

Vendor = Literal["nvidia", "amd", "apple", "none"]
VENDOR_IDS: dict[str, Vendor] = {"0x10de": "nvidia", "0x1002": "amd"}
PCI = Path("/sys/bus/pci/devices")
WINDOWS_GPU = Path("/dev/dxg")
"""Where Windows lends its GPU to Linux, past the bus."""
WIRED_FRACTION = 0.75
"""What macOS lets a GPU take of the memory unless iogpu.wired_limit_mb says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds memory of an accelerator; None: how much is not said (as in containers)."""

    pid: int
    name: str
    used_bytes: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """One accelerator as its driver describes it; None is what it does not say.

    `uncorrected` counts memory errors since the driver was loaded; `fabric` is how far its NVSwitch is set up.
    """

    index: int
    name: str
    total_bytes: float | None = None
    free_bytes: float | None = None
    uuid: str = ""
    mig: bool = False
    ecc: bool | None = None
    uncorrected: int | None = None
    repair_pending: bool = False
    repair_failed: bool = False
    throttled_by: tuple[str, ...] = ()
    power_limit_w: float | None = None
    power_default_w: float | None = None
    lanes: int | None = None
    most_lanes: int | None = None
    compute_mode: str = "Default"
    fabric: str | None = None
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """The accelerators of a machine.

    `trouble` is what the driver's tool complained of, `on_bus` who made the boards that PCI shows, `visible` the text
    by which the environment restricts them (None: it does not).
    """

    vendor: Vendor
    driver: str | None = None
    cuda: str | None = None
    gpus: tuple[GpuState, ...] = ()
    trouble: str = ""
    on_bus: tuple[Vendor, ...] = ()
    visible: str | None = None


def read_gpus(timeout_s: float = PATIENCE_S, pci: Path = PCI) -> GpuFacts:
    """Ask every tool there is; the first whose hardware is here wins."""
    from sizewell.observer.doctor.amd import parse_amd_smi, parse_rocm_smi
    from sizewell.observer.doctor.nvidia import parse_nvidia

    bus = _on_bus(pci)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    answer = ask(["nvidia-smi", "-q", "-x"], timeout_s)
    if answer.problem != "absent":
        facts = parse_nvidia(answer, bus, visible)
        if facts.gpus or answer.problem == "hung" or _may_hide_boards(bus, pci):
            return facts
    for words, parse in (
        (["rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showdriverversion", "--json"], parse_rocm_smi),
        (["amd-smi", "static", "--json"], parse_amd_smi),
    ):
        answer = ask(words, timeout_s)
        if answer.problem != "absent":
            return parse(answer, bus, os.environ.get("HIP_VISIBLE_DEVICES", os.environ.get("ROCR_VISIBLE_DEVICES")))
    if platform.system() == "Darwin":
        return parse_apple(ask(["sysctl", "-n", "machdep.cpu.brand_string", "hw.memsize"], timeout_s))
    return GpuFacts(vendor="none", on_bus=bus)


def parse_apple(answer: Answer) -> GpuFacts:
    """Return a Mac as one accelerator with the share of its memory that Metal takes; an Intel Mac has none of use."""
    lines = answer.out.split("\n")
    if not lines[0].startswith("Apple") or not lines[1:] or not lines[1].isdigit():
        return GpuFacts(vendor="none")
    total = WIRED_FRACTION * float(lines[1])
    return GpuFacts(vendor="apple", gpus=(GpuState(index=0, name=lines[0].strip(), total_bytes=total),))


def _may_hide_boards(bus: tuple[Vendor, ...], pci: Path) -> bool:
    """Return whether a complaint of nvidia-smi may be about a board, and not be that of a tool left over from one."""
    return "nvidia" in bus or not any(pci.glob("*")) or WINDOWS_GPU.exists()


def _on_bus(pci: Path) -> tuple[Vendor, ...]:
    """Return the maker of each display or 3D controller, driver or not."""
    found: list[Vendor] = []
    for device in sorted(pci.glob("*")):
        try:
            kind, maker = ((device / name).read_text(encoding="utf-8").strip() for name in ("class", "vendor"))
        except OSError:
            continue
        if kind.startswith("0x03") and maker in VENDOR_IDS:
            found.append(VENDOR_IDS[maker])
    return tuple(found)
