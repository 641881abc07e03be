"""Versions as people write them resolve to the era whose rules apply, and what was assumed is said."""

from __future__ import annotations

import pytest

from sizewell.catalog.engine_flags import list_flag_releases, read_engine_flags
from sizewell.catalog.engines import list_engines, read_engine, read_named_engine
from sizewell.specs.engine import EngineName, PlainPrompts
from sizewell.specs.errors import BadInputError, UnknownNameError


@pytest.mark.parametrize(
    ("version", "profile", "fraction", "printed"),
    [
        ("0.6.5.dev(PR)", "v0", 0.90, "blocks"),
        ("0.8.5.post1", "v1", 0.90, "blocks"),
        ("0.8.5 V0", "v0", 0.90, "blocks"),
        ("0.19.1", "v1", 0.90, "groups"),
        ("0.20.0", "v1", 0.92, "groups"),
        ("0.26.1rc1.dev608+g99a10304d", "v1", 0.92, "concurrency"),
        ("0.9.x/0.10 (2025-07)", "v1", 0.90, "groups"),
        ("2026-02", "v1", 0.90, "groups"),
    ],
)
def test_a_version_resolves_to_its_era(version: str, profile: str, fraction: float, printed: str) -> None:
    engine = read_engine("vllm", version)
    assert (engine.profile, engine.memory_fraction, engine.printed_tokens) == (profile, fraction, printed)


@pytest.mark.parametrize("version", ["nightly", "0.99.0", "2026 fork", "0.1.0"])
def test_what_was_assumed_about_a_version_is_visible(version: str) -> None:
    assert read_engine("vllm", version).note


def test_no_version_means_the_latest_known() -> None:
    assert read_engine("vLLM").version == "0.33"
    assert not read_engine("vllm").note


def test_an_unknown_engine_names_the_known() -> None:
    assert list_engines() == ("llama.cpp", "sglang", "vllm")
    with pytest.raises(UnknownNameError, match="vllm"):
        read_engine("vlm")


def test_an_a100_counts_as_a_small_accelerator_since_0_11() -> None:
    before, after = (read_engine("vllm", v).defaults_for("NVIDIA A100-SXM4-80GB", 79 * 2**30) for v in ("0.9", "0.11"))
    assert (before.max_num_seqs, after.max_num_seqs) == (1024, 256)


def test_the_first_engine_of_a_later_release_runs_that_releases_models() -> None:
    old, kept = read_engine("vllm", "0.7.3"), read_engine("vllm", "0.8.5 V0")
    assert (old.absorbed, old.mla_row_elements, kept.absorbed, kept.mla_row_elements) == (
        "products",
        640,
        "copies",
        None,
    )
    assert (kept.profile, kept.sampler_copies, kept.latent_rope_bytes) == ("v0", 9.5, 4)
    assert not read_engine("vllm", "0.9.2 V0").latent_head_on_all


@pytest.mark.parametrize(("version", "batches"), [("0.25.0", 1), ("0.26.0", 2), ("0.33", 2)])
def test_two_batches_are_in_flight_from_0_26(version: str, batches: int) -> None:
    assert read_engine("vllm", version).in_flight_batches == batches


@pytest.mark.parametrize(("version", "tokens"), [("0.27.0", 8192), ("0.28.0", 16384)])
def test_accelerators_from_160_gib_take_larger_batches_from_0_28(version: str, tokens: int) -> None:
    assert read_engine("vllm", version).defaults_for("NVIDIA B200", 178 * 2**30).max_num_batched_tokens == tokens


def test_gb10_counts_as_small_from_0_33() -> None:
    sizes = (read_engine("vllm", v).defaults_for("NVIDIA GB10", 121 * 2**30).max_num_seqs for v in ("0.32", "0.33"))
    assert tuple(sizes) == (1024, 256)


def test_flashinfer_is_nvidias_and_an_option_from_0_11_1() -> None:
    early = read_engine("vllm", "0.11.0")
    assert early.on("nvidia", "9.0").sort_free_copies == 3.5
    assert early.on("amd").sort_free_copies == read_engine("vllm", "0.11.1").sort_free_copies == 0


@pytest.mark.parametrize(
    ("vendor", "capability", "kernel"),
    [
        ("nvidia", "9.0", "grouped"), ("nvidia", "10.0", "grouped"), ("nvidia", "12.0", "triton"),
        ("nvidia", "8.9", "triton"), ("nvidia", "8.6", "marlin"), ("nvidia", "7.0", "marlin"), ("amd", "9.4", "triton"),
    ],
)  # fmt: skip
def test_fp8_experts_run_in_the_kernel_of_their_accelerator(vendor: str, capability: str, kernel: str) -> None:
    assert read_engine("vllm", "0.19.0").on(vendor, capability).fp8_experts == kernel


def test_only_hopper_and_data_centre_blackwell_reduce_over_multicast() -> None:
    engine = read_engine("vllm", "0.19.0")
    assert engine.on("nvidia", "9.0").non_torch_bytes_tp == engine.on("nvidia", "10.0").non_torch_bytes_tp
    assert engine.on("nvidia", "12.0").non_torch_bytes_tp < engine.on("nvidia", "9.0").non_torch_bytes_tp / 2
    old = read_engine("vllm", "0.11.0")
    assert old.on("nvidia", "8.9").non_torch_bytes_tp == old.non_torch_bytes_tp


def plain(build: str) -> PlainPrompts:
    found = read_engine("llama.cpp", build).plain_prompts
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("build", "widened", "waits", "score_bytes"),
    [
        ("b3218", 33, True, 24), ("b3219", 0, True, 24), ("b5168", 0, True, 24), ("b5169", 0, False, 24),
        ("b6324", 0, False, 24), ("b6325", 0, False, 0), ("b6325 (CUDA 12.4)", 0, False, 0),
    ],
)  # fmt: skip
def test_builds_of_llama_cpp_choose_their_era_by_number(
    build: str, widened: int, waits: bool, score_bytes: float
) -> None:
    """2034 of b2034 is no year."""
    found = plain(build)
    assert (found.widened_from_tokens, found.experts_wait, found.score_bytes) == (widened, waits, score_bytes)
    assert plain("b2034") == plain("2024-05")
    assert not read_engine("llama.cpp", build).note


def test_builds_beyond_the_last_one_read_say_so() -> None:
    newest = read_engine("llama.cpp")
    beyond = f"b{int(newest.version[1:]) + 1}"
    assert beyond in read_engine("llama.cpp", beyond).note
    assert not read_engine("llama.cpp", newest.version).note


def test_what_is_started_fuses_attention_what_others_measured_did_what_its_build_did() -> None:
    """A build whose words are not known cannot be started by us."""
    first = list_flag_releases("llama.cpp")[0]
    before = f"b{int(first[1:]) - 1}"
    for build, score_bytes in ((before, 24), (first, 0), ("b6325", 0)):
        named = read_named_engine(f"llama.cpp@{build}").plain_prompts
        assert named is not None
        assert named.score_bytes == score_bytes
    assert plain(first).score_bytes == 24
    assert read_named_engine("llama.cpp") == read_engine("llama.cpp")


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llama.cpp"])
def test_rules_and_flags_of_the_newest_release_are_known(engine: EngineName) -> None:
    flags = read_engine_flags(engine, read_engine(engine).version)
    assert (flags.release, flags.note) == (list_flag_releases(engine)[-1], "")


@pytest.mark.parametrize("named", ["llama.cpp@0.19", "llama.cpp@6100", "vllm@b6100", "sglang@b6100"])
def test_builds_are_llama_cpps_and_versions_the_others(named: str) -> None:
    with pytest.raises(BadInputError, match="is no release of"):
        read_named_engine(named)


@pytest.mark.parametrize(
    ("said", "version", "read"),
    [
        ("vllm@0.8", "0.8.5", True), ("vllm@v0.10", "0.10.2", True), ("sglang@0.5", "0.5.23", True),
        ("vllm@0.19", "0.19", True), ("vllm@0.8.0", "0.8.0", False), ("vllm@0.9", "0.9", False),
    ],
)  # fmt: skip
def test_a_series_is_the_newest_of_it_that_was_read(said: str, version: str, read: bool) -> None:
    """Two numbers name a series: 0.8 was rendered with the flags of 0.6.6, without its parser of thinking."""
    engine = read_named_engine(said)
    assert engine.version == version
    assert (read_engine_flags(engine.name, version).note == "") == read
