"""A device as an accelerator of the catalogue, as far as it says so itself: names and memory, no rates."""

from __future__ import annotations

import re

from sizewell.observer.measure.device import Device
from sizewell.specs.hardware import GpuSpec

_ARCHITECTURES = {
    "7.0": "volta", "7.5": "turing", "8.0": "ampere", "8.6": "ampere", "8.7": "ampere", "8.9": "ada", "9.0": "hopper",
    "10.0": "blackwell", "10.3": "blackwell", "12.0": "blackwell-rtx", "12.1": "blackwell-rtx",
    "gfx90a": "cdna2", "gfx942": "cdna3", "gfx950": "cdna4", "gfx1100": "rdna3", "gfx1201": "rdna4",
}  # fmt: skip
"""Compute capability or AMD's name of a chip → family."""
_FORMS = {"cpu": "socket", "unified": "soc", "gpu": "pcie"}
_POWER_W = {"cpu": 100.0, "unified": 60.0, "gpu": 300.0}
"""What a device of a kind draws when nobody says: assumed."""


def device_key(device: Device) -> str:
    """Return a key for a device the catalogue does not know: its name, cores of a processor, memory in GB."""
    cores = f" {device.cores} cores" if device.kind == "cpu" else ""
    words = re.sub(r"\((r|tm)\)", " ", f"{device.name}{cores} {device.memory_bytes / 1e9:.0f}gb".lower())
    return "-".join(re.findall(r"[a-z0-9.]+", words))


def described(device: Device, date: str) -> GpuSpec:
    """Return a device without rates; form, power and launch date are assumed."""
    stated = device.vendor in ("nvidia", "cpu")
    return GpuSpec(
        key=device_key(device),
        name=device.name,
        vendor=device.vendor,
        architecture=_ARCHITECTURES.get(device.capability or "", "unknown"),
        kind=device.kind,
        form_factor=_FORMS[device.kind],
        memory_bytes=device.memory_bytes,
        reported_bytes=None,
        bytes_per_s=0.0,
        flops_per_s={},
        tdp_w=_POWER_W[device.kind],
        launch_date=date,
        compute_capability=device.capability if stated else None,
        l2_bytes=device.cache_bytes,
        names_in_logs=(device.name,),
    )
