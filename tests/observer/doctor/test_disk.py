"""Room, completeness and read rate of the place of the weights, on real files and on captured facts."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from doctor_nodes import NOWHERE, needs
from sizewell.observer.doctor import disk_facts
from sizewell.observer.doctor.disk import judge_disk
from sizewell.observer.doctor.disk_facts import CHUNK_BYTES, DiskFacts, ReadRate, read_disk, read_rate
from sizewell.observer.doctor.findings import GIB, Finding
from sizewell.observer.doctor.needs import Needs, Place

R1 = needs()
ARRIVED = Place(model=Path("/models/r1"), arrived=True)
COMING = replace(ARRIVED, arrived=False)
NVME = ReadRate(bytes_per_s=6e9, bytes=2**30, seconds=0.18, way="direct", existing=True)
FAST = DiskFacts(
    folder=Path("/models/r1"), exists=True, file_system="xfs", total_bytes=7000 * GIB, free_bytes=3000 * GIB,
    read_only=False, writable=True, present_bytes=R1.checkpoint_bytes, rate=NVME,
)  # fmt: skip


def judged(facts: DiskFacts, wanted: Needs | None = R1, place: Place = ARRIVED) -> dict[str, Finding]:
    return {finding.check: finding for finding in judge_disk(facts, wanted, place)}


def test_a_fast_disk_with_the_checkpoint_passes_and_says_how_long_a_start_takes() -> None:
    found = judged(FAST)
    assert {finding.verdict for finding in found.values()} == {"pass"}
    rate = found["read rate"]
    assert rate.figures["read_s"] == pytest.approx(R1.checkpoint_bytes / 6e9)
    beside = R1.materials.loads[0].copy_s + R1.materials.loads[0].start_s
    assert rate.figures["start_s"] == pytest.approx(R1.checkpoint_bytes / 6e9 + beside)
    assert "past the page cache" in rate.found


@pytest.mark.parametrize(
    ("changed", "place", "check", "verdict"),
    [
        (replace(FAST, present_bytes=0.5 * R1.checkpoint_bytes), ARRIVED, "checkpoint", "fail"),
        (replace(FAST, present_bytes=0.0, unreadable=163), ARRIVED, "checkpoint", "fail"),
        (replace(FAST, total_bytes=0.0, free_bytes=0.0), ARRIVED, "space", "skipped"),
        (replace(FAST, free_bytes=1300 * GIB), ARRIVED, "space", "warn"),
        (replace(FAST, free_bytes=1401 * GIB), ARRIVED, "space", "pass"),
        (replace(FAST, present_bytes=0.0, free_bytes=640 * GIB), COMING, "space", "fail"),
        (replace(FAST, present_bytes=0.0, free_bytes=2000 * GIB), COMING, "space", "warn"),
        (replace(FAST, present_bytes=0.0, free_bytes=2042 * GIB), COMING, "space", "pass"),
        (replace(FAST, present_bytes=0.0, writable=False), COMING, "writing", "fail"),
        (replace(FAST, present_bytes=0.0, read_only=True), COMING, "writing", "fail"),
        (replace(FAST, rate=replace(NVME, bytes_per_s=400e6)), ARRIVED, "read rate", "warn"),
        (replace(FAST, rate=replace(NVME, bytes_per_s=50e6)), ARRIVED, "read rate", "fail"),
        (replace(FAST, rate=None, not_measured="it is asleep"), ARRIVED, "read rate", "skipped"),
    ],
)
def test_what_is_short_is_told_with_a_cure(changed: DiskFacts, place: Place, check: str, verdict: str) -> None:
    finding = judged(changed, place=place)[check]
    assert finding.verdict == verdict
    assert bool(finding.fix) == (verdict in ("warn", "fail"))


def test_a_read_only_disk_that_holds_the_checkpoint_is_fine() -> None:
    assert {each.verdict for each in judged(replace(FAST, read_only=True, writable=False)).values()} == {"pass"}


def test_what_only_memory_gave_is_said() -> None:
    assert "could not be measured" in judged(replace(FAST, rate=replace(NVME, way="cached")), None)["read rate"].found
    assert "may still" in judged(replace(FAST, rate=replace(NVME, way="dropped")), None)["read rate"].found


def test_the_largest_weights_are_read_and_all_are_counted(tmp_path: Path) -> None:
    for number, size in enumerate((CHUNK_BYTES * 3 + 5, 1000)):
        (tmp_path / f"model-{number}.safetensors").write_bytes(bytes(size))
    (tmp_path / "README.md").write_text("not weights")
    facts = read_disk(tmp_path)
    assert facts.present_bytes == CHUNK_BYTES * 3 + 1005
    assert facts.rate is not None
    assert (facts.rate.bytes, facts.rate.existing) == (CHUNK_BYTES * 3 + 5, True)
    assert facts.rate.bytes_per_s == pytest.approx(facts.rate.bytes / facts.rate.seconds)
    assert read_disk(tmp_path / "model-1.safetensors", measure=False).present_bytes == 1000


def test_a_folder_that_is_not_there_is_measured_by_the_one_above_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_facts, "WRITTEN_BYTES", 2 * CHUNK_BYTES)
    facts = read_disk(tmp_path / "hub" / "models")
    assert not facts.exists
    assert facts.rate is not None
    assert (facts.rate.bytes, facts.rate.existing) == (2 * CHUNK_BYTES, False)
    assert os.listdir(tmp_path) == []


def test_ctrl_c_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(disk_facts, "_fill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_disk(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_facts, "WRITTEN_BYTES", 2**60)
    facts = read_disk(tmp_path)
    assert (facts.rate, facts.not_measured) == (None, "too little room for a temporary file")


def test_an_error_while_reading_is_a_reason_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(disk_facts, "_fill", broken)
    assert read_disk(tmp_path).not_measured == "Input/output error"


def test_where_direct_reads_are_refused_the_cache_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(bytes(CHUNK_BYTES))
    real = os.open

    def refusing(path: object, flags: int, *more: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    assert read_rate(file, existing=True).way == "dropped"
    assert read_rate(file, existing=True, in_memory=True).way == "cached"


def test_reading_is_bounded_in_time_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.bin"
    with file.open("wb") as stream:
        stream.truncate(10 * CHUNK_BYTES)
    monkeypatch.setattr(disk_facts, "MOST_BYTES", 3 * CHUNK_BYTES)
    assert read_rate(file, existing=True).bytes == 3 * CHUNK_BYTES
    monkeypatch.setattr(disk_facts, "MOST_SECONDS", 0.0)
    assert read_rate(file, existing=True).bytes <= CHUNK_BYTES


def test_the_nearest_mount_names_the_file_system(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\nproc /proc proc rw 0 0\n")
    assert read_disk(tmp_path / "a", measure=False, mounts=mounts).file_system == "nfs4"
    assert read_disk(tmp_path, measure=False, mounts=tmp_path / "none").file_system == "unknown"


def test_the_place_of_nothing_yet_needs_no_checkpoint() -> None:
    assert "checkpoint" not in judged(FAST, place=NOWHERE)
