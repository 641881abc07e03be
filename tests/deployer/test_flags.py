"""Every flag exists in the release it is said to; the tables come from the released packages."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from launches import deployment, launch
from sizewell.catalog.engine_flags import list_flag_releases, read_engine_flags
from sizewell.deployer import words
from sizewell.deployer.launch import Launch, Slurm
from sizewell.deployer.reasoning import usual_parser
from sizewell.deployer.render import TARGETS, render
from sizewell.deployer.shell import read_engine
from sizewell.deployer.terms import spoken
from sizewell.planner.stated import Stated
from sizewell.specs.deployment import EngineSettings, Parallelism
from sizewell.specs.engine import EngineName
from sizewell.specs.errors import BadInputError

RELEASES = [(engine, release) for engine in ("vllm", "sglang") for release in list_flag_releases(engine)]
CUTS = (Parallelism(tp=8), Parallelism(tp=8, ep=8), Parallelism(dp=8, ep=8), Parallelism(tp=4, pp=2))
REFUSED = {
    ("vllm", "0.6.6"): {
        "--enable-expert-parallel", "--data-parallel-size", "--speculative-config", "--no-enable-chunked-prefill",
    },
    ("sglang", "0.4.6"): {"--pp-size"},
}  # fmt: skip
"""What a release has no word for; everything else it is told."""


def settings() -> list[EngineSettings]:
    """Return every combination of what can be on or off."""
    return [
        EngineSettings(
            max_num_seqs=64, max_num_batched_tokens=8192, max_model_len_tokens=4096, memory_fraction=0.9,
            enforce_eager=eager, prefix_caching=cached, chunked_prefill=chunked, speculative_tokens=drafts,
            offload_bytes=offload,
        )
        for eager, cached, chunked, drafts, offload in product(
            (False, True), (False, True), (False, True), (0, 2), (0.0, 2.0**30)
        )
    ]  # fmt: skip


@pytest.mark.parametrize(("engine", "release"), RELEASES)
def test_every_combination_of_settings_is_said_in_words_the_release_knows(
    engine: EngineName, release: str, one_node: Launch
) -> None:
    flags = read_engine_flags(engine, release)
    spec = replace(one_node.deployment.engine, name=engine, version=release)
    missing = set()
    for cut, setting, kv in product(CUTS, settings(), ("auto", "fp8")):
        pool = replace(one_node.pool, parallelism=cut, settings=setting)
        built = replace(one_node.deployment, engine=spec, kv_format=kv, pools=(pool,))
        asked = replace(one_node, deployment=built, flags=flags)
        try:
            said = words.flags(asked)
        except BadInputError as refusal:
            missing.add(str(refusal).partition("has no flag ")[2].split()[0].rstrip(";:"))
            continue
        assert all(flags.knows(flag.name) for flag in said)
        assert all((flag.name in flags.values) == flag.takes_value for flag in said)
    assert missing == REFUSED.get((engine, release), set())


@pytest.mark.parametrize(("engine", "release"), RELEASES)
@pytest.mark.parametrize("launcher", ["mp", "ray"])
def test_nodes_are_joined_by_what_the_release_knows(
    engine: EngineName, release: str, launcher: str, two_nodes: Launch
) -> None:
    spec = replace(two_nodes.deployment.engine, name=engine, version=release)
    site = replace(two_nodes.site, slurm=Slurm(launcher=launcher))  # type: ignore[arg-type]
    built = replace(two_nodes.deployment, engine=spec)
    pool = replace(two_nodes.pool, parallelism=Parallelism(tp=16))
    asked = replace(
        two_nodes, deployment=replace(built, pools=(pool,)), site=site, flags=read_engine_flags(engine, release)
    )
    without_launcher = engine == "vllm" and not asked.flags.knows("--nnodes")
    if (launcher == "mp" and without_launcher) or (launcher == "ray" and engine == "sglang"):
        with pytest.raises(BadInputError):
            words.flags(asked)
    else:
        assert {flag.name for flag in words.flags(asked)} & {"--nnodes", "--distributed-executor-backend"}


def test_releases_differ_as_their_notes_say() -> None:
    assert read_engine_flags("vllm", "0.8.5").knows("--enable-reasoning")
    assert not read_engine_flags("vllm", "0.33").knows("--enable-reasoning")
    assert not read_engine_flags("vllm", "0.10.2").knows("--nnodes")
    assert read_engine_flags("vllm", "0.14").knows("--nnodes")
    assert "VLLM_USE_FLASHINFER_MOE_FP4" not in read_engine_flags("vllm", "0.33").environment
    assert len(list_flag_releases("vllm")) >= 6
    assert len(list_flag_releases("sglang")) >= 4


def test_a_release_between_two_gets_the_older_ones_flags_and_says_so() -> None:
    flags = read_engine_flags("vllm", "0.12.1")
    assert flags.release == "0.10.2"
    assert "0.12.1 were not read" in flags.note
    assert read_engine_flags("vllm", "0.33").note == ""
    assert "0.9.9" in read_engine_flags("sglang", "0.9.9").note


def test_older_than_any_release_read_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"oldest known are 0\.6\.6"):
        read_engine_flags("vllm", "0.4.0")


@pytest.mark.parametrize(
    ("engine", "release", "model", "parser"),
    [
        ("vllm", "0.8.5", "Qwen/Qwen3-8B", "deepseek_r1"),  # what Qwen's own page says for it
        ("vllm", "0.10.2", "Qwen/Qwen3-8B", "qwen3"),
        ("vllm", "0.8.5", "zai-org/GLM-4.5-Air", None),
        ("vllm", "0.10.2", "zai-org/GLM-4.5-Air", "glm45"),
        ("vllm", "0.33", "zai-org/GLM-5.2", "glm45"),
        ("vllm", "0.10.2", "moonshotai/Kimi-K2-Thinking", None),
        ("vllm", "0.33", "moonshotai/Kimi-K2-Thinking", "kimi_k2"),
        ("sglang", "0.4.6", "Qwen/Qwen3-8B", "deepseek-r1"),
        ("sglang", "0.4.9", "openai/gpt-oss-120b", None),
        ("sglang", "0.5.2", "openai/gpt-oss-120b", "gpt-oss"),
    ],
)
def test_a_parser_of_thinking_is_one_the_release_has(
    engine: EngineName, release: str, model: str, parser: str | None
) -> None:
    assert usual_parser(model, read_engine_flags(engine, release)) == parser


@pytest.mark.parametrize(("engine", "release"), RELEASES)
def test_values_are_those_the_release_takes(engine: EngineName, release: str) -> None:
    flags, base = read_engine_flags(engine, release), launch(deployment("llama-3.1-8b", "1xh100", engine))
    for kv in ("fp8", "bf16"):
        asked = replace(base, deployment=replace(base.deployment, kv_format=kv), flags=flags)
        word = words.ENGINES[engine].KV_WORDS[kv]
        if flags.takes("--kv-cache-dtype", word):
            assert f"--kv-cache-dtype={word}" in {f"{flag.name}={flag.value}" for flag in words.flags(asked)}
        else:
            with pytest.raises(BadInputError, match=f"takes no --kv-cache-dtype {word}, but auto, fp8"):
                words.flags(asked)


def test_releases_whose_values_were_read_by_hand() -> None:
    def reads(engine: EngineName, value: str) -> list[str]:
        releases = list_flag_releases(engine)
        return [each for each in releases if read_engine_flags(engine, each).takes("--kv-cache-dtype", value)]

    assert reads("vllm", "bfloat16") == ["0.14.0", "0.19.0", "0.25.0", "0.33.0"]
    assert reads("sglang", "bf16") == ["0.5.6", "0.5.15", "0.5.23"]
    assert reads("sglang", "fp4_e2m1") == ["0.5.6", "0.5.15"]


def test_a_value_is_not_refused_where_another_releases_flags_stand_in() -> None:
    read_engine_flags("vllm", "0.9.2").check_value("--reasoning-parser", "qwen3")
    with pytest.raises(BadInputError, match=r"takes no --reasoning-parser qwen3, but .*deepseek_r1.*another --engine"):
        read_engine_flags("vllm", "0.8.5").check_value("--reasoning-parser", "qwen3")


@pytest.mark.parametrize(
    ("engine", "gpu", "weights", "kernels"),
    [
        ("vllm@0.10.2", "t4", "awq-int4", "awq"), ("vllm@0.14", "t4", "awq-int4", "awq_marlin"),
        ("vllm@0.10.2", "a10", "gptq-int4", "gptq_marlin"), ("vllm@0.10.2", "t4", "gptq-int4", "gptq"),
        ("vllm@0.33", "mi300x", "awq-int4", "awq"), ("vllm@0.33", "mi300x", "gptq-int4", "gptq"),
        ("sglang@0.5.23", "mi300x", "awq-int4", "awq"), ("sglang@0.5.2", "rtx-2080-ti-22gb", "awq-int4", "awq"),
        ("sglang@0.5.23", "a10", "awq-int4", "awq_marlin"),
    ],
)  # fmt: skip
def test_kernels_for_4_bits_are_those_the_accelerator_has(engine: str, gpu: str, weights: str, kernels: str) -> None:
    """Marlin's ask for an Ampere (vLLM from 0.14: a Turing) and are refused on ROCm."""
    base = deployment("llama-3.2-1b", f"1x{gpu}", engine, Stated(max_num_seqs=16, max_model_len_tokens=2048))
    said = {flag.name: flag.value for flag in words.flags(launch(replace(base, weight_format=weights)))}
    assert said["--quantization"] == kernels


@pytest.mark.parametrize(("release", "model", "asked"), [
    ("0.10.2", "mistralai/Magistral-Small-2506", True), ("0.8.5", "mistralai/Devstral-Small-2505", True),
    ("0.14", "mistralai/Magistral-Small-2506", False), ("0.10.2", "mistralai/Mistral-Small-24B-Instruct-2501", False),
])  # fmt: skip
def test_mistrals_own_tokenizer_is_asked_for_where_it_is_the_only_one(release: str, model: str, asked: bool) -> None:
    """Such checkpoints hold a tekken.json and no tokenizer.json; releases from 0.14 on look for it by themselves."""
    said = {flag.name: flag.value for flag in words.flags(launch(deployment(model, "1xh100", f"vllm@{release}")))}
    assert (said.get("--tokenizer-mode") == "mistral") == asked


def test_an_unknown_flag_is_refused_with_the_nearest_name() -> None:
    flags = read_engine_flags("vllm", "0.33")
    with pytest.raises(BadInputError, match="--max-num-seqs"):
        flags.check("--max-num-seq", takes_value=True)
    with pytest.raises(BadInputError, match="as a switch"):
        flags.check("--max-num-seqs", takes_value=False)
    with pytest.raises(BadInputError, match="does not read VLLM_USE_FLASHINFER_MOE_FP4"):
        flags.check_variable("VLLM_USE_FLASHINFER_MOE_FP4")


@pytest.mark.parametrize(
    ("stated", "match"),
    [
        (Stated(tp=2, dp=2), "not rendered for"),
        (Stated(memory_fraction=0.5), "--memory-fraction"),
    ],
)
def test_llama_cpp_refuses_what_it_has_no_words_for(stated: Stated, match: str) -> None:
    asked = launch(deployment("llama-3.1-8b", "4xrtx-4090", "llama.cpp", stated))
    for target in TARGETS:
        with pytest.raises(BadInputError, match=match):
            render(asked, target)


def llama_flags(build: str, kv_format: str = "auto") -> dict[str, str | None]:
    """Return what a build of llama.cpp is told."""
    asked = deployment("llama-3.1-8b", "1xrtx-4090", f"llama.cpp@{build}", Stated(max_model_len_tokens=4096))
    priced = replace(asked, kv_format=kv_format)
    return dict(spoken(read_engine(render(launch(priced), "command")["serve.sh"])))


@pytest.mark.parametrize("kv_format", ["auto", "q8_0"])
def test_attention_is_fused_by_a_word_only_where_it_takes_one(kv_format: str) -> None:
    """From b6325 on it is fused unasked, and the bare word is refused: it wants on, off or auto."""
    assert "--flash-attn" in llama_flags("b6100", kv_format)
    assert "--flash-attn" not in llama_flags("b6325", kv_format)
    assert "--flash-attn" not in llama_flags("b9976", kv_format)


def test_late_builds_of_llama_cpp_are_asked_for_the_figures_of_their_start() -> None:
    assert "--log-verbosity" not in llama_flags("b6100")
    assert llama_flags("b10216")["--log-verbosity"] == "4"


@pytest.mark.parametrize(
    ("model", "engine", "parser"),
    [
        ("Qwen/Qwen3-8B", "vllm", "qwen3"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507", "vllm", "qwen3"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "vllm", None),
        ("Qwen/Qwen3-Coder-Next", "sglang", None),
        ("zai-org/GLM-4.6", "sglang", "glm45"),
        ("openai/gpt-oss-20b", "sglang", "gpt-oss"),
        ("openai/gpt-oss-20b", "vllm", None),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "vllm", "deepseek_r1"),
        ("meta-llama/Llama-3.1-8B-Instruct", "vllm", None),
    ],
)
def test_only_models_that_think_get_a_parser(model: str, engine: EngineName, parser: str | None) -> None:
    newest = list_flag_releases(engine)[-1]
    assert usual_parser(model, read_engine_flags(engine, newest)) == parser
