"""Answers agree: a plan, its explanation, and the same deployment stated by hand give the same numbers."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import pytest

from sizewell import Limits, Plan, Question, Slo, Workload, explain, explain_deployment, offer, plan, read_model
from sizewell.cli.questions import Setup
from sizewell.cli.simulations import simulate_deployment
from sizewell.cli.traffic_flags import Offered
from sizewell.specs.deployment import Formats

Say = Callable[..., Any]


def _best(model: str, load: Workload, *gpus: str) -> Plan:
    limits = Limits(slo=Slo(tpot_s=0.08), gpu_keys=gpus)
    return plan(Question(model=read_model(model), workload=load, limits=limits)).plans[0]


@pytest.mark.parametrize(
    ("model", "gpu", "load"),
    [
        ("llama-3.1-8b", "h100-sxm-80gb", Workload(users=16, input_tokens=1000, answer_tokens=500)),
        ("llama-3.1-8b", "rtx-4090-24gb", Workload(rate_per_s=0.5, input_tokens=1000, answer_tokens=500)),
        ("r1", "h200-sxm-141gb", Workload(users=64, input_tokens=1000, answer_tokens=1000, think_tokens=500)),
        ("r1", "h200-sxm-141gb", Workload(users=64, input_tokens=2000, answer_tokens=500, shared_prefix_tokens=1000)),
    ],
)
def test_a_plan_and_its_explanation_are_one_answer(model: str, gpu: str, load: Workload) -> None:
    best = _best(model, load, gpu)
    told = explain_deployment(best.deployment, load)
    assert told.memory.fits
    assert told.served is not None
    assert told.step is not None
    assert told.served.tpot_s.value == pytest.approx(best.service.tpot_s.value, rel=0.01)
    assert told.served.ttft_s.value == pytest.approx(best.service.ttft_s.value, rel=0.05)
    assert told.memory.weight_bytes == best.memory.weight_bytes
    assert told.step.bound_by == best.service.bound_by
    assert told.step.total_s <= told.served.tpot_s.value * best.deployment.pools[0].parallelism.pp * 1.01


def test_everybody_at_once_waits_as_long_in_a_plan_as_in_a_simulation(say: Say) -> None:
    """In closed form it was half as long: prompts that come together were priced as beside sequences that decode."""
    load = Workload(users=8, input_tokens=600, answer_tokens=60)
    best = _best("llama-3.1-8b", load, "l4-24gb")
    assert best.details is not None and best.deployment.pools[0].replicas == 1
    played = simulate_deployment(best.deployment, Offered(requests=offer(load, requests=8)))
    assert played.score is not None
    assert best.details.burst_ttft_s.value == pytest.approx(played.score.ttft.mean_s, rel=1e-6)


def test_as_many_sequences_decode_as_the_stated_means_say() -> None:
    """Where prompts take most of the time closed forms count fewer than the simulation whose means are stated."""
    load = Workload(users=16, input_tokens=800, answer_tokens=100)
    words = Setup(formats=Formats(weight="awq-int4"))
    found = explain("deepseek-r1-distill-qwen-32b", "2xrtx-4090", load, words)
    assert found.served is not None and found.step is not None
    decoding = 16 * (1 - found.served.ttft_s.value / found.served.e2e_s.value)
    assert found.served.sequences_per_replica == pytest.approx(decoding, rel=0.01)
    assert found.step.sequences == found.served.sequences_per_replica


def test_the_command_line_and_python_give_the_same(say: Say) -> None:
    load = Workload(users=16, input_tokens=1000, answer_tokens=500)
    best = _best("llama-3.1-8b", load, "h100-sxm-80gb")
    words = ("plan", "llama-3.1-8b", "--gpu", "h100", "--users", "16", "--input", "1000", "--answer", "500")
    (first, *_) = say(*words, "--tpot", "80ms", "--no-quantization", "--min-recovery", "0", "--json").document["plans"]
    assert first["service"]["tpot_s"]["value"] == pytest.approx(best.service.tpot_s.value)
    assert first["cost"]["usd_per_hour"] == pytest.approx(best.cost.usd_per_hour)


def test_a_tighter_limit_never_makes_a_plan_cheaper(say: Say) -> None:
    words = ("plan", "llama-3.1-8b", "--users", "64", "--no-quantization", "--json", "--tpot")
    prices = [say(*words, limit).document["plans"][0]["cost"]["usd_per_hour"] for limit in ("60ms", "30ms", "15ms")]
    assert prices == sorted(prices)


def test_nothing_holds_is_an_answer_with_reasons_and_code_3(say: Say) -> None:
    said = say("plan", "r1", "--gpu", "rtx-3060", "--max-gpus", "2", "--json")
    assert said.code == 3
    assert said.err == ""
    assert said.document["plans"] == []
    assert {rejection["gate"] for rejection in said.document["rejections"]} == {"memory"}
    assert say("explain", "r1", "--on", "8xh100").code == 3
    assert say("fit", "r1", "--on", "h100").code == 3


def test_a_missed_limit_is_code_4(say: Say) -> None:
    said = say("explain", "llama-3.1-8b", "--on", "h100", "--tpot", "1ms")
    assert said.code == 4
    assert "LIMIT MISSED: TPOT" in said.out


@pytest.mark.parametrize(
    ("gpu", "weights", "engine"),
    [("apple-m2-ultra", "native", "llama.cpp"), ("h100", "gguf-q4_k_m", "llama.cpp"), ("h100", "native", "vllm")],
)
def test_an_explanation_takes_the_engine_a_plan_would(say: Say, gpu: str, weights: str, engine: str) -> None:
    words = ("llama-3.1-8b", "--weight-format", weights, "--json")
    (planned, *_) = say("plan", *words, "--gpu", gpu).document["plans"]
    explained = say("explain", *words, "--on", gpu).document
    assert planned["deployment"]["engine"]["name"] == explained["deployment"]["engine"]["name"] == engine


def test_a_mix_is_a_format_with_or_without_its_family(say: Say) -> None:
    words = ("explain", "llama-3.1-8b", "--on", "rtx-4090", "--json", "--weight-format")
    assert say(*words, "q4_k_m").document == say(*words, "gguf-q4_k_m").document


def test_experts_of_the_largest_models_have_a_machine_that_holds_them(say: Say) -> None:
    words = ("explain", "deepseek-r1", "--on", "rtx-4090", "--weight-format", "q4_k_m", "--offload-bytes", "360GiB")
    assert say(*words).code == 3
    assert say(*words, "--node", "large-memory-server").code == 0


def test_what_a_plan_rejects_by_format_is_explained_with_a_warning(say: Say) -> None:
    assert (
        "NOT SUPPORTED: vllm has no fp8 kernels for turing"
        in say("explain", "llama-3.1-8b", "--on", "t4", "--weight-format", "fp8").out
    )
    assert (
        "NOT SUPPORTED: vllm does not run on apple-m2-ultra"
        in say("explain", "llama-3.1-8b", "--on", "apple-m2-ultra", "--engine", "vllm").out
    )


def test_more_offload_than_there_are_weights_is_refused(say: Say) -> None:
    said = say("explain", "llama-3.1-8b", "--on", "h100", "--offload-bytes", "1000GiB")
    assert said.code == 2
    assert "1,000.0 GiB are to lie in host memory" in said.complaint


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("plan", "llama-3.1-8b", "--ttft", "2s", "--ttfa", "1s"), "TTFT limit 2 s is longer than the TTFA limit 1 s"),
        (("plan", "llama-3.1-8b", "--ttfa", "2s", "--e2e", "1s"), "TTFA limit 2 s is longer than the E2E limit 1 s"),
        (("fit", "--on", "l4", "--context", "0"), "--context 0 holds no prompt"),
        (("plan", "llama-3.1-8b", "--gpu", ""), "unknown GPU ''"),
        (("plan", ""), "unknown model ''"),
    ],
)
def test_what_cannot_be_meant_is_refused(say: Say, words: tuple[str, ...], complaint: str) -> None:
    said = say(*words)
    assert said.code == 2
    assert complaint in said.complaint
    assert "did you mean" not in said.complaint


def test_an_explanation_starts_the_engine_as_a_plan_does(say: Say) -> None:
    explained = say("explain", "llama-3.1-8b", "--on", "rtx-4090", "--json")
    (planned, *_) = say("plan", "llama-3.1-8b", "--gpu", "rtx-4090", "--json").document["plans"]
    assert explained.code == 0
    lengths = [
        document["deployment"]["pools"][0]["settings"]["max_model_len_tokens"]
        for document in (explained.document, planned)
    ]
    assert lengths == [3072, 3072]


def test_a_context_nobody_stated_is_as_long_as_the_cache_as_in_a_plan(say: Say) -> None:
    """Of a request of 10,000 tokens explain said that one sequence does not fit, in a cache of 15,616: twice the
    request was started for, which a plan shortens and explain did not.
    """
    words = ("deepseek-r1-distill-qwen-14b", "--weight-format", "q4_k_m", "--users", "1", "--input", "8000")
    explained = say("explain", *words, "--answer", "2000", "--on", "rtx-3060-12gb", "--json")
    assert explained.code == 0
    (pool,) = explained.document["deployment"]["pools"]
    assert 10_000 <= pool["settings"]["max_model_len_tokens"] <= explained.document["memory"]["kv_tokens"]
    assert say("plan", *words, "--answer", "2000", "--gpu", "rtx-3060-12gb", "--max-gpus", "1").code == 0
    stated = say("explain", *words, "--answer", "2000", "--on", "rtx-3060-12gb", "--max-model-len", "20480")
    assert stated.code == 3
    assert say("explain", *words, "--answer", "8000", "--on", "rtx-3060-12gb").code == 3


@pytest.mark.parametrize(
    "words",
    [
        ("llama-3.1-8b", "--gpu", "rtx-4090", "--rate", "0.5/s", "--growth", "1.5"),
        ("llama-3.1-8b", "--gpu", "apple-m2-ultra", "--users", "2"),
        ("llama-3.3-70b", "--gpu", "h100", "--users", "64", "--tpot", "40ms", "--shared-prefix", "500"),
        ("r1", "--gpu", "h200", "--gpu", "h100", "--users", "64", "--think", "500", "--kv-format", "fp8"),
        ("llama-3.3-70b", "--gpu", "rtx-4090", "--prices", "purchase", "--offload", "--max-gpus", "1", "--users", "1"),
        (
            "r1",
            "--gpu",
            "h100",
            "--users",
            "16",
            "--max-gpus",
            "16",
            "--engine",
            "vllm@0.11",
            "--assume",
            "tie_word_embeddings=false",
        ),
    ],
    ids=" ".join,
)
def test_a_plan_ends_with_the_command_that_explains_it(say: Say, words: tuple[str, ...]) -> None:
    planned = say("plan", *words)
    program, *restated = shlex.split(planned.out.partition("The best plan line by line:")[2].replace("\\\n", ""))
    assert program == "sizewell"
    (best, *_) = say("plan", *words, "--json").document["plans"]
    told = say(*restated, "--json")
    assert told.code == 0, told.err
    assert told.document["deployment"] == best["deployment"]
    for name, off in (("tpot_s", 0.01), ("ttft_s", 0.05)):
        assert told.document["served"][name]["value"] == pytest.approx(best["service"][name]["value"], rel=off)
    # Without the limits of the plan more would hold: 256 users beside the plan's 204.
    assert told.document["rehearsal"]["saturation"] == best["rehearsal"]["saturation"]


def test_a_nodes_key_is_a_full_node(say: Say) -> None:
    places = (
        ("--on", "hgx-h100-8"), ("--on", "1xhgx-h100-8"), ("--on", "8xh100", "--node", "hgx-h100-8"),
    )  # fmt: skip
    answers = [say("explain", "llama-3.3-70b", *place, "--json").document for place in places]
    assert {answer["deployment"]["node"] for answer in answers} == {"hgx-h100-8"}
    assert {answer["deployment"]["gpus"] for answer in answers} == {8}
    two = say("explain", "llama-3.3-70b", "--on", "2xhgx-h100-8", "--tp", "8", "--replicas", "1", "--json").document
    assert (two["deployment"]["nodes"], two["deployment"]["gpus"]) == (2, 8)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--on", "desktop"), "desktop takes several accelerators"),
        (("--on", "hgx-h100-8", "--node", "hgx-h200-8"), "--on names the node hgx-h100-8 and --node hgx-h200-8"),
        (("--on", "2xhgx-h100-8", "--nodes", "3"), "--on names 2 × hgx-h100-8 and --nodes 3"),
        (("--on", "8xh100", "--node", "desktop"), "desktop does not hold h100-sxm-80gb"),
        (("--on", "8xh100", "--tp", "4", "--replicas", "3"), "3 replicas of TP4 need 12 accelerators, there are 8"),
    ],
)
def test_machines_that_contradict_themselves_are_refused(say: Say, words: tuple[str, ...], complaint: str) -> None:
    said = say("explain", "llama-3.3-70b", *words)
    assert said.code == 2
    assert complaint in said.complaint


def test_a_rate_beyond_what_is_served_is_code_4(say: Say) -> None:
    said = say("explain", "llama-3.1-8b", "--on", "h100", "--rate", "1000/s")
    assert said.code == 4
    assert "LIMIT MISSED: 1000 requests/s are offered" in said.out
    assert say("explain", "llama-3.1-8b", "--on", "h100", "--rate", "1/s").code == 0


@pytest.mark.parametrize("flags", [("--min-recovery", "0.9"), ("--quantize",)])
def test_a_floor_on_quality_or_a_flag_unlocks_formats(say: Say, flags: tuple[str, ...]) -> None:
    words = ("plan", "llama-3.3-70b", "--gpu", "h100", "--gpu", "apple-m2-ultra", "--json")
    usual, more = say(*words).document, say(*words, *flags).document
    assert usual["question"]["weight_formats"] == ["native", "fp8"]
    assert {"int8", "awq-int4", "nvfp4", "gguf-q4_k_m"} <= set(more["question"]["weight_formats"])
    assert "--quantize" in usual["decided_by"][0]
    assert "--quantize" not in more["decided_by"][0]


@pytest.mark.parametrize(
    ("version", "note"), [("0.0.1", "0.0.1 is older than any release"), ("99.0", "99.0 is newer than 0.33")]
)
def test_a_plan_says_how_an_engines_version_was_read(say: Say, version: str, note: str) -> None:
    reasons = say("plan", "llama-3.1-8b", "--gpu", "h100", "--engine", f"vllm@{version}", "--json").document[
        "decided_by"
    ]
    assert any(reason.startswith("Engine: ") and note in reason for reason in reasons)


def test_long_keys_of_accelerators_stay_in_one_piece(say: Say) -> None:
    lines = say("plan", "llama-3.1-8b", "--gpu", "rtx-pro-6000-workstation").out.splitlines()
    assert any("1 × rtx-pro-6000-workstation-96gb" in line for line in lines)
    assert max(map(len, lines)) <= 100


def test_desktops_that_no_replica_crosses_need_not_be_joined(say: Say) -> None:
    words = ("explain", "llama-3.1-8b", "--on", "1xrtx-4090", "--nodes", "3", "--node", "desktop")
    assert say(*words, "--tp", "1", "--replicas", "3").code == 0
    assert "desktop is joined in 1 to 1" in say(*words, "--tp", "1", "--pp", "3").complaint


def test_a_host_that_lacks_the_memory_for_what_is_offloaded_is_named(say: Say) -> None:
    words = ("explain", "r1", "--on", "rtx-4090", "--weight-format", "gguf-q4_k_m", "--engine", "llama.cpp")
    small = say(*words, "--offload-bytes", "366GiB", "--users", "1")
    assert "THE HOST LACKS MEMORY: 379.0 GiB are needed" in small.out
    assert "HOST LACKS" not in say("explain", "llama-3.1-8b", "--on", "h100", "--offload-bytes", "5GiB").out


@pytest.mark.parametrize("flags", [("--offload-bytes", "65GiB"), ("--kv-host-memory", "65GiB")])
def test_what_no_host_holds_is_a_verdict_and_has_no_speed(say: Say, flags: tuple[str, str]) -> None:
    """A desktop has 64 GiB: more weights were priced there, and cache was not counted into its memory at all."""
    offloads = flags[0] == "--offload-bytes"
    words = (
        ("llama-3.3-70b", "--weight-format", "gguf-q8_0", "--engine", "llama.cpp") if offloads else ("llama-3.1-8b",)
    )
    words = (*words, "--on", "rtx-4090", *flags)
    told = say("explain", *words, "--json")
    assert (told.code, told.document["memory"]["fits"], told.document["served"]) == (3, False, None)
    assert told.document["memory"]["verdict"] == "the host does not hold it"
    assert say("simulate", *words).code == 3
    roomier = say("explain", *words, "--node", "workstation", "--json")
    assert roomier.code == 0
    needed = roomier.document["bill_of_materials"]["host_ram_minimum_bytes"]
    assert needed == pytest.approx(14e9 + float(flags[1][:-3]) * 2**30)


def test_a_node_named_like_its_accelerator_is_the_whole_node(say: Say) -> None:
    """DeepSeek-R1 did not fit an NVL72, because one of its accelerators was taken."""
    assert "with 4 × gb200-186gb, TP4" in say("explain", "r1", "--on", "gb200-nvl72").out
    assert "with 2 × gb200-186gb, TP2" in say("explain", "llama-3.1-8b", "--on", "2xgb200-nvl72").out


def test_a_wide_replica_is_not_full_at_the_end_of_a_grid(say: Say) -> None:
    """72 ranks of 1,024 sequences were said to be full at 4,096, and to hold 73,728 users."""
    words = ("explain", "r1", "--on", "gb200-nvl72", "--nodes", "18", "--tp", "1", "--dp", "72", "--users", "6000")
    said = say(*words, "--input", "100", "--answer", "100")
    assert "of 73,728 that may" in said.out
    assert "SATURATED" not in said.out


@pytest.mark.parametrize("load", [("--users", "20"), ("--rate", "2/s")])
def test_one_answer_has_one_headroom(say: Say, load: tuple[str, str]) -> None:
    """The service said 65 % were free, by the closed form; the rehearsal of the same plan said 59 %."""
    told = say("plan", "qwen3-32b", *load, "--tpot", "30ms", "--gpu", "h100", "--top", "1", "--json").document
    service, played = told["plans"][0]["service"], told["plans"][0]["rehearsal"]
    assert service["headroom_fraction"] == played["headroom_fraction"]
    if played["unit"] == "users":
        most = service["saturation_concurrency_per_replica"]
        assert most * played["replicas"] == pytest.approx(played["saturation"]["holds"])
        assert service["headroom_fraction"] == pytest.approx(1 - played["load"] / played["replicas"] / most)


@pytest.mark.parametrize(
    ("name", "key", "gpus"),
    [
        ("gb200-nvl72", "gb200-nvl72", 4),
        ("2xhgx-h100-8", "hgx-h100-8", 16),
        ("p5.48xlarge", "aws-p5-48xlarge", 8),
        ("Standard_ND96isr_H100_v5", "azure-nd96isr-h100-v5", 8),
        ("a2-highgpu-8g", "gcp-a2-highgpu-8g", 8),
        ("3xg5.12xlarge", "aws-g5-12xlarge", 12),
    ],
)
def test_a_node_is_all_of_its_accelerators_for_every_question(say: Say, name: str, key: str, gpus: int) -> None:
    """`fit` took one accelerator of an NVL72, and nobody knew the clouds' own names of what they rent."""
    fitted = say("fit", "llama-3.1-8b", "--on", name, "--json").document
    assert (fitted["gpus"], fitted["fitting"][0]["deployment"]["node"]) == (gpus, key)
    stated = say("explain", "llama-3.1-8b", "--on", name, "--json").document["deployment"]
    assert (stated["node"], stated["nodes"] * stated["gpus_per_node"]) == (key, gpus)


def test_a_machine_of_no_name_is_told_both_kinds_of_names(say: Say) -> None:
    assert "did you mean hgx-h100-8" in say("explain", "llama-3.1-8b", "--on", "hgx-h100").complaint
    several = say("fit", "llama-3.1-8b", "--on", "workstation").complaint
    assert "say --on GPU --node workstation" in several
    assert say("fit", "llama-3.1-8b", "--on", "rtx-4090", "--node", "workstation").code == 0


@pytest.mark.parametrize("limit", [("--tpot", "100ms"), ("--tokens-per-s-per-user", "20")])
def test_a_limit_between_tokens_needs_two_of_them(say: Say, limit: tuple[str, str]) -> None:
    """Answers of one token: every candidate was played, none held, and the reason was `tpot none > 0.1 s`."""
    words = ("llama-3.1-8b", "--users", "2", "--input", "50", "--answer", "1", *limit)
    commands = [("plan", *words, "--gpu", "h100")]
    if limit[0] == "--tpot":
        commands.append(("explain", *words, "--on", "h100"))
    for command in commands:
        said = say(*command)
        assert (said.code, "leave the TPOT limit out" in said.complaint) == (2, True)
    assert say("plan", *words[:-2], "--think", "1", *limit, "--gpu", "h100", "--top", "1").code == 0


def test_caches_of_data_parallel_ranks_are_not_that_of_one(say: Say) -> None:
    """18.74 GiB of R1's latents are 286,400 tokens; "= 2,291,200 tokens" were those of eight ranks."""
    words = ("plan", "deepseek-r1", "--users", "112", "--input", "40", "--answer", "1600", "--gpu", "h100")
    best, out = say(*words, "--json").document["plans"][0], say(*words).out
    (pool,) = best["deployment"]["pools"]
    ranks, memory = pool["parallelism"]["dp"], best["memory"]
    assert ranks > 1
    assert memory["kv_tokens"] / ranks == pytest.approx(memory["kv_bytes"] / (61 * 576 * 2), rel=0.01)
    assert f"on {ranks} data-parallel ranks {memory['kv_tokens']:,.0f} tokens" in " ".join(out.split())


@pytest.mark.parametrize("load", [("--rate", "1.7/s"), ("--users", "30")])
def test_windows_that_are_given_back_make_room_for_who_decodes(say: Say, load: tuple[str, str]) -> None:
    """Gemma 3 holds 26 sequences of 2,300 tokens once their windows have passed, and admits by 13.5: explain said
    that 1.7 requests/s were offered and 1.45 served, that up to 1.93 hold and 12 % of that are free; and of 30 users
    that 14 may decode, that 2 requests/s of 12 s are served, and that 96 users hold.
    """
    found = say("explain", "gemma-3-27b", "--on", "h100", *load, "--input", "2000", "--answer", "300", "--json")
    served, played = found.document["served"], found.document["rehearsal"]
    rate, e2e_s, ttft_s = (served[name]["value"] for name in ("requests_per_s", "e2e_s", "ttft_s"))
    decoding = rate * (e2e_s - ttft_s)
    assert served["sequences_per_replica"] == pytest.approx(decoding, rel=0.01)
    assert decoding <= served["most_sequences_per_replica"]
    assert None not in (served["ttft_s"]["low"], served["e2e_s"]["high"])
    if load[0] == "--rate":
        assert (found.code, served["saturated"], rate) == (0, False, pytest.approx(1.7))
    else:
        assert played["saturation"]["holds"] == pytest.approx(served["most_sequences_per_replica"], rel=0.05)
