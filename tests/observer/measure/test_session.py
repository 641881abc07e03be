"""A session keeps its time, names what it leaves out and keeps what it has, on a device that exists only on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from sizewell.observer.measure import session as room
from sizewell.observer.measure.bench import Bench, Run
from sizewell.observer.measure.budget import LEAST_REPEATS, MOST_REPEATS, SHARES, Budget
from sizewell.observer.measure.description import described, device_key
from sizewell.observer.measure.device import Device, NoTorchError, find_device, load_torch
from sizewell.observer.measure.prepared import Prepared
from sizewell.observer.measure.session import NO_TIME, Measured, Occasion, Session, summary
from sizewell.observer.measure.throttle import ClockWatch, crowding, throttling
from sizewell.specs.machine_figure import FigureKind, Probe

DEVICE = Device(
    backend="cuda", kind="gpu", vendor="amd", name="Paper (R) Tiger", memory_bytes=64e9, free_bytes=60e9,
    cache_bytes=32e6, count=1, capability="gfx942", cores=0, versions="torch 9",
)  # fmt: skip
OCCASION = Occasion(machine="paper", versions="torch 9", command="sizewell measure", date="2026-11-21", seconds=60.0)


@dataclass
class PaperBench:
    """Takes as long as it is told, by a clock nobody waits for."""

    seconds: Callable[[Probe], float]
    device: Device = DEVICE
    place: str = "paper"
    torch: object = None
    now: float = 0.0
    flushed: list[bool] = field(default_factory=list)
    recordable: bool = True

    def clock(self) -> float:
        return self.now

    def prepare(self, _bench: Bench, probe: Probe) -> Prepared:
        def run() -> None:
            self.now += self.seconds(probe)

        return Prepared(run=run, kernel="paper", recorded=probe.kind == "launch")

    def times_s(self, run: Run, repeats: int, *, flush: bool) -> list[float]:
        self.flushed.append(flush)
        return [self._one(run) for _ in range(repeats)]

    def _one(self, run: Run) -> float:
        start = self.now
        run()
        return self.now - start

    def recorded(self, run: Run) -> Run | None:
        return run if self.recordable else None

    def settle(self) -> None:
        return

    def release(self) -> None:
        return


def gemm(m: int, dtype: str = "bf16") -> Probe:
    return Probe(kind="gemm", op="gemm", dtype=dtype, shape={"m": m, "n": 4096, "k": 4096})


def measured(bench: PaperBench, probes: list[Probe], monkeypatch: pytest.MonkeyPatch) -> tuple[Measured, list[str]]:
    monkeypatch.setattr(room, "prepare_kernel", bench.prepare)
    said: list[str] = []
    session = Session(bench, {}, OCCASION, said.append, clock=bench.clock)  # type: ignore[arg-type]
    return session.measure(probes), said


def test_every_probe_becomes_a_figure_with_its_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    result, said = measured(PaperBench(seconds=lambda _: 1e-3), [gemm(1), gemm(16)], monkeypatch)
    assert [figure.probe.shape["m"] for figure in result.figures] == [1, 16]
    first = result.figures[0]
    assert first.seconds == pytest.approx(1e-3)
    assert first.flops_per_s == pytest.approx(2 * 4096 * 4096 / 1e-3)
    assert first.repeats == MOST_REPEATS
    assert (first.machine, first.partial, result.partial) == ("paper", False, False)
    assert said[-1] == "gemm: 2 of 2 shapes in 0 s"


def test_small_work_finds_its_caches_empty_and_large_work_empties_them(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = PaperBench(seconds=lambda _: 1e-3)
    large = Probe(kind="memory", op="read", dtype="fp32", shape={"bytes": 2**30})
    measured(bench, [large, gemm(1)], monkeypatch)
    assert bench.flushed == [False, False, True, True]


def test_what_fails_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(probe: Probe) -> float:
        if probe.dtype == "fp8":
            raise RuntimeError("CUDA out of memory.\nTried to allocate …")
        return 1e-3

    result, said = measured(PaperBench(seconds=seconds), [gemm(1, "fp8"), gemm(2, "fp8"), gemm(1)], monkeypatch)
    assert len(result.figures) == 1
    (lot,) = result.left_out
    assert (lot.dtype, lot.reason, lot.probes) == ("fp8", "CUDA out of memory.", 2)
    assert sum("out of memory" in line for line in said) == 1


def test_what_takes_too_long_is_left_out_and_the_rest_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,024 rows would take 64 times what 16 rows took: more than the session has."""
    bench = PaperBench(seconds=lambda probe: 0.05 * probe.shape["m"])
    result, _ = measured(bench, [gemm(1), gemm(16), gemm(1024), gemm(4)], monkeypatch)
    assert [figure.probe.shape["m"] for figure in result.figures] == [1, 16, 4]
    assert [(lot.reason, lot.probes) for lot in result.left_out] == [(NO_TIME, 1)]
    assert result.wall_s <= OCCASION.seconds


def test_ctrl_c_keeps_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(probe: Probe) -> float:
        if probe.shape["m"] == 4:
            raise KeyboardInterrupt
        return 1e-3

    result, _ = measured(PaperBench(seconds=seconds), [gemm(1), gemm(2), gemm(4), gemm(8)], monkeypatch)
    assert result.partial
    assert [figure.partial for figure in result.figures] == [True, True]


def test_a_graph_that_cannot_be_recorded_is_no_graph_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe(kind="launch", op="graph-kernel", dtype="")
    result, _ = measured(PaperBench(seconds=lambda _: 1e-6, recordable=False), [probe], monkeypatch)
    assert result.figures == ()
    assert "no recorded graphs" in result.left_out[0].reason
    result, _ = measured(PaperBench(seconds=lambda _: 1e-6), [probe], monkeypatch)
    assert result.figures[0].kernel == "paper, recorded graph"


def test_the_median_and_the_quartiles() -> None:
    assert summary([1.0, 2.0, 3.0, 4.0, 100.0]) == (3.0, pytest.approx(2 / 3))
    assert summary([5.0]) == (5.0, 0.0)


def test_time_a_kind_does_not_use_goes_to_the_later_ones() -> None:
    now = [0.0]
    waiting: dict[FigureKind, int] = {"memory": 1, "gemm": 1, "layers": 1}
    budget = Budget(100.0, waiting, lambda: now[0])
    budget.enter("memory")
    budget.enter("gemm")
    assert budget.allows(gemm(1), 1.0, 1.0)
    assert budget.repeats(2.0) == int(50 * SHARES["gemm"] / (SHARES["gemm"] + SHARES["layers"]))
    now[0] = 50.0
    budget.enter("layers")
    assert budget.allows(gemm(1), 1.0, 1.0)
    assert budget.repeats(1.0) == MOST_REPEATS
    assert budget.repeats(1000.0) == LEAST_REPEATS
    now[0] = 101.0
    assert not budget.allows(gemm(1), 1.0, 1.0)


def test_shares_of_the_session_add_up_to_it() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)


SAMPLES = [
    "1980, 1980, 500.1, 700.0, 55, 0x0000000000000000",
    "345, 1980, 90.0, 700.0, 40, 0x0000000000000001",
    "1410, 1980, 699.0, 700.0, 70, 0x0000000000000004",
    "1200, 1980, 650.0, 700.0, 90, 0x0000000000000040",
    "1980, 19",
    "[N/A], 1980, 1, 1, 1, [N/A]",
]


def test_throttling_is_told_from_idling() -> None:
    assert throttling(SAMPLES) == "throttled by power cap and heat in 2 of 4 samples, down to 1200 MHz"
    assert throttling(SAMPLES[:2]) == ""
    assert throttling([]) == ""


def test_other_work_is_noticed() -> None:
    processor = replace(DEVICE, backend="cpu", cores=4)
    assert crowding(processor, 1.0) == ""
    assert "load 3.0 on 4 threads" in crowding(processor, 3.0)
    assert "3.7 GiB of memory were taken" in crowding(DEVICE, 99.0)
    assert crowding(replace(DEVICE, free_bytes=DEVICE.memory_bytes - 5e8), 99.0) == ""


def test_a_remark_on_the_session_is_in_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = PaperBench(seconds=lambda _: 1e-3)
    monkeypatch.setattr(room, "prepare_kernel", bench.prepare)
    occasion = replace(OCCASION, remark="shared")
    result = Session(bench, {}, occasion, lambda _: None, clock=bench.clock).measure([gemm(1)])  # type: ignore[arg-type]
    assert (result.remark, result.figures[0].remark) == ("shared", "shared")


def test_without_nvidia_smi_nobody_remarks() -> None:
    with ClockWatch("") as watch:
        assert watch.remark() == ""


def test_a_device_nobody_knows_gets_a_key_and_a_family() -> None:
    assert device_key(DEVICE) == "paper-tiger-64gb"
    bare = described(DEVICE, "2026-11-21")
    assert (bare.architecture, bare.form_factor, bare.compute_capability) == ("cdna3", "pcie", None)


def test_without_pytorch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(NoTorchError, match=r"pip install 'sizewell\[measure\]'"):
        load_torch()


def test_a_device_that_is_not_there_is_refused() -> None:
    class No:
        @staticmethod
        def is_available() -> bool:
            return False

    class Torch:
        __version__ = "9"
        cuda = No
        backends = type("backends", (), {"mps": No})

    with pytest.raises(Exception, match="sees only cpu"):
        find_device(Torch, "cuda")
