"""Judges the accelerators: are they there, driven, of the right kind, and free."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from sizewell.observer.doctor.findings import GIB, Finding, gib
from sizewell.observer.doctor.gpu_facts import GpuFacts, GpuState
from sizewell.observer.doctor.needs import Known, Needs

_gpu = partial(Finding, subject="gpu")
LESS_MEMORY = 0.02
"""Boards of one kind differ by less than this share in the memory their drivers report."""
CURES = (
    ("version mismatch", "reboot, or reload the kernel's modules: they and the libraries are of different releases"),
    ("does not answer", "look for Xid errors in dmesg, drain the node and reboot it: the driver is stuck"),
    ("couldn't communicate", "load the driver (modprobe nvidia); after a kernel update build its module again"),
    ("no devices were found", "look for NVRM in dmesg; in a container start it with the accelerators (--gpus all)"),
    ("is lost", "power-cycle the node: the board fell off the bus"),
    ("unable to determine the device handle", "power-cycle the node: the board fell off the bus"),
    ("insufficient permissions", "join the group that owns the device files (video or render)"),
    ("permission", "join the group that owns the device files (video or render)"),
)
"""Words of a complaint → what to do about it."""


def judge_gpus(facts: GpuFacts, needs: Needs | None, known: Known, engine_cuda: str | None) -> Iterator[Finding]:
    """Yield what the accelerators are fit for; `engine_cuda` is what the installed engine is built for."""
    if needs is not None and needs.cluster.gpu.kind == "cpu":
        yield _gpu(check="present", verdict="skipped", found="the plan runs on the processor")
        return
    if facts.trouble:
        yield _trouble(facts)
    if not facts.gpus:
        if not facts.trouble:
            yield _none(facts, needs)
        return
    seen, unseen = _visible(facts)
    yield _count(seen, unseen, facts, needs)
    if facts.vendor == "nvidia":
        yield judge_driver(facts, needs, known, engine_cuda)
    taken = _taken(seen, needs)
    yield from _kinds(taken, needs, known)
    yield _free(taken, needs, seen[len(taken) :])
    yield from _sliced(taken, needs)


def in_use(facts: GpuFacts, needs: Needs | None) -> GpuFacts:
    """Return the facts of those accelerators alone that an engine started here takes."""
    return replace(facts, gpus=_taken(_visible(facts)[0], needs))


def _taken(seen: Sequence[GpuState], needs: Needs | None) -> tuple[GpuState, ...]:
    """An engine takes the first it sees, as many as the plan has: what the others are like does not matter to it."""
    return tuple(seen[: needs.gpus] if needs else seen)


def _trouble(facts: GpuFacts) -> Finding:
    said = facts.trouble
    cure = next((cure for words, cure in CURES if words in said.lower()), "run the driver's tool by hand, read dmesg")
    check = "boards" if facts.gpus else "driver"
    return _gpu(check=check, verdict="fail", found=said, needed="a driver that answers", fix=cure)


def _none(facts: GpuFacts, needs: Needs | None) -> Finding:
    if facts.on_bus:
        makers = " and ".join(dict.fromkeys(facts.on_bus))
        tool = "nvidia-smi" if "nvidia" in facts.on_bus else "rocm-smi or amd-smi"
        fix = f"install {tool.partition(' ')[0].removesuffix('-smi')}'s driver, or make {tool} visible here"
        found = f"{len(facts.on_bus)} boards of {makers} on the bus, and no {tool}"
        return _gpu(check="present", verdict="fail" if needs else "warn", found=found, needed="a driver", fix=fix)
    if needs is None:
        return _gpu(check="present", verdict="pass", found="no GPU in this machine")
    needed = f"{needs.gpus} × {needs.cluster.gpu.key}"
    fix = "run it on a node of the plan, or plan for a processor (sizewell catalog gpus cpu)"
    return _gpu(check="present", verdict="fail", found="no GPU in this machine", needed=needed, fix=fix)


def _visible(facts: GpuFacts) -> tuple[tuple[GpuState, ...], int]:
    """Return the accelerators the environment leaves, in its order, and how many it hides."""
    if facts.visible is None:
        return facts.gpus, 0
    seen: list[GpuState] = []
    for word in (part.strip() for part in facts.visible.split(",")):
        chosen = [gpu for gpu in facts.gpus if _means(word, gpu)]
        if not chosen:
            break  # the runtime stops at the first it does not know
        seen += [gpu for gpu in chosen if gpu not in seen]
    return tuple(seen), len(facts.gpus) - len(seen)


def _means(word: str, gpu: GpuState) -> bool:
    return word == str(gpu.index) or (word.startswith("GPU-") and gpu.uuid.startswith(word))


def _count(seen: Sequence[GpuState], unseen: int, facts: GpuFacts, needs: Needs | None) -> Finding:
    names = ", ".join(f"{sum(g.name == name for g in seen)} × {name}" for name in dict.fromkeys(g.name for g in seen))
    hidden = f"; {unseen} hidden by the environment ({facts.visible!r})" if unseen else ""
    found = f"{names or 'none visible'}{hidden}"
    needed = f"{needs.gpus} of a node" if needs else ""
    if len(seen) >= (needs.gpus if needs else 1):
        return _gpu(check="count", verdict="pass", found=found, needed=needed)
    fix = "unset CUDA_VISIBLE_DEVICES (HIP_VISIBLE_DEVICES), or ask the scheduler for more"
    fix = fix if unseen else "take another node, or plan again"
    if needs is None:
        return _gpu(check="count", verdict="warn", found=found, fix=fix)
    return _gpu(check="count", verdict="fail", found=found, needed=needed, fix=fix)


def judge_driver(facts: GpuFacts, needs: Needs | None, known: Known, engine_cuda: str | None) -> Finding:
    """Return whether the driver runs the CUDA an engine is built for: of its release, or of its major at least."""
    said = (facts.driver or "of a release it does not say") + (f", CUDA up to {facts.cuda}" if facts.cuda else "")
    wanted = engine_cuda or (needs.cuda if needs else None)
    here, there = _release(facts.cuda), _release(wanted)
    if here is None or there is None:
        return _gpu(check="driver", verdict="pass" if there is None else "skipped", found=said)
    needed = f"CUDA {wanted}, which {'the installed engine' if engine_cuda else 'the planned release'} is built for"
    if here >= there:
        return _gpu(check="driver", verdict="pass", found=said, needed=needed)
    least = known.drivers.get(there[0])
    if here[0] < there[0]:
        fix = f"install driver {least or 'of that CUDA'} or newer, or an engine built for CUDA {here[0]}"
        return _gpu(check="driver", verdict="fail", found=said, needed=needed, fix=fix)
    fix = "update the driver: an older one of the same major runs, but cannot compile kernels at run time"
    return _gpu(check="driver", verdict="warn", found=said, needed=needed, fix=fix)


def _release(text: str | None) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", text or "")
    return (int(found[1]), int(found[2])) if found else None


def _kinds(seen: Sequence[GpuState], needs: Needs | None, known: Known) -> Iterator[Finding]:
    kinds = {gpu.index: known.gpu(gpu.name, gpu.total_bytes / GIB if gpu.total_bytes else None) for gpu in seen}
    keys = list(dict.fromkeys(kind.key if kind else "unknown to the catalogue" for kind in kinds.values()))
    if needs is None:
        mixed = len(keys) > 1
        fix = "let an engine see boards of one kind only (CUDA_VISIBLE_DEVICES)" if mixed else ""
        yield _gpu(check="kind", verdict="warn" if mixed else "pass", found=", ".join(keys), fix=fix)
        return
    wanted = needs.cluster.gpu
    others = [gpu for gpu in seen if (kind := kinds[gpu.index]) is not None and kind.key != wanted.key]
    unknown = [gpu for gpu in seen if kinds[gpu.index] is None]
    least = wanted.total_bytes * (1 - LESS_MEMORY)
    small = [gpu for gpu in unknown if gpu.total_bytes is not None and gpu.total_bytes < least]
    if others or small:
        fix = "take a node of the plan, or plan again for what is here (sizewell plan … --gpu)"
        yield _gpu(check="kind", verdict="fail", found=", ".join(keys), needed=wanted.key, fix=fix)
    elif unknown:
        fix = "say so to the catalogue (docs/catalogue.md), so that it is told apart"
        found = f"GPU {_numbers(unknown)} ({unknown[0].name}) is unknown to the catalogue"
        yield _gpu(check="kind", verdict="warn", found=found, needed=wanted.key, fix=fix)
    else:
        yield _gpu(check="kind", verdict="pass", found=wanted.key)


def _free(seen: Sequence[GpuState], needs: Needs | None, others: Sequence[GpuState]) -> Finding:
    """Return whether each accelerator has what the engine takes at once when it starts, and who holds the rest."""
    telling = [gpu for gpu in seen if gpu.free_bytes is not None and gpu.total_bytes is not None]
    if not telling:
        return _gpu(check="memory", verdict="skipped", found="the driver does not say what is free")
    least = min(telling, key=lambda gpu: gpu.free_bytes or 0.0)
    found = f"at least {gib(least.free_bytes or 0)} of {gib(least.total_bytes or 0)} free"
    held = "; ".join(text for gpu in telling if (text := _holders(gpu)))
    found, figures = f"{found}; {held}" if held else found, {"free_bytes": least.free_bytes or 0.0}
    if needs is not None and (least.free_bytes or 0) < needs.gpu_bytes:
        fix = "end the processes that hold it, or choose a smaller memory fraction"
        idle = [gpu for gpu in (*telling, *others) if (gpu.free_bytes or 0) >= needs.gpu_bytes][: needs.gpus]
        if len(idle) == needs.gpus:
            fix = f"leave it to whom it serves: CUDA_VISIBLE_DEVICES={_numbers(idle).replace(' ', '')} has room"
        needed = f"{gib(needs.gpu_bytes)} free on each"
        return _gpu(check="memory", verdict="fail", found=found, needed=needed, fix=fix, figures=figures)
    fix = "end the processes that hold memory, unless they shall stay" if held else ""
    return _gpu(check="memory", verdict="warn" if held else "pass", found=found, fix=fix, figures=figures)


HELD_BYTES = 0.5 * GIB
"""What display and driver hold without anybody working."""


def _holders(gpu: GpuState) -> str:
    """Return who holds memory of an accelerator; empty where nobody to speak of does."""
    known = [(process, process.used_bytes or 0.0) for process in gpu.processes]
    large = [(process, used) for process, used in known if used > HELD_BYTES]
    if large:
        each = [f"{process.pid} ({process.name.rpartition('/')[2]}) {gib(used)}" for process, used in large]
        return f"GPU {gpu.index} is held by {', '.join(each)}"
    taken = (gpu.total_bytes or 0) - (gpu.free_bytes or 0)
    if taken > HELD_BYTES + LESS_MEMORY * (gpu.total_bytes or 0):
        who = ", ".join(str(process.pid) for process in gpu.processes) or "nobody seen from here (a container, a user)"
        return f"GPU {gpu.index}: {gib(taken)} are held by {who}"
    return ""


def _sliced(seen: Sequence[GpuState], needs: Needs | None) -> Iterator[Finding]:
    sliced = [gpu for gpu in seen if gpu.mig]
    if sliced:
        yield _gpu(
            check="mig", verdict="fail" if needs else "warn", found=f"GPU {_numbers(sliced)} is cut into MIG slices",
            needed="whole accelerators, as priced", fix="nvidia-smi -mig 0, with nothing running, as root",
        )  # fmt: skip
    closed = [gpu for gpu in seen if gpu.compute_mode not in ("Default", "Exclusive_Process")]
    if closed:
        yield _gpu(
            check="compute mode", verdict="fail", found=f"GPU {_numbers(closed)} is set to {closed[0].compute_mode}",
            needed="Default", fix="nvidia-smi -c DEFAULT, as root",
        )  # fmt: skip


def _numbers(gpus: Sequence[GpuState]) -> str:
    return ", ".join(str(gpu.index) for gpu in gpus)
