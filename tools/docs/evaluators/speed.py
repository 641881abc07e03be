"""Evaluators of how fast: steps, tokens per second and their physical limits."""

from __future__ import annotations

from dataclasses import replace

from sizewell.catalog.hardware import read_gpu
from sizewell.specs.deployment import Deployment
from sizewell.specs.encoding import ComputeType
from tools.docs.evaluators.deployments import Serving
from tools.docs.evaluators.steps import Step, decode_step, prefill_step
from tools.docs.units import digits, shown
from tools.docs.verdict import Finding

BATCHED_SEQUENCES = 32
LARGE_BATCH_SEQUENCES = 256
PREFILL_TOKENS = 8192
SMALL_MODEL = "meta-llama/Meta-Llama-3.1-8B"
LARGE_MODEL = "meta-llama/Meta-Llama-3.1-70B"
RESIDENT_SHARE, RESIDENT_OVERHEAD_BYTES = 0.9, 4e9
"""What of an accelerator's memory weights may take when the rest is offloaded."""


def _decode(asked: Serving) -> Step:
    return decode_step(asked.deployment, asked.sequences, asked.context_tokens)


def _prefill(asked: Serving, tokens: int = PREFILL_TOKENS) -> Step:
    return prefill_step(asked.deployment, tokens)


def flops_per_token(asked: Serving) -> Finding:
    """Return the operations one decoded token takes."""
    return Finding(value=_decode(asked.but(gpus=1)).flops)


def compute_tokens_per_s(compute: ComputeType, **fields: str | int) -> Finding:
    """Return the tokens per second arithmetic alone allows."""
    asked = Serving(model=str(fields["model"])).but(context_tokens=1, **fields)
    rate = asked.gpus * read_gpu(asked.gpu).peak_flops_per_s(compute) / flops_per_token(asked).value
    return Finding(value=rate, notes={"value": shown(rate, "tokens_per_s")})


def decode_tokens_per_s(asked: Serving) -> Finding:
    """Return the generation rate of all sequences; its ceiling is that of bandwidth and arithmetic."""
    step = _decode(asked)
    ceiling = asked.sequences / step.floor_s
    batched = BATCHED_SEQUENCES / _decode(asked.but(sequences=BATCHED_SEQUENCES)).seconds
    notes = {"ceiling": shown(ceiling, "tokens_per_s"), "batched": shown(batched, "tokens_per_s")}
    return Finding(value=asked.sequences / step.seconds, ceiling=ceiling, notes=notes)


def served_tokens_per_s(claimed_tokens_per_s: float, **fields: str | int) -> Finding:
    """Return the decode rate of a full batch at 1,024 tokens of context."""
    asked = Serving(model=str(fields["model"])).but(context_tokens=1024, **fields)
    step = _decode(asked)
    notes = {
        "claimed_step": shown(asked.sequences / claimed_tokens_per_s, "seconds"),
        "floor_step": shown(step.floor_s, "seconds"),
        "step": shown(step.seconds, "seconds"),
    }
    return Finding(value=asked.sequences / step.seconds, ceiling=asked.sequences / step.floor_s, notes=notes)


def decode_read_bytes(asked: Serving) -> Finding:
    """Return the bytes a decode step reads and writes."""
    return Finding(value=_decode(asked).hbm_bytes)


def bandwidth_tokens_per_s(asked: Serving) -> Finding:
    """Return the tokens per second the memory bandwidth of one accelerator allows."""
    value = _bandwidth_limit(asked)
    batched = _bandwidth_limit(asked.but(sequences=BATCHED_SEQUENCES))
    return Finding(value=value, ceiling=value, notes={"batched": shown(batched, "tokens_per_s")})


def _bandwidth_limit(asked: Serving) -> float:
    return asked.sequences * read_gpu(asked.gpu).bytes_per_s / _decode(asked).hbm_bytes


def prefill_seconds(prompt_tokens: int, **fields: str | int) -> Finding:
    """Return the time to the first token of a prompt that is alone."""
    asked = Serving(model=str(fields["model"])).but(context_tokens=prompt_tokens, **fields)
    step = _prefill(asked, prompt_tokens)
    tokens = int(0.5 / _decode(asked).seconds)
    return Finding(value=step.seconds, floor=step.floor_s, notes={"tokens_in_half_second": str(tokens)})


def format_speedup(asked: Serving) -> Finding:
    """Return how much faster a format decodes than 16 bits."""
    plain = asked.but(weight_format="bf16")
    large, plain_large = asked.but(sequences=LARGE_BATCH_SEQUENCES), plain.but(sequences=LARGE_BATCH_SEQUENCES)
    notes = {
        "at_256": f"{digits(_decode(plain_large).seconds / _decode(large).seconds)}×",
        "in_prefill": f"{digits(_prefill(plain).seconds / _prefill(asked).seconds)}×",
    }
    return Finding(value=_decode(plain).seconds / _decode(asked).seconds, notes=notes)


def gpu_speedup(slow: str, fast: str, **fields: str | int) -> Finding:
    """Return how much faster one accelerator decodes than another."""
    asked = Serving(model=str(fields["model"])).but(**fields)
    ratio = _decode(asked.but(gpu=slow)).seconds / _decode(asked.but(gpu=fast)).seconds
    bandwidth = read_gpu(fast).bytes_per_s / read_gpu(slow).bytes_per_s
    return Finding(value=ratio, notes={"bandwidth": digits(bandwidth)})


def flops_ratio(slow: str, fast: str, compute: ComputeType) -> Finding:
    """Return how many times the arithmetic rate of one accelerator is another's."""
    asked = Serving(model=LARGE_MODEL, weight_format="bf16", gpus=4)
    gain = _prefill(asked.but(gpu=slow)).seconds / _prefill(asked.but(gpu=fast)).seconds
    ratio = read_gpu(fast).peak_flops_per_s(compute) / read_gpu(slow).peak_flops_per_s(compute)
    return Finding(value=ratio, notes={"prefill": f"{digits(gain)}×"})


def bandwidth_share(asked: Serving) -> Finding:
    """Return bytes ÷ (step × bandwidth)."""
    small = _share_of_bandwidth(asked.but(model=SMALL_MODEL, gpus=1))
    return Finding(value=_share_of_bandwidth(asked), ceiling=1.0, notes={"small": shown(small, "fraction")})


def _share_of_bandwidth(asked: Serving) -> float:
    step = _decode(asked)
    return step.hbm_bytes / read_gpu(asked.gpu).bytes_per_s / step.seconds


def offload_slowdown(asked: Serving) -> Finding:
    """Return how much longer a decode step takes when what does not fit is read from host memory."""
    deployed = asked.deployment
    card, step = deployed.cluster.gpu, _decode(asked)
    link = card.host_link_bytes_per_s or deployed.cluster.node.host.ram_bytes_per_s
    left = max(0.0, step.hbm_bytes - (RESIDENT_SHARE * card.total_bytes - RESIDENT_OVERHEAD_BYTES))
    slow = decode_step(deployed, asked.sequences, asked.context_tokens, offload_bytes=left)
    whole = decode_step(deployed, asked.sequences, asked.context_tokens, offload_bytes=step.hbm_bytes)
    notes = {
        "offloaded": shown(left, "bytes"),
        "link": shown(link, "bytes_per_s"),
        "whole": f"{digits(whole.seconds / step.seconds)}×",
    }
    return Finding(value=slow.seconds / step.seconds, notes=notes)


def communication_share(asked: Serving) -> Finding:
    """Return the share of a decode step spent in collectives."""
    notes = {
        "prefill": shown(_prefill(asked).communication_fraction, "fraction"),
        "pcie": shown(_prefill(asked.but(gpu="a100-pcie-80gb")).communication_fraction, "fraction"),
    }
    return Finding(value=_decode(asked).communication_fraction, notes=notes)


def speedup(asked: Serving) -> Finding:
    """Return how much faster a replica decodes than one accelerator (which may not hold the model)."""
    one = _decode(asked.but(gpus=1, stages=1)).seconds
    return Finding(value=one / _decode(asked).seconds, ceiling=float(asked.gpus))


def link_bits_per_s(model: str, gpu: str, gpus: int, prefill_tokens: int, slowdown: float) -> Finding:
    """Return the rate per node at which a prefill step takes `slowdown` times as long as with a free network."""
    flat = Serving(model=model, gpu=gpu, gpus=gpus, weight_format="bf16")
    staged = _enough_bits_per_s(flat.but(stages=2).deployment, prefill_tokens, slowdown)
    notes = {"slowdown": f"{digits(slowdown)}×", "pipeline": shown(staged, "bits_per_s")}
    return Finding(value=_enough_bits_per_s(flat.deployment, prefill_tokens, slowdown), notes=notes)


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


def price_ratio(small_gpus: int, large_gpus: int, **fields: str | int) -> Finding:
    """Return the price of a token of a 70B model over that of an 8B model on the same kind of accelerator."""
    asked = Serving(model=SMALL_MODEL).but(**fields)
    first, second = asked.but(gpus=small_gpus), asked.but(model=LARGE_MODEL, gpus=large_gpus)
    gpus, speed = large_gpus / small_gpus, _decode(first).seconds / _decode(second).seconds
    return Finding(value=gpus / speed, notes={"gpus": digits(gpus), "speed": digits(speed)})


EVALUATORS = (
    compute_tokens_per_s,
    served_tokens_per_s,
    prefill_seconds,
    gpu_speedup,
    flops_ratio,
    link_bits_per_s,
    price_ratio,
)
OF_SERVING = (
    flops_per_token,
    decode_tokens_per_s,
    decode_read_bytes,
    bandwidth_tokens_per_s,
    format_speedup,
    bandwidth_share,
    offload_slowdown,
    communication_share,
    speedup,
)
