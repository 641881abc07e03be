"""Evaluators of what machines are: accelerators, hosts, storage, power."""

from __future__ import annotations

from sizewell.catalog.hardware import read_gpu, read_storage
from sizewell.planner.bill_of_materials import (
    FREE_DISK_FRACTION,
    SERVER_HOST_BYTES,
    WORKER_HOST_BYTES,
    BillOfMaterials,
    bill_of_materials,
)
from sizewell.specs.encoding import ComputeType
from tools.docs.evaluators.deployments import Serving
from tools.docs.evaluators.memory import SEVENTY, weights_of
from tools.docs.units import shown
from tools.docs.verdict import Finding

GIB = 2**30
BESIDE = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
"""Any model: the power of a machine does not depend on it."""


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


def load_seconds(storage: str, **fields: str | int) -> Finding:
    """Return how long a start from a kind of storage takes, nothing cached."""
    asked = Serving(model=str(fields["model"])).but(**fields)
    notes = {
        "rate": shown(read_storage(storage).read_bytes_per_s, "bytes_per_s"),
        "nvme": shown(_bill(asked, "nvme-gen5").loads[0].cold_s, "seconds"),
    }
    return Finding(value=_bill(asked, storage).loads[0].cold_s, notes=notes)


def machine_power_w(gpu: str, gpus: int) -> Finding:
    """Return the electrical power of a machine with its accelerators at their limit."""
    one = Serving(model=BESIDE, gpu=gpu, gpus=gpus)
    notes = {
        "tdp": shown(read_gpu(gpu).tdp_w, "watts"),
        "two": shown(one.but(gpus=2 * gpus).deployment.cluster.power_w, "watts"),
    }
    return Finding(value=one.deployment.cluster.power_w, notes=notes)


def cluster_bytes(asked: Serving) -> Finding:
    """Return the memory all accelerators of a cluster report."""
    machines = asked.deployment.cluster
    return Finding(value=machines.gpus * machines.gpu.total_bytes)


def host_ram_bytes(asked: Serving) -> Finding:
    """Return the host memory of a node that keeps the checkpoint in its page cache."""
    bill = _bill(asked)
    notes = {
        "minimum": shown(bill.host_ram_minimum_bytes, "bytes"),
        "documents": shown(bill.documents_host_ram_bytes, "bytes"),
        "quantized": shown(_bill(asked.but(weight_format="awq-int4")).host_ram_bytes, "bytes"),
    }
    return Finding(value=bill.host_ram_bytes, notes=notes)


def host_ram_per_checkpoint(asked: Serving) -> Finding:
    """Return recommended host memory over the size of the checkpoint."""
    bill = _bill(asked)
    notes = {
        "minimum": shown(bill.host_ram_minimum_bytes, "bytes"),
        "per_worker": shown(WORKER_HOST_BYTES, "bytes"),
        "server": shown(SERVER_HOST_BYTES, "bytes"),
    }
    return Finding(value=bill.host_ram_bytes / weights_of(asked.model, asked.weight_format), notes=notes)


def host_cores(asked: Serving) -> Finding:
    """Return the processor cores a node needs."""
    return Finding(value=_bill(asked).cpu_cores)


def disk_bytes(asked: Serving) -> Finding:
    """Return the disk a node needs."""
    return Finding(value=_bill(asked).disk_bytes)


def _bill(asked: Serving, storage: str = "nvme-gen4") -> BillOfMaterials:
    return bill_of_materials(
        asked.deployment,
        checkpoint_bytes=weights_of(asked.model, asked.weight_format),
        rank_weight_bytes=asked.memory.weight_bytes,
        storages=(read_storage(storage),),
    )


EVALUATORS = (gpu_field, gpu_flops_per_s, storage_bytes_per_s, free_disk_fraction, load_seconds, machine_power_w)
OF_SERVING = (cluster_bytes, host_ram_bytes, host_ram_per_checkpoint, host_cores, disk_bytes)
