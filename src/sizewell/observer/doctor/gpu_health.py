"""Judges the health of NVIDIA's boards: memory errors, throttling, power caps, PCIe lanes, the NVSwitch fabric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sizewell.observer.doctor.findings import Finding
from sizewell.observer.doctor.gpu_facts import GpuFacts, GpuState

_gpu = partial(Finding, subject="gpu")
CAPPED = 0.98
"""A limit below this share of the board's default is a cap somebody set."""


def judge_health(facts: GpuFacts) -> Iterator[Finding]:
    """Yield one finding for each part of a board's health; nothing where no driver tells."""
    if facts.vendor != "nvidia" or not facts.gpus:
        return
    yield _errors(facts.gpus)
    yield _throttling(facts.gpus)
    yield _power(facts.gpus)
    yield _lanes(facts.gpus)
    yield from _fabric(facts.gpus)


def _errors(gpus: Sequence[GpuState]) -> Finding:
    broken = [gpu for gpu in gpus if gpu.repair_failed]
    if broken:
        found = f"GPU {_numbers(broken)} has no spare memory rows left"
        return _gpu(check="ecc", verdict="fail", found=found, needed="sound memory", fix="have the board replaced")
    wrong = [gpu for gpu in gpus if gpu.uncorrected]
    if wrong:
        each = ", ".join(f"GPU {gpu.index}: {gpu.uncorrected}" for gpu in wrong)
        fix = "reset the board (nvidia-smi -r, as root) or reboot; if they come back, have it replaced"
        return _gpu(check="ecc", verdict="fail", found=f"memory errors not corrected: {each}", needed="none", fix=fix)
    pending = [gpu for gpu in gpus if gpu.repair_pending]
    if pending:
        found = f"GPU {_numbers(pending)} waits for a reset to repair its memory"
        return _gpu(check="ecc", verdict="warn", found=found, needed="none", fix="nvidia-smi -r, as root, or reboot")
    if all(gpu.uncorrected is None for gpu in gpus):
        off = any(gpu.ecc is False for gpu in gpus)
        return _gpu(
            check="ecc", verdict="skipped", found="ECC is off" if off else "these boards count no memory errors"
        )
    return _gpu(check="ecc", verdict="pass", found="no memory errors since the driver was loaded")


def _throttling(gpus: Sequence[GpuState]) -> Finding:
    slow = [gpu for gpu in gpus if gpu.throttled_by]
    if not slow:
        return _gpu(check="throttling", verdict="pass", found="no clock is held down now")
    each = "; ".join(f"GPU {gpu.index} by {' and '.join(gpu.throttled_by)}" for gpu in slow)
    fix = "look at cooling and power (nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER) before measuring anything"
    return _gpu(check="throttling", verdict="warn", found=f"clocks held down: {each}", needed="full clocks", fix=fix)


def _power(gpus: Sequence[GpuState]) -> Finding:
    known = [(gpu, gpu.power_limit_w, gpu.power_default_w) for gpu in gpus]
    told = [(gpu, limit, usual) for gpu, limit, usual in known if limit and usual]
    if not told:
        return _gpu(check="power", verdict="skipped", found="the driver does not say the limit")
    capped = [(gpu, limit, usual) for gpu, limit, usual in told if limit < CAPPED * usual]
    if not capped:
        least = min(limit for _, limit, _ in told)
        return _gpu(
            check="power", verdict="pass", found=f"limit {least:.0f} W, the default", figures={"limit_w": least}
        )
    gpu, limit, usual = min(capped, key=lambda row: row[1] / row[2])
    found = f"{len(capped)} of {len(gpus)} capped, GPU {gpu.index} to {limit:.0f} W"
    return _gpu(
        check="power", verdict="warn", found=found, needed=f"{usual:.0f} W, as priced",
        fix=f"nvidia-smi -pl {usual:.0f}, as root, or expect less speed than planned", figures={"limit_w": limit},
    )  # fmt: skip


def _lanes(gpus: Sequence[GpuState]) -> Finding:
    told = [(gpu, gpu.lanes, gpu.most_lanes) for gpu in gpus if gpu.lanes and gpu.most_lanes]
    narrow = [(gpu, lanes, most) for gpu, lanes, most in told if (lanes or 0) < (most or 0)]
    if not told:
        return _gpu(check="pcie", verdict="skipped", found="the driver does not say the lanes")
    if not narrow:
        return _gpu(check="pcie", verdict="pass", found=f"all lanes in use (x{told[0][1]})")
    each = ", ".join(f"GPU {gpu.index} x{lanes} of x{most}" for gpu, lanes, most in narrow)
    fix = "reseat the board or use another slot; a cloud's virtual machine may be cut this way for good"
    return _gpu(check="pcie", verdict="warn", found=each, needed="all lanes", fix=fix)


def _fabric(gpus: Sequence[GpuState]) -> Iterator[Finding]:
    told = [gpu for gpu in gpus if gpu.fabric]
    waiting = [gpu for gpu in told if gpu.fabric != "Completed"]
    if waiting:
        found = f"GPU {_numbers(waiting)}: {waiting[0].fabric}"
        fix = "systemctl start nvidia-fabricmanager, of the driver's own version: without it CUDA does not start"
        yield _gpu(check="nvswitch", verdict="fail", found=found, needed="a fabric set up (Completed)", fix=fix)
    elif told:
        yield _gpu(check="nvswitch", verdict="pass", found="the fabric is set up")


def _numbers(gpus: Sequence[GpuState]) -> str:
    return ", ".join(str(gpu.index) for gpu in gpus)
