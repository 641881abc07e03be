"""Evaluators of how fast: steps, tokens per second and their physical limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sizewell.specs.deployment import Deployment
from sizewell.specs.encoding import ComputeType
from tools.docs.evaluators.deployments import deployment
from tools.docs.evaluators.machines import flops_ratio as flops_ratio_of
from tools.docs.evaluators.steps import Step, decode_step, prefill_step
from tools.docs.units import digits, shown
from tools.docs.verdict import Finding

BATCHED_SEQUENCES = 32
PREFILL_TOKENS = 8192
SMALL_MODEL = "meta-llama/Meta-Llama-3.1-8B"


def flops_per_token(model: str, context_tokens: int) -> Finding:
    """Return the operations one decoded token takes."""
    return Finding(value=decode_step(deployment(model, "h200-sxm-141gb"), 1, context_tokens).flops)


def compute_tokens_per_s(model: str, gpu: str, gpus: int, compute: ComputeType) -> Finding:
    """Return the tokens per second arithmetic alone allows."""
    rate = gpus * flops_rate(gpu, compute) / flops_per_token(model, 1).value
    return Finding(value=rate, notes={"value": shown(rate, "tokens_per_s")})


def flops_rate(gpu: str, compute: ComputeType) -> float:
    """Return the dense rate of one accelerator."""
    return deployment(SMALL_MODEL, gpu).cluster.gpu.peak_flops_per_s(compute)


def decode_tokens_per_s(  # noqa: PLR0913 - the fields of a claim
    model: str, weight_format: str, gpu: str, gpus: int, sequences: int, context_tokens: int
) -> Finding:
    """Return the generation rate of all sequences; its ceiling is that of bandwidth and arithmetic."""
    deployed = deployment(model, gpu, gpus=gpus, weight_format=weight_format)
    step = decode_step(deployed, sequences, context_tokens)
    rate, ceiling = sequences / step.seconds, sequences / step.floor_s
    batched = BATCHED_SEQUENCES / decode_step(deployed, BATCHED_SEQUENCES, context_tokens).seconds
    notes = {
        "ceiling": shown(ceiling, "tokens_per_s"),
        "batched": shown(batched, "tokens_per_s"),
    }
    return Finding(value=rate, ceiling=ceiling, notes=notes)


def served_tokens_per_s(  # noqa: PLR0913 - the fields of a claim
    model: str, gpu: str, gpus: int, gpus_per_node: int, sequences: int, eager: bool, claimed_tokens_per_s: float
) -> Finding:
    """Return the decode rate of a full batch at 1,024 tokens of context."""
    deployed = deployment(model, gpu, gpus=gpus, gpus_per_node=gpus_per_node, eager=eager)
    step = decode_step(deployed, sequences, 1024)
    notes = {
        "claimed_step": shown(sequences / claimed_tokens_per_s, "seconds"),
        "floor_step": shown(step.floor_s, "seconds"),
        "step": shown(step.seconds, "seconds"),
    }
    return Finding(value=sequences / step.seconds, ceiling=sequences / step.floor_s, notes=notes)


def decode_read_bytes(model: str, weight_format: str, sequences: int, context_tokens: int) -> Finding:
    """Return the bytes a decode step reads and writes."""
    deployed = deployment(model, "h200-sxm-141gb", gpus=1, weight_format=weight_format)
    return Finding(value=decode_step(deployed, sequences, context_tokens).hbm_bytes)


def bandwidth_tokens_per_s(model: str, weight_format: str, gpu: str, sequences: int, context_tokens: int) -> Finding:
    """Return the tokens per second the memory bandwidth of one accelerator allows."""
    deployed = deployment(model, gpu, gpus=1, weight_format=weight_format)

    def limit(count: int) -> float:
        return count * deployed.cluster.gpu.bytes_per_s / decode_step(deployed, count, context_tokens).hbm_bytes

    value = limit(sequences)
    return Finding(value=value, ceiling=value, notes={"batched": shown(limit(BATCHED_SEQUENCES), "tokens_per_s")})


def prefill_seconds(model: str, weight_format: str, gpu: str, gpus: int, prompt_tokens: int) -> Finding:
    """Return the time to the first token of a prompt that is alone."""
    deployed = deployment(model, gpu, gpus=gpus, weight_format=weight_format)
    step = prefill_step(deployed, prompt_tokens)
    tokens = int(0.5 / decode_step(deployed, 1, prompt_tokens).seconds)
    return Finding(value=step.seconds, floor=step.floor_s, notes={"tokens_in_half_second": str(tokens)})


def format_speedup(  # noqa: PLR0913 - the fields of a claim
    model: str, weight_format: str, gpu: str, gpus: int, sequences: int, context_tokens: int
) -> Finding:
    """Return how much faster a format decodes than 16 bits."""
    plain = deployment(model, gpu, gpus=gpus, weight_format="bf16")
    packed = deployment(model, gpu, gpus=gpus, weight_format=weight_format)

    def gain(step: Callable[..., Step], *load: int) -> float:
        return step(plain, *load).seconds / step(packed, *load).seconds

    notes = {
        "at_256": f"{digits(gain(decode_step, 256, context_tokens))}×",
        "in_prefill": f"{digits(gain(prefill_step, PREFILL_TOKENS))}×",
    }
    return Finding(value=gain(decode_step, sequences, context_tokens), notes=notes)


def gpu_speedup(  # noqa: PLR0913 - the fields of a claim
    model: str, weight_format: str, slow: str, fast: str, gpus: int, sequences: int, context_tokens: int
) -> Finding:
    """Return how much faster one accelerator decodes than another."""
    old = deployment(model, slow, gpus=gpus, weight_format=weight_format)
    new = deployment(model, fast, gpus=gpus, weight_format=weight_format)
    ratio = decode_step(old, sequences, context_tokens).seconds / decode_step(new, sequences, context_tokens).seconds
    bandwidth = new.cluster.gpu.bytes_per_s / old.cluster.gpu.bytes_per_s
    return Finding(value=ratio, notes={"bandwidth": digits(bandwidth)})


def flops_ratio(slow: str, fast: str, compute: ComputeType) -> Finding:
    """Return how many times the arithmetic rate of one accelerator is another's."""
    model = "meta-llama/Meta-Llama-3.1-70B"
    old = prefill_step(deployment(model, slow, gpus=4, weight_format="bf16"), PREFILL_TOKENS)
    new = prefill_step(deployment(model, fast, gpus=4, weight_format="bf16"), PREFILL_TOKENS)
    return Finding(
        value=flops_ratio_of(slow, fast, compute), notes={"prefill": f"{digits(old.seconds / new.seconds)}×"}
    )


def bandwidth_share(  # noqa: PLR0913 - the fields of a claim
    model: str, weight_format: str, gpu: str, gpus: int, sequences: int, context_tokens: int
) -> Finding:
    """Return bytes ÷ (step × bandwidth)."""
    large = _share_of_bandwidth(model, weight_format, gpu, gpus, sequences, context_tokens)
    small = _share_of_bandwidth(SMALL_MODEL, weight_format, gpu, 1, sequences, context_tokens)
    return Finding(value=large, ceiling=1.0, notes={"small": shown(small, "fraction")})


def _share_of_bandwidth(  # noqa: PLR0913 - the fields of a claim
    model: str, weight_format: str, gpu: str, gpus: int, sequences: int, context_tokens: int
) -> float:
    deployed = deployment(model, gpu, gpus=gpus, weight_format=weight_format)
    step = decode_step(deployed, sequences, context_tokens)
    return step.hbm_bytes / deployed.cluster.gpu.bytes_per_s / step.seconds


def offload_slowdown(model: str, weight_format: str, gpu: str, gpus: int) -> Finding:
    """Return how much longer a decode step takes when what does not fit is read from host memory."""
    deployed = deployment(model, gpu, gpus=gpus, weight_format=weight_format)
    card = deployed.cluster.gpu
    step = decode_step(deployed, 1, 1024)
    link = card.host_link_bytes_per_s or deployed.cluster.node.host.ram_bytes_per_s
    room = 0.9 * card.total_bytes - 4e9
    left = max(0.0, step.hbm_bytes - room)
    resident = step.seconds * (1 - left / step.hbm_bytes)
    notes = {
        "offloaded": shown(left, "bytes"),
        "link": shown(link, "bytes_per_s"),
        "whole": f"{digits(step.hbm_bytes / link / step.seconds)}×",
    }
    return Finding(value=(resident + left / link) / step.seconds, notes=notes)


def communication_share(  # noqa: PLR0913 - the fields of a claim
    model: str, weight_format: str, gpu: str, gpus: int, sequences: int, context_tokens: int
) -> Finding:
    """Return the share of a decode step spent in collectives."""
    deployed = deployment(model, gpu, gpus=gpus, weight_format=weight_format)
    wired = deployment(model, "a100-pcie-80gb", gpus=gpus, weight_format=weight_format)
    notes = {
        "prefill": shown(prefill_step(deployed, PREFILL_TOKENS).communication_fraction, "fraction"),
        "pcie": shown(prefill_step(wired, PREFILL_TOKENS).communication_fraction, "fraction"),
    }
    return Finding(value=decode_step(deployed, sequences, context_tokens).communication_fraction, notes=notes)


def pipeline_communication_share(  # noqa: PLR0913 - the fields of a claim
    model: str, weight_format: str, gpu: str, stages: int, sequences: int, context_tokens: int
) -> Finding:
    """Return the share of a decode step spent handing over between pipeline stages."""
    deployed = deployment(model, gpu, gpus=stages, stages=stages, weight_format=weight_format)
    return Finding(value=decode_step(deployed, sequences, context_tokens).communication_fraction)


def tensor_parallel_speedup(  # noqa: PLR0913 - the fields of a claim
    model: str, weight_format: str, gpu: str, gpus: int, sequences: int, context_tokens: int
) -> Finding:
    """Return how much faster tensor parallelism decodes than one accelerator (which may not hold the model)."""
    one = decode_step(deployment(model, gpu, weight_format=weight_format), sequences, context_tokens)
    several = decode_step(deployment(model, gpu, gpus=gpus, weight_format=weight_format), sequences, context_tokens)
    return Finding(value=one.seconds / several.seconds, ceiling=float(gpus))


def link_bits_per_s(model: str, gpu: str, gpus: int, prefill_tokens: int, slowdown: float) -> Finding:
    """Return the rate per node at which a prefill step takes `slowdown` times as long as with a free network."""
    flat = deployment(model, gpu, gpus=gpus, weight_format="bf16")
    staged = deployment(model, gpu, gpus=gpus, stages=2, weight_format="bf16")
    notes = {
        "slowdown": f"{digits(slowdown)}×",
        "pipeline": shown(_enough_bits_per_s(staged, prefill_tokens, slowdown), "bits_per_s"),
    }
    return Finding(value=_enough_bits_per_s(flat, prefill_tokens, slowdown), notes=notes)


def _enough_bits_per_s(deployed: Deployment, prefill_tokens: int, slowdown: float) -> float:
    """Bisect the rate between two nodes on a logarithmic scale."""

    def seconds(bits_per_s: float) -> float:
        node = deployed.cluster.node
        link = replace(node.scale_out, bytes_per_s=bits_per_s / 8)
        wired = replace(deployed.cluster, node=replace(node, scale_out=link, scale_out_ports=1))
        return prefill_step(replace(deployed, cluster=wired), prefill_tokens).seconds

    low, high = 1e6, 1e16
    most = slowdown * seconds(high)
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if seconds(middle) <= most else (middle, high)
    return high


def price_ratio(  # noqa: PLR0913 - the fields of a claim
    small: str, large: str, weight_format: str, gpu: str, small_gpus: int, large_gpus: int,
    small_sequences: int, large_sequences: int, context_tokens: int,
) -> Finding:  # fmt: skip
    """Return the price of a token of a large model over that of a small one on the same kind of accelerator."""
    first = deployment(small, gpu, gpus=small_gpus, weight_format=weight_format)
    second = deployment(large, gpu, gpus=large_gpus, weight_format=weight_format)
    slow = small_sequences / decode_step(first, small_sequences, context_tokens).seconds
    fast = large_sequences / decode_step(second, large_sequences, context_tokens).seconds
    gpus, speed = large_gpus / small_gpus, fast / slow
    return Finding(value=gpus / speed, notes={"gpus": digits(gpus), "speed": digits(speed)})


EVALUATORS: Mapping[str, Callable[..., Finding]] = {
    evaluator.__name__: evaluator
    for evaluator in (
        flops_per_token, compute_tokens_per_s, decode_tokens_per_s, served_tokens_per_s, decode_read_bytes,
        bandwidth_tokens_per_s, prefill_seconds, format_speedup, gpu_speedup, flops_ratio, bandwidth_share,
        offload_slowdown, communication_share, pipeline_communication_share, tensor_parallel_speedup,
        link_bits_per_s, price_ratio,
    )
}  # fmt: skip
