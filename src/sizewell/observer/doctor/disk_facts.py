"""What lies where the weights shall be, and how fast it is read: a few seconds, past the page cache where possible."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CHUNK_BYTES = 8 * 2**20
MOST_SECONDS = 3.0
MOST_BYTES = 2**30
WRITTEN_BYTES = 256 * 2**20
SPARED_FRACTION = 0.05
"""A disk with less than this share free gets no temporary file."""
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
IN_MEMORY = ("tmpfs", "ramfs")
Way = Literal["direct", "dropped", "cached"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRate:
    """One stream's sequential read.

    `direct` went past the page cache, `dropped` after the kernel was asked to forget the file, `cached` is memory's.
    """

    bytes_per_s: float
    bytes: int
    seconds: float
    way: Way
    existing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    """The file system under a folder, which need not exist yet; `present_bytes` of weights lie in it.

    `unreadable` files of weights are there for other users only.
    """

    folder: Path
    exists: bool
    file_system: str
    total_bytes: float
    free_bytes: float
    read_only: bool
    writable: bool
    present_bytes: float = 0.0
    unreadable: int = 0
    rate: ReadRate | None = None
    not_measured: str = ""


def read_disk(model: Path, *, measure: bool = True, mounts: Path = Path("/proc/mounts")) -> DiskFacts:
    """Return what there is of a checkpoint's folder or file, and read the largest file of it, or one of our own."""
    folder = model.parent if model.is_file() or model.suffix in WEIGHTS else model
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    all_files = _weights(model)
    files = [file for file in all_files if os.access(file, os.R_OK)]
    space = os.statvfs(there)
    kind = _file_system(there, mounts)
    rate, why = (None, "asked not to")
    free = float(space.f_bavail * space.f_frsize)
    if measure:
        spare = free - SPARED_FRACTION * space.f_blocks * space.f_frsize
        rate, why = _measured(there, files, spare, in_memory=kind in IN_MEMORY)
    return DiskFacts(
        folder=folder,
        exists=there == folder,
        file_system=kind,
        total_bytes=float(space.f_blocks * space.f_frsize),
        free_bytes=free,
        read_only=bool(space.f_flag & os.ST_RDONLY),
        writable=os.access(there, os.W_OK),
        present_bytes=float(sum(file.stat().st_size for file in files)),
        unreadable=len(all_files) - len(files),
        rate=rate,
        not_measured=why,
    )


def _weights(model: Path) -> list[Path]:
    """Return the files of a checkpoint, links of the hub's cache followed; of several formats the one engines load."""
    if model.is_file():
        return [model]
    found = [file for file in sorted(model.glob("*")) if file.suffix in WEIGHTS and file.is_file()]
    safe = [file for file in found if file.suffix == WEIGHTS[0]]
    return safe or found


def _file_system(folder: Path, mounts: Path) -> str:
    """Return the type of the file system a folder lies on: that of the longest mount above it."""
    best, kind = -1, "unknown"
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return kind
    for _, place, name, *_ in (line.split() for line in lines if len(line.split()) > 2):
        mount = Path(place.replace("\\040", " "))
        if len(mount.parts) > best and folder.resolve().is_relative_to(mount):
            best, kind = len(mount.parts), name
    return kind


def _measured(there: Path, files: list[Path], spare: float, *, in_memory: bool) -> tuple[ReadRate | None, str]:
    largest = max(files, key=lambda file: file.stat().st_size, default=None)
    try:
        if largest is not None and largest.stat().st_size >= CHUNK_BYTES:
            return read_rate(largest, existing=True, in_memory=in_memory), ""
        if not os.access(there, os.W_OK):
            return None, "the folder holds no large file and cannot be written to"
        if spare < WRITTEN_BYTES:
            return None, "too little room for a temporary file"
        with tempfile.NamedTemporaryFile(dir=there, prefix=".sizewell-doctor-") as made:
            _fill(made.fileno())
            return read_rate(Path(made.name), existing=False, in_memory=in_memory), ""
    except OSError as error:
        return None, error.strerror or str(error)


def _fill(descriptor: int) -> None:
    """Write what no file system can compress, as far as a few seconds go, and see it to the disk."""
    chunk, end = os.urandom(CHUNK_BYTES), time.perf_counter() + MOST_SECONDS
    for _ in range(WRITTEN_BYTES // CHUNK_BYTES):
        os.write(descriptor, chunk)
        os.fsync(descriptor)
        if time.perf_counter() > end:
            return


def read_rate(file: Path, *, existing: bool, in_memory: bool = False) -> ReadRate:
    """Return how fast a file is read from its start, bounded in bytes and seconds; raises OSError."""
    descriptor, way = _opened(file)
    began, done = time.perf_counter(), 0
    try:
        with mmap.mmap(-1, CHUNK_BYTES) as buffer:  # O_DIRECT wants memory that begins on a page
            while done < MOST_BYTES and time.perf_counter() - began < MOST_SECONDS:
                read = os.preadv(descriptor, [buffer], done)
                done += read
                if read < CHUNK_BYTES:
                    break
    finally:
        os.close(descriptor)
    seconds = max(time.perf_counter() - began, 1e-9)
    return ReadRate(
        bytes_per_s=done / seconds, bytes=done, seconds=seconds, way="cached" if in_memory else way, existing=existing
    )


def _opened(file: Path) -> tuple[int, Way]:
    """Open a file past the page cache; where that is refused, ask the kernel to forget it, else say so."""
    if hasattr(os, "O_DIRECT"):
        with contextlib.suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY | os.O_DIRECT)
            try:
                with mmap.mmap(-1, CHUNK_BYTES) as buffer:
                    os.preadv(descriptor, [buffer], 0)
                return descriptor, "direct"
            except OSError as error:
                os.close(descriptor)
                if error.errno != errno.EINVAL:
                    raise
    descriptor = os.open(file, os.O_RDONLY)
    if not hasattr(os, "posix_fadvise"):
        return descriptor, "cached"
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return descriptor, "dropped"
