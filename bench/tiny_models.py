"""Make a model small enough for a processor: random weights in a family's own shape, a tokenizer of bytes.

Run by an interpreter that has torch and transformers, such as that of the engine which is to serve it:

    .venv-vllm/bin/python bench/tiny_models.py FOLDER qwen2|deepseek_v3

What is cached per token is as in the real families (grouped heads of 64; a latent of 512 and a rotary part of 64), so
that an engine's own count of its cache can be compared with a predicted one. The text it writes means nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPECIAL = ("<begin>", "<end>", "<pad>")
SIZES = {
    "vocab_size": 4096, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "max_position_embeddings": 32_768, "tie_word_embeddings": False,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip


def _qwen2() -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**SIZES, intermediate_size=1024, num_key_value_heads=2))


def _deepseek_v3() -> Any:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    shape = DeepseekV3Config(
        **SIZES, intermediate_size=512, num_key_value_heads=4, first_k_dense_replace=1, moe_intermediate_size=128,
        n_routed_experts=16, n_shared_experts=1, num_experts_per_tok=4, n_group=4, topk_group=2,
        q_lora_rank=128, kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128,
    )  # fmt: skip
    # vLLM makes the bias of the router only where these say so, as the real checkpoints do.
    shape.scoring_func, shape.topk_method = "sigmoid", "noaux_tc"
    return DeepseekV3ForCausalLM(shape)


FAMILIES: dict[str, Callable[[], Any]] = {"qwen2": _qwen2, "deepseek_v3": _deepseek_v3}


def make(folder: Path, family: str) -> None:
    """Write a model of a family into a folder."""
    import torch

    torch.manual_seed(0)
    model = FAMILIES[family]().to(torch.bfloat16)
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = (*SPECIAL, *letters)
    # Every token the model may write needs a text: streams carry none for others.
    more = (f"w{number}" for number in range(SIZES["vocab_size"] - len(known)))
    words = {word: number for number, word in enumerate((*known, *more))}
    raw = Tokenizer(models.BPE(vocab=words, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    begin, end, pad = SPECIAL
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=begin, eos_token=end, pad_token=pad)


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2])
