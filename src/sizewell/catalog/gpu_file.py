"""A machine written as files of the catalogue, ready to be put into one's own."""

from __future__ import annotations

import json

from sizewell.specs.hardware import GpuSpec


def machine_files(gpu: GpuSpec, how: str, date: str) -> dict[str, str]:
    """Return path in the catalogue → text for a measured accelerator, and for one no template node takes its node."""
    files = {f"gpus/{gpu.key}.toml": gpu_file_text(gpu, how, date)}
    if gpu.kind != "gpu":
        files[f"nodes/{gpu.key}-node.toml"] = _node_file_text(gpu, date)
    return files


def gpu_file_text(gpu: GpuSpec, how: str, date: str) -> str:
    """Return the TOML file of an accelerator whose rates were measured: `how` says by what, `date` when.

    What nobody measured (launch date, power) is marked as assumed, for the reader to replace.
    """
    head = {
        "key": gpu.key, "name": gpu.name, "vendor": gpu.vendor, "architecture": gpu.architecture, "kind": gpu.kind,
        "form_factor": gpu.form_factor, "compute_capability": gpu.compute_capability,
        "names_in_logs": list(gpu.names_in_logs),
    }  # fmt: skip
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in head.items() if value]
    lines += ["", "[launch]", f'date = {{ value = "{gpu.launch_date}", from = "assumed" }}']
    lines += ["", "[memory]", _fact("bytes", gpu.memory_bytes, "driver")]
    lines += [_fact("bytes_per_s", gpu.bytes_per_s, "measured")]
    lines += [_fact("l2_bytes", gpu.l2_bytes, "driver")] if gpu.l2_bytes else []
    lines += ["", "[flops_per_s]", *(_fact(name, rate, "measured") for name, rate in gpu.flops_per_s.items())]
    lines += ["", "[power]", _fact("tdp_w", gpu.tdp_w, "assumed")]
    titles = {"driver": "What the driver reports", "measured": how, "assumed": "Assumed: replace by the maker's figure"}
    lines += ["", "[sources]"]
    lines += [f'{name} = {{ title = {json.dumps(title)}, date = "{date}" }}' for name, title in titles.items()]
    return "\n".join(lines) + "\n"


def _node_file_text(gpu: GpuSpec, date: str) -> str:
    lines = [
        f"key = {json.dumps(gpu.key + '-node')}",
        f"name = {json.dumps(gpu.name + ', as measured', ensure_ascii=False)}",
        f"gpu = {json.dumps(gpu.key)}",
        "standard = true",
        "gpu_counts = [1]",
        'scale_out = { network = "ethernet-10", ports = 1, from = "assumed" }',
        'host = "desktop-ryzen-7600-32gb"',
        _fact("power_w", 2 * gpu.tdp_w, "assumed"),
        "max_nodes = 4",
        "",
        "[sources]",
        f'assumed = {{ title = "Assumed: replace by what you know of the machine", date = "{date}" }}',
    ]
    return "\n".join(lines) + "\n"


def _fact(name: str, value: float, source: str) -> str:
    return f'{name} = {{ value = {value:.4g}, from = "{source}" }}'
