"""Weights in host memory: what moves first, what a token still touches of it, and the two ways to use it.

Streaming brings weights over the host link whenever a step needs them (vLLM, SGLang); computing on the host leaves them
where they are and reads host memory instead (llama.cpp). Derivation: docs/cost-model.md#offload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sizewell.costs.host_layers import Moved, host_layers
from sizewell.specs.deployment import Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What stays on the accelerator and what moves, per rank, and how fast one user then is.

    Speeds are upper bounds by the added reading alone, at the shares of the calibration; `engine_does` says which of
    the two ways the deployment's engine has.
    """

    moved: tuple[Moved, ...]
    streamed_tokens_per_s: float
    computed_tokens_per_s: float
    engine_does: Literal["streams", "computes"]

    @property
    def bytes(self) -> float:
        """All that moved."""
        return sum(each.bytes for each in self.moved)

    @property
    def touched_bytes(self) -> float:
        """What one token reads from host memory."""
        return sum(each.touched_bytes for each in self.moved)

    @property
    def stays(self) -> str:
        """In words: embedding, head, norms and routers always stay; then what was not moved."""
        parts = [f"{each.group} of {each.of_layers - each.layers} of {each.of_layers} layers" for each in self.moved]
        return "; ".join(["embedding, head, norms and routers", *parts, "and everything not named as moved"])


def placement(
    deployment: Deployment, host_bytes: float, resident_step_s: float, reached: Mapping[str, float]
) -> Placement:
    """Return what moves to give `host_bytes` of a rank to the host, cheapest reading first.

    `resident_step_s` is a decode step for one user with all weights on the accelerator; `reached` are the factors of a
    calibration for the deployment's machine.
    """
    cut = deployment.pools[0].parallelism
    moved = host_layers(deployment.model, deployment.weight_format, cut, host_bytes)
    touched = sum(each.touched_bytes for each in moved)
    host = deployment.cluster.node.host
    link = deployment.cluster.gpu.host_link_bytes_per_s or host.ram_bytes_per_s
    ranks = min(cut.gpus, deployment.cluster.gpus_per_node)
    streamed = resident_step_s + touched / (link * reached["link_host"])
    computed = resident_step_s + touched * ranks / (host.ram_bytes_per_s * reached["hbm_host"])
    return Placement(
        moved=moved, streamed_tokens_per_s=1 / streamed, computed_tokens_per_s=1 / computed,
        engine_does=deployment.engine.offload,
    )  # fmt: skip
