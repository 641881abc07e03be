"""Texts of nvidia-smi, rocm-smi and amd-smi from many releases and boards become the right verdicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from doctor_nodes import H100, KNOWN, LOST, MISMATCH, NO_DRIVER, RTX_4090, Board, Era, needs, smi
from sizewell.observer.doctor.amd import parse_amd_smi, parse_rocm_smi
from sizewell.observer.doctor.asking import Answer
from sizewell.observer.doctor.findings import Finding
from sizewell.observer.doctor.gpu import in_use, judge_gpus
from sizewell.observer.doctor.gpu_facts import GpuFacts, parse_apple
from sizewell.observer.doctor.gpu_health import judge_health
from sizewell.observer.doctor.needs import Needs
from sizewell.observer.doctor.nvidia import parse_nvidia
from sizewell.planner.stated import Stated

R1 = needs()
EIGHT_H100 = needs("llama-3.1-70b", "8xh100", Stated(tp=8))
ONE_4090 = needs("llama-3.1-8b", "1xrtx-4090", Stated(max_model_len_tokens=2048))
ERAS: tuple[Era, ...] = ("v10", "v11", "v12", "v13")


def read(boards: Sequence[Board], era: Era = "v13", **more: str) -> GpuFacts:
    return parse_nvidia(Answer(out=smi(boards, era, **more), code=0))


def judged(facts: GpuFacts, wanted: Needs | None = None, cuda: str | None = None) -> dict[str, Finding]:
    found = [*judge_gpus(facts, wanted, KNOWN, cuda), *judge_health(in_use(facts, wanted))]
    assert len({finding.check for finding in found}) == len(found)
    assert all(bool(finding.fix) == (finding.verdict in ("warn", "fail")) for finding in found)
    return {finding.check: finding for finding in found}


def verdicts(found: dict[str, Finding]) -> set[str]:
    return {finding.verdict for finding in found.values()}


@pytest.mark.parametrize("era", ERAS)
def test_a_sound_node_passes_whatever_the_driver_calls_its_fields(era: Era) -> None:
    found = judged(read([Board()] * 8, era), R1 if era == "v13" else None)
    assert verdicts(found) == {"pass"}
    assert "8 × NVIDIA H200" in found["count"].found
    assert found["kind"].found == "h200-sxm-141gb"


@pytest.mark.parametrize("unsaid", ["N/A", "[N/A]", "[Not Supported]", "Not Supported", "Unknown Error"])
@pytest.mark.parametrize("era", ERAS)
def test_a_desktop_board_that_says_little_is_not_ill(era: Era, unsaid: str) -> None:
    board = replace(RTX_4090, limit_w="", default_w="", lanes="")
    found = judged(read([board], era, unsaid=unsaid))
    assert {name for name, finding in found.items() if finding.verdict == "skipped"} == {"ecc", "power", "pcie"}
    assert verdicts(found) == {"pass", "skipped"}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("board", "check", "verdict", "words"),
    [
        (Board(uncorrectable="3"), "ecc", "fail", "GPU 0: 3"),
        (Board(pending="Yes"), "ecc", "warn", "waits for a reset"),
        (Board(failure="Yes"), "ecc", "fail", "no spare"),
        (
            Board(active=["sw_power_cap", "hw_thermal_slowdown", "sw_thermal_slowdown"]),
            "throttling",
            "warn",
            "power cap",
        ),
        (Board(limit_w="400.00 W"), "power", "warn", "to 400 W"),
        (Board(lanes="8x"), "pcie", "warn", "x8 of x16"),
        (Board(fabric="In Progress"), "nvswitch", "fail", "In Progress"),
        (Board(mig="Enabled"), "mig", "fail", "MIG"),
        (Board(compute_mode="Prohibited"), "compute mode", "fail", "Prohibited"),
    ],
)
def test_each_illness_is_named(era: Era, board: Board, check: str, verdict: str, words: str) -> None:
    sick = judged(read([board, *[Board()] * 7], era), R1)
    assert sick[check].verdict == verdict
    assert words in sick[check].found
    well = judged(read([Board()] * 8, era), R1)
    assert {name for name, finding in sick.items() if finding.verdict != well.get(name, finding).verdict} <= {check}


def test_heat_told_twice_is_said_once() -> None:
    (gpu,) = read([Board(active=["hw_thermal_slowdown", "sw_thermal_slowdown"])]).gpus
    assert gpu.throttled_by == ("heat",)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        (MISMATCH, "reboot"),
        (NO_DRIVER, "modprobe"),
        ("No devices were found\n", "--gpus all"),
        ("Failed to initialize NVML: Insufficient Permissions\n", "group"),
        ("Failed to initialize NVML: Unknown Error\n", "dmesg"),
        ("", "dmesg"),
        ("<nvidia_smi_log><gpu>", "dmesg"),
    ],
)
@pytest.mark.parametrize("wanted", [None, R1])
def test_a_driver_that_does_not_work_is_one_failure_with_its_cure(text: str, cure: str, wanted: Needs | None) -> None:
    (finding,) = judged(parse_nvidia(Answer(out=text, code=9)), wanted).values()
    assert (finding.check, finding.verdict) == ("driver", "fail")
    assert cure in finding.fix


def test_a_driver_that_hangs_is_told_so() -> None:
    (finding,) = judged(parse_nvidia(Answer(problem="hung"))).values()
    assert "does not answer" in finding.found
    assert "Xid" in finding.fix


def test_one_board_lost_of_eight_fails_beside_the_seven() -> None:
    facts = parse_nvidia(Answer(out=LOST + smi([Board()] * 7), code=0))
    found = list(judge_gpus(facts, R1, KNOWN, None))
    assert [(finding.check, finding.verdict) for finding in found[:2]] == [("boards", "fail"), ("count", "fail")]
    assert "fell off the bus" in found[0].fix
    assert found[1].found.startswith("7 × NVIDIA H200")


@pytest.mark.parametrize(
    ("era", "cuda", "verdict", "words"),
    [
        ("v13", None, "pass", "CUDA 13.0"),
        ("v12", None, "fail", "580.65.06"),
        ("v11", "12.8", "fail", "525.60.13"),
        ("v12", "12.8", "warn", "same major"),
        ("v12", "12.4", "pass", "the installed engine"),
    ],
)
def test_the_driver_must_run_the_cuda_of_the_engine(era: Era, cuda: str | None, verdict: str, words: str) -> None:
    driver = judged(read([Board()] * 8, era), R1, cuda)["driver"]
    assert driver.verdict == verdict
    assert words in driver.needed + driver.fix


def test_another_kind_of_board_is_not_what_was_priced() -> None:
    found = judged(read([Board()] * 8), EIGHT_H100)
    assert (found["kind"].verdict, found["kind"].needed) == ("fail", "h100-sxm-80gb")
    assert judged(read([H100] * 8), EIGHT_H100)["kind"].verdict == "pass"


def test_variants_of_one_name_are_told_apart_by_memory() -> None:
    small = Board(name="NVIDIA A100-SXM4-40GB", total_mib=40960)
    large = Board(name="NVIDIA A100-SXM4-80GB", total_mib=81920)
    assert judged(read([small, large]))["kind"].found == "a100-sxm-40gb, a100-sxm-80gb"


@pytest.mark.parametrize(("total_mib", "verdict"), [(150000, "warn"), (60000, "fail")])
def test_a_board_nobody_described_is_judged_by_its_memory(total_mib: int, verdict: str) -> None:
    unknown = Board(name="NVIDIA Paper Tiger", total_mib=total_mib)
    assert judged(read([unknown] * 8), R1)["kind"].verdict == verdict


def test_memory_others_hold_stops_an_engine_that_takes_a_share_of_it() -> None:
    held = replace(RTX_4090, used_mib=9000, processes=[(4711, "/usr/bin/python3", "8900 MiB")])
    memory = judged(read([held]), ONE_4090)["memory"]
    assert memory.verdict == "fail"
    assert "4711 (python3) 8.7 GiB" in memory.found
    free = (24564 - 360 - 9000) * 2**20
    assert memory.figures == {"free_bytes": free}
    assert judged(read([RTX_4090]), ONE_4090)["memory"].verdict == "pass"
    unseen = replace(held, processes=[(4711, "[Not Found]", "N/A")])
    assert "4711" in judged(read([unseen]))["memory"].found
    assert "nobody seen from here" in judged(read([replace(held, processes=[])]))["memory"].found


def test_what_the_environment_hides_is_counted() -> None:
    facts = replace(read([Board()] * 8), visible="0,1,2,3")
    count = judged(facts, R1)["count"]
    assert count.verdict == "fail"
    assert "4 hidden" in count.found
    assert "CUDA_VISIBLE_DEVICES" in count.fix
    for visible, seen in (("", 0), ("-1", 0), ("2,9,3", 1), ("GPU-00000005-aaaa", 1), ("0,0", 1)):
        found = judged(replace(facts, visible=visible))["count"].found if seen else ""
        assert seen == 0 or found.startswith(f"{seen} × ")
        if not seen:
            count = next(judge for judge in judge_gpus(replace(facts, visible=visible), None, KNOWN, None))
            assert count.found.startswith("none visible")


def test_no_gpu_is_fine_without_a_plan_and_for_a_plan_of_processors() -> None:
    nothing = GpuFacts(vendor="none")
    assert judged(nothing)["present"].verdict == "pass"
    assert judged(nothing, R1)["present"].verdict == "fail"
    processor = needs("qwen3-0.6b", "cpu-epyc-9654-2s", engine="llama.cpp")
    assert judged(nothing, processor)["present"].verdict == "skipped"


@pytest.mark.parametrize(("maker", "tool"), [("nvidia", "nvidia-smi"), ("amd", "rocm-smi")])
def test_boards_on_the_bus_without_a_driver_are_seen(maker: str, tool: str) -> None:
    facts = GpuFacts(vendor="none", on_bus=(maker, maker))  # type: ignore[arg-type]
    assert judged(facts)["present"].verdict == "warn"
    assert judged(facts, R1)["present"].verdict == "fail"
    assert tool in judged(facts)["present"].fix


@pytest.mark.parametrize("name", ["Card series", "Card Series"])
def test_rocm_smi_of_several_releases(name: str) -> None:
    card = {name: "AMD Instinct MI300X", "VRAM Total Memory (B)": str(192 * 2**30)}
    used = {"VRAM Total Used Memory (B)": str(300 * 2**20), "Card SKU": "0x74a1"}
    said = {f"card{n}": {**card, **used} for n in range(8)} | {"system": {"Driver version": "6.10.5"}}
    facts = parse_rocm_smi(Answer(out="WARNING: no monitor\n" + json.dumps(said), code=0))
    found = judged(facts, needs("r1", "8xmi300x", Stated(tp=8)))
    assert (facts.driver, len(facts.gpus)) == ("6.10.5", 8)
    assert verdicts(found) == {"pass"}
    assert found["kind"].found == "mi300x-192gb"


@pytest.mark.parametrize("wrapped", [False, True])
def test_amd_smi_of_several_releases(wrapped: bool) -> None:
    rows = [
        {
            "gpu": n, "asic": {"market_name": "AMD Instinct MI300X"}, "driver": {"version": "6.10.5"},
            "vram": {"size": {"value": 196592, "unit": "MB"}},
        }
        for n in range(2)
    ]  # fmt: skip
    facts = parse_amd_smi(Answer(out=json.dumps({"gpu_data": rows} if wrapped else rows), code=0))
    assert [gpu.total_bytes for gpu in facts.gpus] == [196592 * 2**20] * 2
    found = judged(facts)
    assert found["kind"].found == "mi300x-192gb"
    assert found["memory"].verdict == "skipped"


@pytest.mark.parametrize("text", ["", "ERROR: no AMD GPUs\n", "{", "[1]", "null"])
def test_an_amd_tool_without_a_board_is_no_trouble_and_with_one_it_is(text: str) -> None:
    for parse in (parse_rocm_smi, parse_amd_smi):
        assert parse(Answer(out=text, code=1)).vendor == "none"
        assert parse(Answer(out=text, code=1), ("amd",)).trouble
    assert parse_rocm_smi(Answer(problem="hung"), ("amd",)).trouble == "rocm-smi does not answer"


def test_a_mac_is_one_accelerator_with_what_metal_takes() -> None:
    facts = parse_apple(Answer(out=f"Apple M3 Max\n{128 * 2**30}\n", code=0))
    assert judged(facts)["kind"].found == "apple-m3-max-128gb"
    assert parse_apple(Answer(out="Intel(R) Core(TM) i7\n17179869184\n")).vendor == "none"
    assert parse_apple(Answer(problem="absent")).vendor == "none"


ILL = Board(
    name="NVIDIA H100 80GB HBM3", total_mib=81559, used_mib=70000, mig="Enabled", uncorrectable="3",
    compute_mode="Prohibited", active=("hw_thermal_slowdown",),
)  # fmt: skip
SOUND = Board(name="NVIDIA H100 80GB HBM3", total_mib=81559)
FOUR_H100 = needs("llama-3.1-70b", "4xh100", Stated(tp=4))


def test_what_an_engine_does_not_take_is_not_held_against_the_node() -> None:
    """Two users share a node: the boards of the other are no concern of ours."""
    shared = read([SOUND] * 4 + [ILL] * 4)
    assert verdicts(judged(shared, FOUR_H100)) == {"pass"}
    assert verdicts(judged(replace(shared, visible="3,2,1,0"), FOUR_H100)) == {"pass"}
    for visible in ("4,5,6,7", "0,1,2,7"):
        found = judged(replace(shared, visible=visible), FOUR_H100)
        assert {name for name, each in found.items() if each.verdict in ("fail", "warn")} == {
            "memory", "mig", "ecc", "compute mode", "throttling"
        }  # fmt: skip


def test_boards_with_room_are_named_where_the_first_have_none() -> None:
    held = replace(SOUND, used_mib=70000)
    found = judged(read([held, SOUND, held, SOUND, SOUND, SOUND, SOUND]), FOUR_H100)["memory"]
    assert found.verdict == "fail" and "CUDA_VISIBLE_DEVICES=1,3,4,5 has room" in found.fix
    assert "end the processes" in judged(read([held, *[SOUND] * 3]), FOUR_H100)["memory"].fix
