"""The compiler understands its subset of Python, computes as Python does, and refuses the rest."""

from __future__ import annotations

from math import ceil, log, sqrt
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizewell.catalog import machine_code
from sizewell.catalog.machine_code import CodeFolder
from sizewell.simulator.compiled import Twin
from sizewell.specs.errors import SizewellError

WHOLE = st.integers(-(2**31), 2**31)
BROKEN = st.floats(-1e9, 1e9)


class Given(NamedTuple):
    """What a test function gets, and where it writes."""

    whole: Any
    broken: Any
    found: Any


def arithmetic(given: Given) -> int:
    a, b = given.whole[0], given.whole[1]
    given.found[0] = a // b + a % b
    given.found[1] = (a << 3) ^ (b >> 2) | (a & 7)
    given.found[2] = min(a, b, 5) - max(a, b) if a < b <= 10 or a != b else -a
    total = 0
    for step in range(3, -4, -2):
        total += step * (1 if step in (1, 3) else 2)
        if total > 100:
            continue
    while total < 50:
        total += 7
        if total == 21:
            break
    return int(total)


def reals(given: Given) -> int:
    x, y = given.broken[0], given.broken[1]
    given.broken[2] = sqrt(abs_of(x)) + log(abs_of(y) + 1.0) * x / 3
    given.broken[3] = max(x, y) - min(x, 2) + float(ceil(y))
    return int(x) + int(x >= y)


def abs_of(value: float) -> float:
    return value if value >= 0.0 else -value


def unknown(given: Given) -> int:
    return sorted(given.whole)[0]


def made(whole: list[int], broken: list[float]) -> Given:
    return Given(np.array(whole), np.array([*broken, 0.0, 0.0]), np.zeros(3, dtype=np.int64))


@settings(max_examples=100, deadline=None)
@given(WHOLE, WHOLE.filter(bool), BROKEN, BROKEN)
def test_numbers_come_out_as_in_python(a: int, b: int, x: float, y: float) -> None:
    for function in (arithmetic, reals):
        plain, fast = made([a, b], [x, y]), made([a, b], [x, y])
        assert Twin(function)(fast) == function(plain)
        assert fast.found.tolist() == plain.found.tolist()
        assert fast.broken.tobytes() == plain.broken.tobytes()


def test_what_is_not_in_the_subset_is_refused() -> None:
    with pytest.raises(TypeError, match="not translated"):
        Twin(unknown)(made([1, 2], [0.0, 0.0]))


def test_code_is_kept_and_found_again(tmp_path: Any) -> None:
    store = CodeFolder(tmp_path / "code")

    class Counting:
        reads = 0

        def read(self, name: str) -> bytes | None:
            Counting.reads += 1
            return store.read(name)

        def write(self, name: str, code: bytes) -> None:
            store.write(name, code)

    assert Twin(abs_sum, Counting())(made([3, -4], [0.0, 0.0])) == 7
    (kept,) = list(tmp_path.glob("code/*"))
    assert kept.name.startswith("abs_sum-") and store.read(kept.stem)
    assert CodeFolder(tmp_path / "kept" / "nothing").read("a") is None


@pytest.mark.parametrize("left", [0, 10, 40])
def test_damaged_code_is_not_run(tmp_path: Any, left: int) -> None:
    store = CodeFolder(tmp_path)
    store.write("a", b"code" * 20)
    assert store.read("a") == b"code" * 20
    (tmp_path / "a.code").write_bytes((tmp_path / "a.code").read_bytes()[:left])
    assert store.read("a") is None


def test_a_write_broken_off_leaves_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(machine_code.Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CodeFolder(tmp_path).write("a", b"code")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    store = CodeFolder(tmp_path / "file" / "code")
    store.write("a", b"code")
    assert store.read("a") is None


def abs_sum(given: Given) -> int:
    return int(max(given.whole[0], -given.whole[0]) + max(given.whole[1], -given.whole[1]))


def test_a_source_that_changed_is_noticed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "changing.py"
    file.write_text("def twice(given) -> int:\n    return int(2 * given.whole[0])\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import changing  # type: ignore[import-not-found]

    file.write_text("def twice(given) -> int:\n    return int(3 * given.whole[1] + 1)\n")
    with pytest.raises(SizewellError, match="start again"):
        Twin(changing.twice)(made([1, 2], [0.0, 0.0]))
