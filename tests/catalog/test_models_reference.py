"""Shipped models agree with the reference table of released configurations, where a checkout has it beside it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from sizewell.catalog.models import read_model
from sizewell.specs.layers import Attention, DenseMlp, LatentAttention, MoeMlp
from sizewell.specs.model import ModelSpec

TABLE = Path(__file__).parents[2].parent / "shared" / "reference" / "model-configs.csv"
ROWS = list(csv.DictReader(TABLE.open(encoding="utf-8"))) if TABLE.is_file() else []

if not ROWS:
    pytest.skip("no reference table beside this checkout", allow_module_level=True)


def number(row: dict[str, str], column: str) -> int | None:
    return int(row[column]) if re.fullmatch(r"\d+", row[column]) else None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["model_hf_id"])
def test_a_shipped_model_agrees_with_the_table(row: dict[str, str]) -> None:
    model = read_model(row["model_hf_id"])
    found = facts(model)
    if row["architecture"] == "DeciLMForCausalLM":
        del found["num_key_value_heads"]  # the field is nominal: every layer has its own
    wrong = {
        column: (expected, values)
        for column, values in found.items()
        if values and (expected := number(row, column)) is not None and expected not in values
    }
    assert not wrong
    if row["tie_word_embeddings"] in ("True", "False"):
        assert model.tied == (row["tie_word_embeddings"] == "True")
    if row["kv_bytes_per_token_bf16_tp1"].isdigit() and not row["index_topk"]:
        assert kept_for_every_token(model) in (number(row, "kv_bytes_per_token_bf16_tp1"), None)


def kept_for_every_token(model: ModelSpec) -> int | None:
    """Return the cached bytes of a token in 16 bits, None where caches of other kinds mix in."""
    kinds = (Attention, LatentAttention)
    if any(not isinstance(mixer, kinds) for mixer in model.cached_layers):
        return None
    return sum(2 * m.rank_kv_elements_per_token(1) for m in model.cached_layers if isinstance(m, kinds))


def facts(model: ModelSpec) -> dict[str, set[int]]:
    """Return for each column the values the layers have; a column that does not apply is empty."""
    mixers = {layer.mixer for layer in model.layers}
    softmax = [mixer for mixer in mixers if isinstance(mixer, Attention)]
    latent = [mixer for mixer in mixers if isinstance(mixer, LatentAttention)]
    mlps = {layer.mlp for layer in model.layers}
    experts = [mlp for mlp in mlps if isinstance(mlp, MoeMlp)]
    dense = [mlp for mlp in mlps if isinstance(mlp, DenseMlp)]
    return {
        "hidden_size": {model.hidden},
        "vocab_size": {model.vocabulary},
        "num_hidden_layers": {len(model.layers)},
        "max_position_embeddings": {model.max_context_tokens},
        "num_attention_heads": {mixer.heads for mixer in (*softmax, *latent)},
        "num_key_value_heads": {mixer.kv_heads for mixer in softmax},
        "head_dim": {mixer.head_dim for mixer in softmax},
        "v_head_dim": {mixer.v_head_dim for mixer in (*softmax, *latent)},
        "sliding_window": {mixer.window_tokens for mixer in softmax if mixer.window_tokens},
        "kv_lora_rank": {mixer.kv_lora_rank for mixer in latent},
        "q_lora_rank": {mixer.q_lora_rank for mixer in latent if mixer.q_lora_rank},
        "qk_nope_head_dim": {mixer.qk_nope_head_dim for mixer in latent},
        "qk_rope_head_dim": {mixer.qk_rope_head_dim for mixer in latent},
        "index_n_heads": {mixer.indexer.heads for mixer in latent if mixer.indexer},
        "index_head_dim": {mixer.indexer.head_dim for mixer in latent if mixer.indexer},
        "index_topk": {mixer.indexer.top_k_tokens for mixer in latent if mixer.indexer},
        "n_routed_experts": {mlp.experts for mlp in experts},
        "num_experts_per_tok": {mlp.top_k for mlp in experts},
        "moe_intermediate_size": {mlp.intermediate for mlp in experts},
        # Nominal where every layer routes.
        "intermediate_size": {mlp.intermediate for mlp in (*dense, *experts)} if dense else set(),
    }
