"""Models built by hand from their published shapes, so that the ledger is tested without any reader."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sizewell.specs.encoding import BF16, FP8_BLOCK128, Encoding
from sizewell.specs.layers import Attention, DenseMlp, LatentAttention, Layer, MoeMlp
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Part, Tensor, column_parallel, heads, row_parallel, split, vector, whole


def dense(  # noqa: PLR0913 (the shape of a model is that many numbers)
    *, layers: int, hidden: int, q: int, kv: int, dim: int, inter: int, vocab: int, tied: bool = False,
    stored: Encoding | None = None, positions: int = 131072, window: int | None = None,
) -> ModelSpec:  # fmt: skip
    mixer = Attention(heads=q, kv_heads=kv, head_dim=dim, v_head_dim=dim, window_tokens=window)

    def quantised(tensor: Tensor) -> Tensor:
        return Tensor(
            name=tensor.name, role=tensor.role, rows=tensor.rows, columns=tensor.columns,
            matrices=tensor.matrices, bias=tensor.bias, stored=stored,
        )  # fmt: skip

    tensors = (
        quantised(column_parallel("qkv", "attention", hidden, heads(q, dim), heads(kv, dim), heads(kv, dim))),
        quantised(row_parallel("o", "attention", heads(q, dim), hidden)),
        quantised(column_parallel("gate_up", "mlp", hidden, split(inter), split(inter))),
        quantised(row_parallel("down", "mlp", split(inter), hidden)),
        vector("input_norm", "norm", whole(hidden)),
        vector("post_norm", "norm", whole(hidden)),
    )
    layer = Layer(mixer=mixer, mlp=DenseMlp(intermediate=inter), tensors=tensors)
    embedding = Tensor(name="embedding", role="embedding", rows=(split(vocab),), columns=Part(units=hidden))
    head = Tensor(name="head", role="head", rows=(split(vocab),), columns=Part(units=hidden))
    return ModelSpec(
        name="dense", architecture="LlamaForCausalLM", hidden=hidden, vocabulary=vocab, max_context_tokens=positions,
        layers=(layer,) * layers, embedding=embedding, head=None if tied else head,
        final_norm=(vector("norm", "norm", whole(hidden)),), dtype=BF16, rope_tables=((positions, dim),),
    )  # fmt: skip


def latent_mixer() -> LatentAttention:
    return LatentAttention(
        heads=128, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
    )


def _r1_layer(*, moe: bool) -> Layer:
    hidden, fp8 = 7168, FP8_BLOCK128

    def store(tensor: Tensor) -> Tensor:
        return Tensor(
            name=tensor.name, role=tensor.role, rows=tensor.rows, columns=tensor.columns,
            matrices=tensor.matrices, stored=fp8,
        )  # fmt: skip

    attention = (
        store(column_parallel("fused_qkv_a", "attention", hidden, whole(1536), whole(576))),
        store(column_parallel("q_b", "attention", 1536, heads(128, 192))),
        store(column_parallel("kv_b", "attention", 512, heads(128, 256))),
        store(row_parallel("o", "attention", heads(128, 128), hidden)),
        *(vector(f"norm{n}", "norm", whole(size)) for n, size in enumerate((1536, 512, hidden, hidden))),
    )
    if not moe:
        mlp = DenseMlp(intermediate=18432)
        tensors = (
            store(column_parallel("gate_up", "mlp", hidden, split(18432), split(18432))),
            store(row_parallel("down", "mlp", split(18432), hidden)),
        )
        return Layer(mixer=latent_mixer(), mlp=mlp, tensors=attention + tensors)
    routed = (
        store(column_parallel("w13", "routed-experts", hidden, split(2048), split(2048), matrices=256)),
        store(row_parallel("w2", "routed-experts", split(2048), hidden, matrices=256)),
        store(column_parallel("shared_gate_up", "shared-experts", hidden, split(2048), split(2048))),
        store(row_parallel("shared_down", "shared-experts", split(2048), hidden)),
        column_parallel("gate", "router", hidden, whole(256)),
        vector("bias", "router", whole(256), stored=Encoding(name="fp32", bits_per_weight=32)),
    )
    mixture = MoeMlp(experts=256, top_k=8, intermediate=2048, shared_intermediate=2048)
    return Layer(mixer=latent_mixer(), mlp=mixture, tensors=attention + routed)


@pytest.fixture(scope="session")
def llama_8b() -> ModelSpec:
    """Llama-3.1-8B in bf16."""
    return dense(layers=32, hidden=4096, q=32, kv=8, dim=128, inter=14336, vocab=128256)


@pytest.fixture(scope="session")
def llama_70b() -> ModelSpec:
    """Llama-3.3-70B in bf16."""
    return dense(layers=80, hidden=8192, q=64, kv=8, dim=128, inter=28672, vocab=128256)


@pytest.fixture(scope="session")
def r1() -> ModelSpec:
    """DeepSeek-R1 as released: fp8 in blocks of 128, with its multi-token-prediction layer."""
    routed = _r1_layer(moe=True)
    embedding = Tensor(name="embedding", role="embedding", rows=(split(129280),), columns=Part(units=7168))
    head = Tensor(name="head", role="head", rows=(split(129280),), columns=Part(units=7168))
    return ModelSpec(
        name="DeepSeek-R1", architecture="DeepseekV3ForCausalLM", hidden=7168, vocabulary=129280,
        max_context_tokens=163840, layers=(_r1_layer(moe=False),) * 3 + (routed,) * 58, embedding=embedding, head=head,
        final_norm=(vector("norm", "norm", whole(7168)),), mtp_layers=(routed,), weight_format="fp8-block128",
        rope_tables=((163840, 64),),
    )  # fmt: skip


@pytest.fixture(scope="session")
def dense_model() -> Callable[..., ModelSpec]:
    """Return the builder of dense models for tests that vary the shape."""
    return dense
