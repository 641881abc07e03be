"""What is kept comes back as it was, from any number of processes, through every shape the file ever had."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sizewell.records import migrations
from sizewell.records.run_columns import packed_run, unpacked_run
from sizewell.records.store import FILE, Records, usual_folder
from sizewell.simulator.facts import Disaggregated, Fleet, ReplicaFacts
from sizewell.simulator.simulate import Options, simulate
from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import HANDOVER_COLUMNS, RUN_COLUMNS, Run, Timeline
from sizewell.traffic.score import score
from surfaces import flat_surface

STEPS = {1: "3eee", 2: "504b"}
"""The beginning of the digest of each released step: a changed one fails here, a new one is added."""


@pytest.fixture(scope="module")
def run() -> Run:
    """A run some of whose requests were not served."""
    facts = ReplicaFacts(surface=flat_surface(0.01), blocks=65, max_num_seqs=4)
    requests = Requests.of(np.arange(20) * 0.05, 30, 10, np.arange(20) % 3)
    return simulate(facts, requests, Options(compiled=False, horizon_s=0.8))


def test_a_run_comes_back_as_it_was(tmp_path: Path, run: Run) -> None:
    records = Records(tmp_path / "new" / "folder")
    number = records.keep_run(run, "a 'name'; DROP TABLE runs", {"gpu": "h100"}, {"users": 3})
    entry, found = records.run(number)
    for name in RUN_COLUMNS:
        np.testing.assert_array_equal(getattr(found, name), getattr(run, name))
    assert run.timeline is not None and found.timeline is not None
    for field in fields(Timeline):
        np.testing.assert_array_equal(getattr(found.timeline, field.name), getattr(run.timeline, field.name))
    assert score(found) == score(run)
    assert (entry.name, entry.origin, entry.requests) == ("a 'name'; DROP TABLE runs", "simulated", 20)
    assert (entry.deployment, entry.workload, entry.plan) == ({"gpu": "h100"}, {"users": 3}, None)
    assert records.runs() == (entry,)


def test_of_two_pools_both_come_back(tmp_path: Path) -> None:
    fleet = Fleet(replica=ReplicaFacts(surface=flat_surface(0.01), blocks=65, max_num_seqs=4))
    run = simulate(Disaggregated(prefill=fleet, decode=fleet), Requests.of(np.arange(3) * 0.05, 30, 10))
    found = unpacked_run(packed_run(run), "simulated")
    assert run.handovers is not None and found.handovers is not None
    for name in HANDOVER_COLUMNS:
        np.testing.assert_array_equal(getattr(found.handovers, name), getattr(run.handovers, name))
    for field in fields(Timeline):
        kept = (getattr(each.handovers.timeline, field.name) for each in (found, run) if each.handovers)
        np.testing.assert_array_equal(*kept)


def test_plans_and_calibrations_are_kept(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for kind in ("plans", "calibrations"):
        assert records.keep(kind, "first", {"a": [1, 2.5, None]}) == 1
        records.keep(kind, "second", {})
        assert [entry.name for entry in records.kept(kind)] == ["first", "second"]
        assert records.kept(kind)[0].document == {"a": [1, 2.5, None]}


def test_reading_makes_nothing(tmp_path: Path) -> None:
    records = Records(tmp_path / "absent")
    assert records.runs() == () and records.kept("plans") == ()
    with pytest.raises(BadInputError, match="no run 7"):
        records.run(7)
    assert not (tmp_path / "absent").exists()


def test_a_file_of_any_earlier_step_is_brought_up_to_date(tmp_path: Path, run: Run) -> None:
    for step in range(len(migrations.MIGRATIONS) + 1):
        folder = tmp_path / str(step)
        folder.mkdir()
        with sqlite3.connect(folder / FILE) as database:
            for statement in migrations.MIGRATIONS[:step]:
                database.executescript(statement)
            database.execute(f"PRAGMA user_version = {step}")
        database.close()
        assert Records(folder).keep_run(run, "x", {}, {}) == 1


def test_a_step_once_released_stays_as_it_is() -> None:
    digests = {n: sha256(step.encode()).hexdigest()[:4] for n, step in enumerate(migrations.MIGRATIONS, start=1)}
    assert digests == STEPS


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Records(tmp_path).keep("plans", "kept", {})
    monkeypatch.setattr(
        migrations, "MIGRATIONS", (*migrations.MIGRATIONS, "CREATE TABLE more (a); CREATE TABLE more (b)")
    )
    with pytest.raises(BadInputError, match="already exists"):
        Records(tmp_path).kept("plans")
    monkeypatch.undo()
    assert [entry.name for entry in Records(tmp_path).kept("plans")] == ["kept"]


def test_a_file_of_a_newer_sizewell_is_left_alone(tmp_path: Path) -> None:
    Records(tmp_path).keep("plans", "x", {})
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(BadInputError, match="newer sizewell"):
        Records(tmp_path).keep("plans", "y", {})


def test_many_processes_write_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sizewell.records.store import Records\n"
        "for n in range(25): Records(Path(sys.argv[1])).keep('plans', f'{sys.argv[2]}-{n}', {'n': n})"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "new"), str(each)]) for each in range(6)]
    assert [worker.wait(120) for worker in workers] == [0] * 6
    kept = Records(tmp_path / "new").kept("plans")
    assert sorted(entry.name for entry in kept) == sorted(f"{each}-{n}" for each in range(6) for n in range(25))
    assert [entry.id for entry in kept] == list(range(1, 151))


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from sizewell.records.store import Records\n"
        "r = Records(Path(sys.argv[1])); r.keep('plans', 'kept', {})\n"
        "with r._opened() as database:\n"
        "    database.execute('BEGIN IMMEDIATE')\n"
        "    database.execute(\"INSERT INTO plans (made_at, name, document) VALUES ('', 'torn', '{}')\")\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert [entry.name for entry in Records(tmp_path).kept("plans")] == ["kept"]


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null/x"])
def test_a_place_that_cannot_be_written_is_one_line(folder: str, run: Run) -> None:
    with pytest.raises(BadInputError, match="SIZEWELL_HOME") as refused:
        Records(Path(folder)).keep_run(run, "x", {}, {})
    assert folder in str(refused.value)


def test_a_read_only_file_can_be_read_and_not_written() -> None:
    code = (
        "import os, sys; from pathlib import Path; from sizewell.records.store import Records\n"
        "os.getuid() == 0 and os.setuid(65534)\n"
        "r = Records(Path(sys.argv[1])); print(len(r.kept('plans'))); r.keep('plans', 'y', {})"
    )
    # Not below pytest's own folder: each session closes that one to other users, and root may write anything.
    with TemporaryDirectory() as name:
        folder = Path(name)
        Records(folder).keep("plans", "x", {})
        (folder / FILE).chmod(0o444)
        folder.chmod(0o555)
        done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False)
        folder.chmod(0o755)
    assert done.stdout == "1\n", done.stderr
    assert "BadInputError" in done.stderr and "readonly database" in done.stderr


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database at all" * 100)
    with pytest.raises(BadInputError, match="not a database"):
        Records(tmp_path).runs()


def test_damaged_columns_are_said(tmp_path: Path, run: Run) -> None:
    records = Records(tmp_path)
    records.keep_run(run, "x", {}, {})
    for data in (b"", b"PK\x03\x04", b"\x80\x04cos\nsystem\n"):
        with sqlite3.connect(tmp_path / FILE) as database:
            database.execute("UPDATE runs SET columns = ?", (data,))
        database.close()
        with pytest.raises(BadInputError, match="damaged"):
            records.run(1)


@given(place=st.floats(0, 1, exclude_max=True), flipped=st.integers(1, 255))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_byte_that_is_another_is_read_or_said(run: Run, place: float, flipped: int) -> None:
    data = bytearray(packed_run(run))
    data[int(place * len(data))] ^= flipped
    try:
        unpacked_run(bytes(data), "simulated")
    except BadInputError as error:
        assert "damaged" in str(error)


def test_where_records_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("SIZEWELL_HOME", raising=False)
    assert usual_folder() == Path("/home/x/.local/share/sizewell")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert usual_folder() == Path("/data/sizewell")
    monkeypatch.setenv("SIZEWELL_HOME", "/here")
    assert usual_folder() == Path("/here")
