"""Where models are looked up, in which order, and what is said when there is none."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sizewell.catalog.models import SHIPPED, list_models, read_model
from sizewell.specs.errors import BadInputError, UnknownArchitectureError, UnknownNameError, UnreachableError

SMALL = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}  # fmt: skip
SMALL_PARAMETERS = 2 * 64 * 1000 + 64 + 2 * (64 * 64 * 2 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No own catalogue, no cache, no network, whatever the machine has."""
    monkeypatch.setenv("SIZEWELL_CATALOG", str(tmp_path / "catalog"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def write(folder: Path, values: dict[str, object], name: str = "config.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(values))
    return folder


def test_the_scan_of_the_index_finds_what_a_toml_parser_finds() -> None:
    index = tomllib.loads((SHIPPED / "index.toml").read_text())
    assert {e.id: (e.file, list(e.aliases)) for e in list_models()} == {
        name: (facts["file"], facts["aliases"]) for name, facts in index.items()
    }


def test_no_alias_means_two_models() -> None:
    names = [alias.lower() for entry in list_models() for alias in entry.aliases]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["deepseek-ai/DeepSeek-R1", "DEEPSEEK-AI/deepseek-r1", "r1", "R1", "deepseek-r1"])
def test_shipped_models_answer_to_id_alias_and_any_case(name: str) -> None:
    assert read_model(name).name == "deepseek-ai/DeepSeek-R1"


def test_a_folder_and_a_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", SMALL)
    assert read_model(str(folder)).parameters == SMALL_PARAMETERS
    assert read_model(str(folder)).name == "mine"
    assert read_model(str(folder / "config.json")).parameters == SMALL_PARAMETERS


def test_the_users_catalogue_wins_over_a_shipped_model(tmp_path: Path) -> None:
    write(tmp_path / "catalog" / "models", SMALL, "deepseek-ai--DeepSeek-R1.json")
    assert read_model("deepseek-ai/deepseek-r1").parameters == SMALL_PARAMETERS


def test_the_hub_cache_is_read_at_its_main_revision(tmp_path: Path) -> None:
    root = tmp_path / "cache" / "models--me--mine"
    write(root / "snapshots" / "old", SMALL)
    write(root / "snapshots" / "new", SMALL | {"num_hidden_layers": 3})
    assert len(read_model("me/mine").layers) in (2, 3)
    write(root / "refs", {}, "main").joinpath("main").write_text("old")
    assert len(read_model("me/mine").layers) == 2


def test_offline_says_so() -> None:
    with pytest.raises(UnreachableError, match="HF_HUB_OFFLINE"):
        read_model("nobody/nothing")


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*qwen"):
        read_model("qwn3-32b")


@pytest.mark.parametrize(
    "path", ["./nowhere", "/nowhere/config.json", "~/nowhere", "a/b/c", "~nobody-at-all/x", "x\0y"]
)
def test_a_path_that_is_not_there_is_one_clear_line(path: str) -> None:
    with pytest.raises((BadInputError, UnknownNameError)) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no config\.json"):
        read_model(str(tmp_path))


def test_an_unknown_architecture_says_what_to_assume(tmp_path: Path) -> None:
    odd = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
    folder = write(tmp_path / "odd", odd | {"architectures": ["LlamoForCausalLM"]})
    with pytest.raises(UnknownArchitectureError) as caught:
        read_model(str(folder))
    message = str(caught.value)
    assert "LlamoForCausalLM" in message
    assert "lacks intermediate_size" in message
    assert "--assume architecture=LlamaForCausalLM" in message
    assert "\n" not in message


def test_what_is_assumed_is_written_down(tmp_path: Path) -> None:
    untold = {key: value for key, value in SMALL.items() if key != "tie_word_embeddings"}
    folder = write(tmp_path / "odd", untold | {"architectures": ["LlamoForCausalLM"]})
    model = read_model(str(folder), assume=("architecture=LlamaForCausalLM", "num_hidden_layers=3"))
    assert len(model.layers) == 3
    assert model.assumed == (
        "architecture=LlamaForCausalLM", "num_hidden_layers=3", "tie_word_embeddings=false",
    )  # fmt: skip


def test_an_unknown_wrapper_is_read_through_its_language_section(tmp_path: Path) -> None:
    wrapper = {
        "architectures": ["OvisChatModel"], "vision_config": {"hidden_size": 32},
        "llm_config": SMALL | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    }  # fmt: skip
    folder = write(tmp_path / "wrapper", wrapper)
    with pytest.raises(UnknownArchitectureError, match="--assume architecture=LlamaForCausalLM"):
        read_model(str(folder))
    model = read_model(str(folder), assume=("architecture=LlamaForCausalLM",))
    assert model.parameters == SMALL_PARAMETERS
    assert model.assumed == ("architecture=LlamaForCausalLM", "vision_config is not counted")


def test_a_wrapper_of_any_language_model_names_the_one_it_lacks(tmp_path: Path) -> None:
    wrapper = {"architectures": ["InternVLChatModel"], "llm_config": SMALL | {"architectures": ["NopeForCausalLM"]}}
    folder = write(tmp_path / "intern", wrapper)
    with pytest.raises(UnknownArchitectureError, match=r"'NopeForCausalLM' is not known.* --assume architecture="):
        read_model(str(folder))
    assert read_model(str(folder), assume=("architecture=LlamaForCausalLM",)).parameters == SMALL_PARAMETERS


@pytest.mark.parametrize(("name", "near"), [
    ("BertModel", "LlamaForCausalLM"), ("WhisperForConditionalGeneration", "LlamaForCausalLM"),
    ("Qwen3ForCausalLMX", "Qwen3ForCausalLM"), ("LLaMaForCausalLM", "LlamaForCausalLM"),
])  # fmt: skip
def test_families_are_alike_by_their_own_names_not_by_what_all_classes_end_in(
    tmp_path: Path, name: str, near: str
) -> None:
    """Whisper was said to be nearest to ChatGLM, whose classes end alike, and BERT to wrappers of images."""
    folder = write(tmp_path / "other", SMALL | {"architectures": [name]})
    with pytest.raises(UnknownArchitectureError, match=rf"nearest: {near}\b.*--assume architecture={near}$"):
        read_model(str(folder))


def test_assumptions_reach_the_language_model_of_a_wrapper() -> None:
    model = read_model("google/gemma-3-4b-it", assume=("num_hidden_layers=6", "vision_config.num_hidden_layers=1"))
    assert len(model.layers) == 6
    assert model.vision_parameters < read_model("google/gemma-3-4b-it").vision_parameters


def test_a_field_is_overridden_where_it_stands() -> None:
    assert read_model("moonshotai/Kimi-K2-Instruct", assume=("quantization_config=null",)).weight_format == "bf16"
    assert read_model("Qwen/Qwen3.8-27B-FP8", assume=("quantization_config=null",)).weight_format == "bf16"


@pytest.mark.parametrize("statement", ["", "=", "num_hidden_layers", "=3", "vocab_size.deep=1"])
def test_an_assumption_without_field_and_value_is_refused(statement: str) -> None:
    with pytest.raises(BadInputError, match="--assume"):
        read_model("r1", assume=(statement,))


def test_a_missing_field_names_the_assumption_that_supplies_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "odd", {key: value for key, value in SMALL.items() if key != "vocab_size"})
    with pytest.raises(BadInputError, match="vocab_size is missing; give it with --assume vocab_size="):
        read_model(str(folder))


def test_reading_one_model_loads_neither_the_network_nor_the_other_families() -> None:
    code = (
        "import sys; from sizewell.catalog.models import read_model; read_model('llama-3.1-8b');"
        "print([n for n in sys.modules if n in ('numpy', 'urllib.request', 'ssl', 'tomllib')"
        " or n.endswith(('architectures.latent', 'architectures.towers'))])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("fooo=1", "unknown field 'fooo'"),
        ("num_hidden_layer=3", "did you mean num_hidden_layers"),
        ("text_config.num_hidden_layer=3", "did you mean num_hidden_layers"),
    ],
)
def test_a_fact_no_reader_looks_up_is_refused(statement: str, says: str) -> None:
    with pytest.raises(UnknownNameError, match=says) as caught:
        read_model("llama-3.1-8b", assume=(statement,))
    assert caught.value.exit_code == 2


def test_facts_that_are_read_are_taken_in_every_shipped_architecture() -> None:
    for entry in {entry.architecture: entry for entry in list_models()}.values():
        layers = len(read_model(entry.id).layers)
        assert "vocab_size=64000" in read_model(entry.id, assume=("vocab_size=64000",)).assumed, (entry.id, layers)


def test_a_typo_in_a_hub_id_names_the_shipped_ones_when_nothing_can_be_looked_up() -> None:
    with pytest.raises(UnreachableError, match=r"spelt alike: meta-llama/Llama-3\.1-8B-Instruct") as caught:
        read_model("meta-llama/Llama-3.1-8B-Instuct")
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    with pytest.raises(UnreachableError) as caught:
        read_model("somebody/Entirely-Else")
    assert "alike" not in str(caught.value)


def test_a_path_object_is_a_path(tmp_path: Path) -> None:
    assert read_model(write(tmp_path / "small", SMALL)).parameters == SMALL_PARAMETERS


def test_a_folder_that_is_no_models_says_what_it_is(tmp_path: Path) -> None:
    packed, adapter = tmp_path / "packed", tmp_path / "adapter"
    packed.mkdir()
    adapter.mkdir()
    (packed / "model-Q4_K_M.gguf").write_bytes(b"GGUF\x03")
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen3-8B"}')
    for path in (packed, packed / "model-Q4_K_M.gguf"):
        with pytest.raises(BadInputError, match="--weight-format gguf"):
            read_model(str(path))
    with pytest.raises(BadInputError, match=r"adapter.*'Qwen/Qwen3-8B': give that one"):
        read_model(str(adapter))
