"""Writes a Qwen2-like model of a few million random weights, with a byte-level tokenizer, where there was none.

Run by the interpreter of the environment that holds vLLM, which has what it needs:

    .venv-vllm/bin/python tests/real/tiny_model.py FOLDER [HIDDEN_SIZE LAYERS]

The text it writes is noise, but lengths, cache bytes, metrics and the shapes of answers are those of a real model. Its
chat template opens the thinking as R1's does, so that everything before `</think>` is reasoning.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

SPECIAL = ("<|begin|>", "<|end|>", "<|user|>", "<|assistant|>")
THINK = ("<think>", "</think>")
TEMPLATE = (
    "{{ bos_token }}{% for one in messages %}"
    "{{ '<|' + ('assistant' if one.role == 'assistant' else 'user') + '|>' + one.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"
)


def write_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Write a tokenizer with a token for each byte; tags of thinking are tokens that decoding keeps."""
    names = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *THINK]
    whole = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=whole, bos_token=SPECIAL[0], eos_token=SPECIAL[1])
    made.add_special_tokens({"additional_special_tokens": list(SPECIAL[2:])})
    made.add_tokens(list(THINK))
    made.chat_template = TEMPLATE
    made.save_pretrained(folder)
    return made


def main() -> None:
    """Write config, weights and tokenizer."""
    folder = Path(sys.argv[1])
    hidden, layers = map(int, sys.argv[2:4] or ("256", "4"))
    torch.manual_seed(0)
    tokenizer = write_tokenizer(folder)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=2, max_position_embeddings=8192,
        tie_word_embeddings=False, **ends,
    )  # fmt: skip
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    GenerationConfig(**ends).save_pretrained(folder)


if __name__ == "__main__":
    main()
