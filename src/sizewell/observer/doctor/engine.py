"""Judges the engine: can it be imported, is it the planned release, does it know the flags, does it see the GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sizewell.observer.doctor.engine_facts import PROGRAMS, EngineFacts
from sizewell.observer.doctor.findings import Finding
from sizewell.observer.doctor.needs import Needs
from sizewell.specs.release import release_numbers

_engine = partial(Finding, subject="engine")
PACKAGES = {"vllm": "pip install vllm=={}", "sglang": "pip install 'sglang[all]=={}'", "llama.cpp": "build release {}"}


def judge_engines(found: Sequence[EngineFacts], needs: Needs | None) -> Iterator[Finding]:
    """Yield what the engines are fit for; with a plan, its own alone."""
    if needs is None:
        here = [facts for facts in found if facts.place is not None]
        if not here:
            names = ", ".join(PROGRAMS.values())
            yield _engine(check="importable", verdict="skipped", found=f"none of {names} is installed here")
        yield from (_importable(facts) for facts in here)
        return
    (facts,) = found
    wanted = needs.deployment.engine
    if facts.place is None:
        fix = f"{PACKAGES[wanted.name].format(wanted.version)}, or run doctor inside the container that serves"
        needed = f"{wanted.name} {wanted.version}"
        said = f"no {PROGRAMS[wanted.name]} on PATH"
        yield _engine(check="importable", verdict="fail", found=said, needed=needed, fix=fix)
        return
    yield _importable(facts)
    if facts.version is not None and not facts.problem:
        yield _version(facts, needs)
        yield _flags(facts, needs)
        yield from _devices(facts, needs)


def _importable(facts: EngineFacts) -> Finding:
    if facts.problem:
        fix = "install it anew in an environment of its own; the first line of its error says what is missing"
        found = f"{facts.name} in {facts.place}: {facts.problem}"
        return _engine(check="importable", verdict="fail", found=found, needed="an import", fix=fix)
    torch = f", torch {facts.torch}" if facts.torch else ""
    cuda = f" for CUDA {facts.cuda}" if facts.cuda else ""
    found = f"{facts.name} {facts.version}{torch}{cuda} in {facts.place}"
    figures = {"import_s": facts.seconds} if facts.seconds else {}
    return _engine(check="importable", verdict="pass", found=found, figures=figures)


def _release(version: str) -> tuple[int, ...]:
    return release_numbers(version.partition("+")[0], 2)


def _version(facts: EngineFacts, needs: Needs) -> Finding:
    wanted = needs.deployment.engine.version
    found = f"{facts.name} {facts.version}"
    if _release(facts.version or "") == _release(wanted):
        return _engine(check="version", verdict="pass", found=found, needed=wanted)
    fix = f"{PACKAGES[facts.name].format(wanted)}, or plan for {facts.name}@{_plain(facts.version or '')}"
    needed = f"{wanted}, whose memory rules were priced"
    return _engine(check="version", verdict="warn", found=found, needed=needed, fix=fix)


def _plain(version: str) -> str:
    return ".".join(map(str, _release(version))) if not version.startswith("b") else version


def _flags(facts: EngineFacts, needs: Needs) -> Finding:
    unknown = needs.unknown_flags(facts.version or "")
    if unknown is None:
        return _engine(
            check="flags", verdict="skipped", found=f"the flags of {facts.version} or the plan's are not known"
        )
    if not unknown:
        return _engine(check="flags", verdict="pass", found="it knows every flag the plan is rendered with")
    fix = f"render for what is installed: --engine {facts.name}@{_plain(facts.version or '')}"
    return _engine(
        check="flags", verdict="fail", found=f"it does not know {', '.join(unknown)}",
        needed="every flag the plan is rendered with", fix=fix,
    )  # fmt: skip


def _devices(facts: EngineFacts, needs: Needs) -> Iterator[Finding]:
    """Yield whether its PyTorch sees the accelerators, where it is to use some."""
    if needs.cluster.gpu.vendor not in ("nvidia", "amd") or facts.gpus is None:
        return
    found = f"its PyTorch sees {facts.gpus} accelerators"
    if facts.gpus >= needs.gpus:
        yield _engine(check="devices", verdict="pass", found=found, needed=str(needs.gpus))
        return
    fix = "install the build for these accelerators; a driver too old for its CUDA hides them too"
    yield _engine(check="devices", verdict="fail", found=found, needed=str(needs.gpus), fix=fix)
