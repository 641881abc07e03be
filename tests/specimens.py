"""Models and machines built by hand, with the published sizes, so that costs is tested without the catalogue."""

from __future__ import annotations

from sizewell.specs.encoding import BF16, FP8_BLOCK128
from sizewell.specs.hardware import ClusterSpec, GpuSpec, HostSpec, LinkSpec, NodeSpec, Topology
from sizewell.specs.layers import Attention, DenseMlp, LatentAttention, Layer, MoeMlp
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor, column_parallel, heads, replicated, row_parallel, split, vector


def _fp8(tensor: Tensor) -> Tensor:
    return Tensor(
        name=tensor.name, role=tensor.role, rows=tensor.rows, columns=tensor.columns, matrices=tensor.matrices,
        bias=tensor.bias, stored=FP8_BLOCK128,
    )  # fmt: skip


def llama(hidden: int, layers: int, kv_heads: int, intermediate: int, vocabulary: int) -> ModelSpec:
    """Return a Llama of heads of 128."""
    count = hidden // 128
    mixer = Attention(heads=count, kv_heads=kv_heads, head_dim=128, v_head_dim=128)
    tensors = (
        column_parallel("qkv", "attention", hidden, heads(count, 128), heads(kv_heads, 128), heads(kv_heads, 128)),
        row_parallel("o", "attention", heads(count, 128), hidden),
        column_parallel("gate_up", "mlp", hidden, split(intermediate), split(intermediate)),
        row_parallel("down", "mlp", split(intermediate), hidden),
    )
    layer = Layer(mixer=mixer, mlp=DenseMlp(intermediate=intermediate), tensors=tensors)
    return ModelSpec(
        name="llama", architecture="LlamaForCausalLM", hidden=hidden, vocabulary=vocabulary,
        max_context_tokens=131072, layers=(layer,) * layers,
        embedding=column_parallel("embed", "embedding", hidden, split(vocabulary)),
        head=column_parallel("head", "head", hidden, split(vocabulary)),
        final_norm=(),
    )  # fmt: skip


def llama_70b() -> ModelSpec:
    return llama(8192, 80, 8, 28672, 128256)


def llama_8b() -> ModelSpec:
    return llama(4096, 32, 8, 14336, 128256)


def _r1_attention() -> tuple[Tensor, ...]:
    return (
        _fp8(replicated("q_a", "attention", 7168, 1536)),
        _fp8(column_parallel("q_b", "attention", 1536, heads(128, 192))),
        _fp8(replicated("kv_a", "attention", 7168, 576)),
        _fp8(column_parallel("kv_b", "attention", 512, heads(128, 256))),
        _fp8(row_parallel("o", "attention", heads(128, 128), 7168)),
        vector("norm", "norm"),
    )


def deepseek_r1() -> ModelSpec:
    """Return DeepSeek-R1 in its published FP8."""
    mixer = LatentAttention(
        heads=128, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
    )
    dense = (
        _fp8(column_parallel("gate_up", "mlp", 7168, split(18432), split(18432))),
        _fp8(row_parallel("down", "mlp", split(18432), 7168)),
    )
    moe = (
        replicated("router", "router", 7168, 256),
        _fp8(column_parallel("experts.gate_up", "routed-experts", 7168, split(2048), split(2048), matrices=256)),
        _fp8(row_parallel("experts.down", "routed-experts", split(2048), 7168, matrices=256)),
        _fp8(column_parallel("shared.gate_up", "shared-experts", 7168, split(2048), split(2048))),
        _fp8(row_parallel("shared.down", "shared-experts", split(2048), 7168)),
    )
    first = Layer(mixer=mixer, mlp=DenseMlp(intermediate=18432), tensors=_r1_attention() + dense)
    mlp = MoeMlp(experts=256, top_k=8, intermediate=2048, shared_intermediate=2048)
    rest = Layer(mixer=mixer, mlp=mlp, tensors=_r1_attention() + moe)
    return ModelSpec(
        name="deepseek-ai/DeepSeek-R1", architecture="DeepseekV3ForCausalLM", hidden=7168, vocabulary=129280,
        max_context_tokens=163840, layers=(first,) * 3 + (rest,) * 58,
        embedding=column_parallel("embed", "embedding", 7168, split(129280)),
        head=column_parallel("head", "head", 7168, split(129280)),
        final_norm=(), mtp_layers=(rest,), dtype=BF16, weight_format="fp8-block128",
    )  # fmt: skip


HOST = HostSpec(
    key="host", cpu="cpu", cores=64, sockets=2, flops_per_s=4e12, ram_bytes=2e12, ram_bytes_per_s=4e11, disk_bytes=8e12,
    disk_read_bytes_per_s=6e9, power_w=500,
)  # fmt: skip
INFINIBAND = LinkSpec(key="ndr", name="InfiniBand NDR", kind="scale-out", bytes_per_s=50e9, latency_s=4e-6, rdma=True)


def gpu(bytes_per_s: float, bf16: float, near: float | None, memory: float = 80e9, key: str = "gpu") -> GpuSpec:
    return GpuSpec(
        key=key, name=key, vendor="nvidia", architecture="hopper", kind="gpu", form_factor="sxm",
        memory_bytes=memory, reported_bytes=None, bytes_per_s=bytes_per_s,
        flops_per_s={"bf16": bf16, "fp16": bf16, "fp8": 2 * bf16, "int8": 2 * bf16, "fp32": bf16 / 15},
        tdp_w=700, launch_date="2023-01-01", scale_up_bytes_per_s=near, host_link_bytes_per_s=63e9,
    )  # fmt: skip


H100 = gpu(3.35e12, 989e12, 450e9, key="h100")
H200 = gpu(4.8e12, 989e12, 450e9, memory=141e9, key="h200")


def cluster(
    accelerator: GpuSpec, per_node: int, nodes: int = 1, topology: Topology = "nvswitch", latency_s: float = 1.25e-6
) -> ClusterSpec:
    rate = accelerator.scale_up_bytes_per_s or 31.5e9
    near = LinkSpec(key="near", name="near", kind="scale-up", bytes_per_s=rate, latency_s=latency_s)
    node = NodeSpec(
        key="node", name="node", gpu_keys=(accelerator.key,), gpu_counts=(per_node,), scale_up=near,
        topology=topology, scale_up_domain=per_node, scale_out=INFINIBAND, scale_out_ports=per_node, host=HOST,
        power_w=10000, max_nodes=64,
    )  # fmt: skip
    return ClusterSpec(gpu=accelerator, node=node, gpus_per_node=per_node, nodes=nodes)
