"""nvidia-smi's XML (`-q -x`), whose names changed from driver to driver, and the errors it prints instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from sizewell.observer.doctor.asking import Answer
from sizewell.observer.doctor.gpu_facts import GpuFacts, GpuProcess, GpuState, Vendor
from sizewell.observer.measure.throttle import REASONS

_MIB = 2**20
_BITS = {
    "sw_power_cap": 0x4, "hw_slowdown": 0x8, "sw_thermal_slowdown": 0x20, "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
}  # fmt: skip
"""How an element's name ends → the bit that means the same in nvidia-smi's tables."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_XML_START = "<nvidia_smi_log"


def parse_nvidia(answer: Answer, on_bus: tuple[Vendor, ...] = (), visible: str | None = None) -> GpuFacts:
    """Return what nvidia-smi said; a text that is not its XML is its complaint."""
    if answer.problem:
        said = "does not answer" if answer.problem == "hung" else f"cannot be run: {answer.err}"
        return GpuFacts(vendor="nvidia", trouble=f"nvidia-smi {said}", on_bus=on_bus, visible=visible)
    try:
        # Complaints about one lost board come before the document; its type definition is never looked up.
        root = ElementTree.fromstring(answer.out[answer.out.index(_XML_START) :])
    except (ValueError, ElementTree.ParseError):
        return GpuFacts(vendor="nvidia", trouble=answer.complaint, on_bus=on_bus, visible=visible)
    before = answer.out[: answer.out.index(_XML_START)]
    complaints = [line.strip() for line in before.splitlines() if line.strip() and not line.lstrip().startswith("<")]
    return GpuFacts(
        vendor="nvidia",
        driver=_text(root, "driver_version"),
        cuda=_text(root, "cuda_version"),
        gpus=tuple(_gpu(index, node) for index, node in enumerate(root.findall("gpu"))),
        trouble=complaints[0] if complaints else "",
        on_bus=on_bus,
        visible=visible,
    )


def _gpu(index: int, node: Element) -> GpuState:
    power = node.find("gpu_power_readings")
    power = power if power is not None else node.find("power_readings")
    return GpuState(
        index=index,
        name=_text(node, "product_name") or "an unnamed board",
        uuid=_text(node, "uuid") or "",
        total_bytes=_mib(node, "fb_memory_usage/total"),
        free_bytes=_mib(node, "fb_memory_usage/free"),
        mig=_text(node, "mig_mode/current_mig") == "Enabled",
        ecc={"Enabled": True, "Disabled": False}.get(_text(node, "ecc_mode/current_ecc") or ""),
        uncorrected=_uncorrected(node.find("ecc_errors/volatile")),
        repair_pending=any(_text(node, path) == "Yes" for path in _PENDING),
        repair_failed=_text(node, "remapped_rows/remapped_row_failure") == "Yes",
        throttled_by=tuple(dict.fromkeys(_throttled(node))),
        power_limit_w=_number(power, "current_power_limit") or _number(power, "power_limit"),
        power_default_w=_number(power, "default_power_limit"),
        lanes=_count(node, "pci/pci_gpu_link_info/link_widths/current_link_width"),
        most_lanes=_count(node, "pci/pci_gpu_link_info/link_widths/max_link_width"),
        compute_mode=_text(node, "compute_mode") or "Default",
        fabric=_text(node, "fabric/state"),
        processes=tuple(_processes(node)),
    )


_PENDING = ("remapped_rows/remapped_row_pending", "retired_pages/pending_retirement", "retired_pages/pending_blacklist")


def _uncorrected(counts: Element | None) -> int | None:
    """Return errors ECC could not correct: tags with `uncorrectable`, until driver 440 the total of `double_bit`."""
    if counts is None:
        return None
    tags = [tag for tag in counts.iter() if "uncorrectable" in tag.tag]
    tags += counts.findall("double_bit/total")
    found = [int(tag.text) for tag in tags if tag.text and tag.text.strip().isdigit()]
    return sum(found) if found else None


def _throttled(node: Element) -> Iterator[str]:
    for group in ("clocks_event_reasons", "clocks_throttle_reasons"):
        for reason in node.findall(f"{group}/*"):
            ending = re.sub(r"^clocks_(event|throttle)_reason_", "", reason.tag)
            if (reason.text or "").strip() == "Active" and ending in _BITS:
                yield REASONS[_BITS[ending]]


def _processes(node: Element) -> Iterator[GpuProcess]:
    for process in node.findall("processes/process_info"):
        pid = _number(process, "pid")
        if pid is not None:
            used = _mib(process, "used_memory")
            yield GpuProcess(pid=int(pid), name=_text(process, "process_name") or "?", used_bytes=used)


def _text(node: Element, path: str) -> str | None:
    """Return an element's text; None where it is absent or the board does not say."""
    text = (node.findtext(path) or "").strip().strip("[]")
    unsaid = not text or text in ("N/A", "Not Supported", "Unknown Error", "ERR!") or text.startswith("Requested func")
    return None if unsaid else text


def _number(node: Element | None, path: str) -> float | None:
    found = _NUMBER.match(_text(node, path) or "") if node is not None else None
    return float(found[0]) if found else None


def _count(node: Element, path: str) -> int | None:
    number = _number(node, path)
    return None if number is None else int(number)


def _mib(node: Element, path: str) -> float | None:
    number = _number(node, path)
    return None if number is None else number * _MIB
