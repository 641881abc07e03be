"""Nodes for the doctor: what nvidia-smi prints, release by release, and plans that need something of a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from launches import deployment
from sizewell.cli.doctor import _known, _needs
from sizewell.observer.doctor.needs import Known, Needs, Place
from sizewell.planner.stated import Stated

Era = Literal["v10", "v11", "v12", "v13"]
KNOWN: Known = _known()
NOWHERE = Place(model=Path("/models/r1"), arrived=False)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54\n"  # exit code 18
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.\n"
)
LOST = "Unable to determine the device handle for GPU0000:81:00.0: Unknown Error\n"


def needs(model: str = "r1", on: str = "8xh200", stated: Stated | None = None, engine: str = "vllm@0.33") -> Needs:
    """Return what a node of a stated deployment needs."""
    return replace(_needs(deployment(model, on, engine, stated), NOWHERE), hub=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board as nvidia-smi prints it; an empty text is one the board does not support."""

    name: str = "NVIDIA H200"
    total_mib: int = 143771
    reserved_mib: int = 700
    used_mib: int = 1
    mig: str = ""
    ecc: str = "Enabled"
    uncorrectable: str = "0"
    pending: str = "No"
    failure: str = "No"
    active: Sequence[str] = ("gpu_idle",)
    limit_w: str = "700.00 W"
    default_w: str = "700.00 W"
    lanes: str = "16x"
    fabric: str = ""
    compute_mode: str = "Default"
    processes: Sequence[tuple[int, str, str]] = ()


_REASONS = (
    "gpu_idle", "applications_clocks_setting", "sw_power_cap", "hw_slowdown", "hw_thermal_slowdown",
    "hw_power_brake_slowdown", "sync_boost", "sw_thermal_slowdown",
)  # fmt: skip
_VERSIONS: dict[Era, tuple[str, str]] = {
    "v10": ("418.87", "10.1"), "v11": ("515.105.01", "11.7"), "v12": ("550.54.15", "12.4"), "v13": ("590.44.01", "13.1")
}  # fmt: skip


def smi(boards: Sequence[Board], era: Era = "v13", unsaid: str = "N/A") -> str:
    """Return `nvidia-smi -q -x` of a driver of some era; `unsaid` is how it says that a board does not say."""
    driver, cuda = _VERSIONS[era]
    inner = "".join(_board(index, board, era, unsaid) for index, board in enumerate(boards))
    return (
        f'<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_{era}.dtd">\n<nvidia_smi_log>'
        f"<driver_version>{driver}</driver_version><cuda_version>{cuda}</cuda_version>"
        f"<attached_gpus>{len(boards)}</attached_gpus>{inner}</nvidia_smi_log>"
    )


def _board(index: int, board: Board, era: Era, unsaid: str) -> str:
    free = board.total_mib - board.reserved_mib - board.used_mib
    reasons = "clocks_event_reason" if era in ("v12", "v13") else "clocks_throttle_reason"
    power = "gpu_power_readings" if era in ("v12", "v13") else "power_readings"
    limit = "current_power_limit" if era in ("v12", "v13") else "power_limit"
    held = "".join(
        f"<{reasons}_{reason}>{'Active' if reason in board.active else 'Not Active'}</{reasons}_{reason}>"
        for reason in _REASONS
    )
    running = "".join(
        f"<process_info><pid>{pid}</pid><type>C</type><process_name>{name}</process_name>"
        f"<used_memory>{used}</used_memory></process_info>"
        for pid, name, used in board.processes
    )
    return f"""<gpu id="00000000:{index:02X}:00.0">
<product_name>{board.name}</product_name><uuid>GPU-{index:08d}-aaaa</uuid>
<mig_mode><current_mig>{board.mig or unsaid}</current_mig></mig_mode>
<pci><pci_gpu_link_info><link_widths><max_link_width>16x</max_link_width>
<current_link_width>{board.lanes or unsaid}</current_link_width></link_widths></pci_gpu_link_info></pci>
<{reasons}s>{held}</{reasons}s>
<fb_memory_usage><total>{board.total_mib} MiB</total><used>{board.used_mib} MiB</used><free>{free} MiB</free>
</fb_memory_usage><compute_mode>{board.compute_mode}</compute_mode>
<ecc_mode><current_ecc>{board.ecc or unsaid}</current_ecc></ecc_mode>
<ecc_errors><volatile>{_errors(board.uncorrectable or unsaid, era)}</volatile></ecc_errors>
<remapped_rows><remapped_row_pending>{board.pending}</remapped_row_pending>
<remapped_row_failure>{board.failure}</remapped_row_failure></remapped_rows>
<{power}><{limit}>{board.limit_w or unsaid}</{limit}>
<default_power_limit>{board.default_w or unsaid}</default_power_limit></{power}>
<fabric><state>{board.fabric or unsaid}</state></fabric><processes>{running}</processes></gpu>"""


def _errors(count: str, era: Era) -> str:
    if era == "v10":
        return f"<double_bit><device_memory>{count}</device_memory><total>{count}</total></double_bit>"
    static = "sram_uncorrectable_parity" if era == "v13" else "sram_uncorrectable"
    zero = count if not count.isdigit() else "0"
    return f"<{static}>{zero}</{static}><dram_uncorrectable>{count}</dram_uncorrectable>"


H100 = Board(name="NVIDIA H100 80GB HBM3", total_mib=81559, reserved_mib=550, fabric="Completed")
RTX_4090 = Board(
    name="NVIDIA GeForce RTX 4090", total_mib=24564, reserved_mib=360, ecc="", uncorrectable="", limit_w="450.00 W",
    default_w="450.00 W",
)  # fmt: skip


def matrix(ways: Sequence[Sequence[str]], *, coloured: bool = False) -> str:
    """Return `nvidia-smi topo -m` of accelerators joined that way, with a network card and affinities beside them."""
    names = [f"GPU{n}" for n in range(len(ways))]
    head = "\t".join(["", *names, "NIC0", "CPU Affinity", "NUMA Affinity", "GPU NUMA ID"])
    lines = [f"\x1b[4m{head}\x1b[0m" if coloured else head]
    lines += [
        "\t".join([name, *row, "PXB", "0-55,112-167", "0", "", "N/A"]) for name, row in zip(names, ways, strict=True)
    ]
    lines.append("\t".join(["NIC0", *["PXB"] * len(ways), " X "]))
    return "\n".join([*lines, "", "Legend:", "", "  X    = Self", "  SYS  = Connection traversing PCIe"])


def meshed(count: int, way: str) -> list[list[str]]:
    """Return a matrix in which every pair is joined the same way."""
    return [[" X " if here == there else way for there in range(count)] for here in range(count)]
