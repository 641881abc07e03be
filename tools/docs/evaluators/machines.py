"""Evaluators of what machines are: accelerators, hosts, storage, power."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sizewell.catalog.hardware import cluster, read_gpu, read_storage
from sizewell.costs.weights import rank_weight_bytes
from sizewell.planner.bill_of_materials import (
    FREE_DISK_FRACTION,
    SERVER_HOST_BYTES,
    WORKER_HOST_BYTES,
    BillOfMaterials,
    bill_of_materials,
    deployment_power_w,
)
from sizewell.specs.encoding import ComputeType
from tools.docs.evaluators.deployments import deployment, model_of
from tools.docs.evaluators.memory import weights_of
from tools.docs.units import shown
from tools.docs.verdict import Finding

GIB = 2**30
SEVENTY = "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"


def gpu_field(gpu: str, name: str) -> Finding:
    """Return one field of an accelerator."""
    value = float(getattr(read_gpu(gpu), name))
    notes = {
        "gib": f"{value / GIB:.2f}",
        "smaller": shown(read_gpu("a100-sxm-40gb").bytes_per_s, "bytes_per_s"),
        "pcie": shown(read_gpu("h100-pcie-80gb").bytes_per_s, "bytes_per_s"),
    }
    return Finding(value=value, notes=notes)


def gpu_flops_per_s(gpu: str, compute: ComputeType) -> Finding:
    """Return the dense rate of an accelerator."""
    return Finding(value=read_gpu(gpu).peak_flops_per_s(compute))


def flops_ratio(slow: str, fast: str, compute: ComputeType) -> float:
    """Return how many times the arithmetic rate of one accelerator is another's."""
    return read_gpu(fast).peak_flops_per_s(compute) / read_gpu(slow).peak_flops_per_s(compute)


def cluster_bytes(gpu: str, gpus: int, gpus_per_node: int) -> Finding:
    """Return the memory all accelerators of a cluster report."""
    machines = cluster(gpu, gpus_per_node=gpus_per_node, nodes=gpus // gpus_per_node)
    return Finding(value=machines.gpus * machines.gpu.total_bytes)


def storage_bytes_per_s(storage: str) -> Finding:
    """Return the read rate of a kind of storage."""
    checkpoint = weights_of(SEVENTY, "bf16")
    notes = {
        "seventy": shown(checkpoint / read_storage("nvme-gen4").read_bytes_per_s, "seconds"),
        "sata": shown(checkpoint / read_storage("sata-ssd").read_bytes_per_s, "seconds"),
    }
    return Finding(value=read_storage(storage).read_bytes_per_s, notes=notes)


def free_disk_fraction() -> Finding:
    """Return the share of a disk the bill of materials leaves free."""
    return Finding(value=FREE_DISK_FRACTION)


def _bill(
    model: str, gpu: str, gpus: int, gpus_per_node: int = 8, weight_format: str = "native", storage: str = "nvme-gen4"
) -> BillOfMaterials:
    deployed = deployment(model, gpu, gpus=gpus, gpus_per_node=gpus_per_node, weight_format=weight_format)
    rank = max(rank_weight_bytes(model_of(model), weight_format, deployed.pools[0].parallelism))
    return bill_of_materials(
        deployed,
        checkpoint_bytes=weights_of(model, weight_format),
        rank_weight_bytes=rank,
        storages=(read_storage(storage),),
    )


def host_ram_bytes(**fields: object) -> Finding:
    """Return the host memory of a node that keeps the checkpoint in its page cache."""
    bill = _bill(**fields)  # type: ignore[arg-type]
    quantized = _bill(**{**fields, "weight_format": "awq-int4"})  # type: ignore[arg-type]
    notes = {
        "minimum": shown(bill.host_ram_minimum_bytes, "bytes"),
        "documents": shown(bill.documents_host_ram_bytes, "bytes"),
        "quantized": shown(quantized.host_ram_bytes, "bytes"),
    }
    return Finding(value=bill.host_ram_bytes, notes=notes)


def host_ram_per_checkpoint(model: str, weight_format: str, **fields: object) -> Finding:
    """Return recommended host memory over the size of the checkpoint."""
    bill = _bill(model, weight_format=weight_format, **fields)  # type: ignore[arg-type]
    notes = {
        "minimum": shown(bill.host_ram_minimum_bytes, "bytes"),
        "per_worker": shown(WORKER_HOST_BYTES, "bytes"),
        "server": shown(SERVER_HOST_BYTES, "bytes"),
    }
    return Finding(value=bill.host_ram_bytes / weights_of(model, weight_format), notes=notes)


def host_cores(**fields: object) -> Finding:
    """Return the processor cores a node needs."""
    return Finding(value=_bill(**fields).cpu_cores)  # type: ignore[arg-type]


def disk_bytes(**fields: object) -> Finding:
    """Return the disk a node needs."""
    return Finding(value=_bill(**fields).disk_bytes)  # type: ignore[arg-type]


def load_seconds(storage: str, **fields: object) -> Finding:
    """Return how long a start from a kind of storage takes, nothing cached."""
    load = _bill(storage=storage, **fields).loads[0]  # type: ignore[arg-type]
    local = _bill(storage="nvme-gen5", **fields).loads[0]  # type: ignore[arg-type]
    notes = {
        "rate": shown(read_storage(storage).read_bytes_per_s, "bytes_per_s"),
        "nvme": shown(local.cold_s, "seconds"),
    }
    return Finding(value=load.cold_s, notes=notes)


def machine_power_w(gpu: str, gpus: int) -> Finding:
    """Return the electrical power of a machine with its accelerators at their limit."""
    two = deployment("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", gpu, gpus=2 * gpus)
    one = deployment("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", gpu, gpus=gpus)
    notes = {
        "tdp": shown(read_gpu(gpu).tdp_w, "watts"),
        "two": shown(deployment_power_w(two), "watts"),
    }
    return Finding(value=deployment_power_w(one), notes=notes)


def quotient(numerator: float, denominator: float) -> Finding:
    """Return a quotient of two numbers of the document itself."""
    return Finding(value=numerator / denominator)


EVALUATORS: Mapping[str, Callable[..., Finding]] = {
    evaluator.__name__: evaluator
    for evaluator in (
        gpu_field, gpu_flops_per_s, cluster_bytes, storage_bytes_per_s, free_disk_fraction, host_ram_bytes,
        host_ram_per_checkpoint, host_cores, disk_bytes, load_seconds, machine_power_w, quotient,
    )
}  # fmt: skip
