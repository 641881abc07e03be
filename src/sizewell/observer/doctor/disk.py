"""Judges the place of the weights: room, whether they are there, and how long they take to read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sizewell.observer.doctor.disk_facts import DiskFacts
from sizewell.observer.doctor.findings import Finding, gib
from sizewell.observer.doctor.needs import Needs, Place
from sizewell.planner.bill_of_materials import FREE_DISK_FRACTION

_disk = partial(Finding, subject="disk")
COMPLETE = 0.98
"""Files hold a little more or less than the arithmetic of a model says."""
WAYS = {
    "direct": "past the page cache",
    "dropped": "after asking the kernel to forget the file: part may still have come from the page cache",
    "cached": "from memory: the disk's own rate could not be measured",
}


def judge_disk(facts: DiskFacts, needs: Needs | None, place: Place) -> Iterator[Finding]:
    """Yield what the folder of the weights is fit for."""
    if needs is not None and place.arrived:
        yield _arrived(facts, needs)
    yield _room(facts, needs, place)
    if needs is not None and not place.arrived:
        yield _writing(facts)
    yield _rate(facts, needs)


def _arrived(facts: DiskFacts, needs: Needs) -> Finding:
    found = f"{gib(facts.present_bytes)} of weights in {facts.folder}"
    needed = gib(needs.checkpoint_bytes)
    if facts.present_bytes >= COMPLETE * needs.checkpoint_bytes:
        return _disk(check="checkpoint", verdict="pass", found=found, needed=needed)
    if facts.unreadable:
        fix = "let this user read them (chmod a+r), or run as the one who may"
        found = f"{facts.unreadable} files of weights in {facts.folder} cannot be read by this user"
        return _disk(check="checkpoint", verdict="fail", found=found, needed=needed, fix=fix)
    fix = "copy or download the checkpoint again, or name its folder with --model-path"
    return _disk(check="checkpoint", verdict="fail", found=found, needed=needed, fix=fix)


def _room(facts: DiskFacts, needs: Needs | None, place: Place) -> Finding:
    missing = 0.0
    if needs is not None and not place.arrived:
        missing = max(0.0, needs.checkpoint_bytes - facts.present_bytes)
    if not facts.total_bytes:
        return _disk(check="space", verdict="skipped", found=f"{facts.file_system} under {facts.folder} has no size")
    left = facts.free_bytes - missing
    share = left / facts.total_bytes
    found = f"{gib(facts.free_bytes)} of {gib(facts.total_bytes)} free on {facts.file_system} under {facts.folder}"
    found += "" if facts.exists else ", which is not there yet"
    figures = {"free_bytes": facts.free_bytes, "total_bytes": facts.total_bytes}
    needed = f"{gib(missing)} for the checkpoint, and {FREE_DISK_FRACTION:.0%} left free after it"
    if not missing:
        needed = f"{FREE_DISK_FRACTION:.0%} free"
    if left < 0:
        fix = "make room, or name a larger disk with --model-path (HF_HOME for downloads)"
        return _disk(check="space", verdict="fail", found=found, needed=needed, fix=fix, figures=figures)
    if share < FREE_DISK_FRACTION:
        fix = "make room: logs, compiled kernels and the next checkpoint need it"
        return _disk(check="space", verdict="warn", found=found, needed=needed, fix=fix, figures=figures)
    return _disk(check="space", verdict="pass", found=found, needed=needed, figures=figures)


def _writing(facts: DiskFacts) -> Finding:
    if facts.writable and not facts.read_only:
        return _disk(check="writing", verdict="pass", found=f"{facts.folder} can be written to")
    found = f"{facts.folder} {'is read-only' if facts.read_only else 'cannot be written to by this user'}"
    fix = "download elsewhere (HF_HOME) or name a folder that holds the checkpoint (--model-path)"
    return _disk(check="writing", verdict="fail", found=found, needed="room for the download", fix=fix)


def _rate(facts: DiskFacts, needs: Needs | None) -> Finding:
    rate = facts.rate
    if rate is None:
        return _disk(check="read rate", verdict="skipped", found=f"not measured: {facts.not_measured}")
    what = "a file of the checkpoint" if rate.existing else "a temporary file"
    found = f"{rate.bytes_per_s / 1e9:.2f} GB/s in one stream over {rate.bytes / 2**20:.0f} MiB of {what}"
    found += f", {WAYS[rate.way]}"
    figures = {"read_bytes_per_s": rate.bytes_per_s}
    if needs is None:
        return _disk(check="read rate", verdict="pass", found=found, figures=figures)
    reading = needs.checkpoint_bytes / rate.bytes_per_s
    start, slowest = reading + needs.start_beside_reading_s, needs.slowest_start_s
    figures |= {"read_s": reading, "start_s": start}
    found += f"; reading the checkpoint takes {reading:,.0f} s, a start {start:,.0f} s"
    needed = f"a start within {slowest:,.0f} s, the slowest predicted; after {needs.patience_s:,.0f} s jobs give up"
    fix = "copy the checkpoint to a local disk first, or raise the patience of probes and jobs (SIZEWELL_READY_S)"
    if start > needs.patience_s:
        return _disk(check="read rate", verdict="fail", found=found, needed=needed, fix=fix, figures=figures)
    if start > slowest:
        return _disk(check="read rate", verdict="warn", found=found, needed=needed, fix=fix, figures=figures)
    return _disk(check="read rate", verdict="pass", found=found, needed=needed, figures=figures)
