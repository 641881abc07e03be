"""Feed-forward blocks: dense, and routed experts with and without shared ones."""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.catalog.architectures.outline import MlpBlock
from sizewell.specs.layers import DenseMlp, MoeMlp
from sizewell.specs.tensor import Role, Tensor, column_parallel, replicated, row_parallel, split


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertTraits:
    """What a family adds to plain routed experts.

    `latent` is the width experts work in when it is not the hidden one (0 = hidden); `shared_gate` a scalar gate
    on the shared expert; `correction_bias` a router correction that transformers counts as a parameter.
    """

    router_bias: bool = False
    expert_bias: bool = False
    shared_gate: bool = False
    latent: int = 0
    correction_bias: bool = False


PLAIN_EXPERTS = ExpertTraits()


def dense(
    hidden: int, intermediate: int, *, gated: bool = True, bias: bool = False, out_bias: bool | None = None
) -> MlpBlock:
    """Return a dense MLP with fused gate and up matrices."""
    down_bias = bias if out_bias is None else out_bias
    return MlpBlock(
        DenseMlp(intermediate=intermediate, gated=gated),
        _matrices("mlp", "mlp", hidden, intermediate, gated=gated, bias=(bias, down_bias)),
    )


def experts(hidden: int, shape: MoeMlp, traits: ExpertTraits = PLAIN_EXPERTS) -> MlpBlock:
    """Return routed experts as one stack per matrix, with router, shared expert and latent projections."""
    width = traits.latent or hidden
    inner = [split(shape.intermediate)] * (2 if shape.gated else 1)
    routed = (
        column_parallel(
            "mlp.experts.w13", "routed-experts", width, *inner, bias=traits.expert_bias, matrices=shape.experts
        ),
        row_parallel(
            "mlp.experts.w2", "routed-experts", split(shape.intermediate), width,
            bias=traits.expert_bias, matrices=shape.experts,
        ),
    )  # fmt: skip
    return MlpBlock(shape, (*_router(hidden, shape, traits), *routed, *_beside_experts(hidden, shape, traits)))


def _router(hidden: int, shape: MoeMlp, traits: ExpertTraits) -> list[Tensor]:
    router = [replicated("mlp.gate", "router", hidden, shape.experts, bias=traits.router_bias)]
    if traits.correction_bias:
        router.append(replicated("mlp.gate.correction_bias", "router", 1, shape.experts))
    return router


def _beside_experts(hidden: int, shape: MoeMlp, traits: ExpertTraits) -> list[Tensor]:
    beside: list[Tensor] = []
    if shape.shared_intermediate:
        beside += _matrices(
            "mlp.shared_experts", "shared-experts", hidden, shape.shared_intermediate, gated=shape.gated
        )
    if traits.shared_gate:
        beside.append(replicated("mlp.shared_expert_gate", "router", hidden, 1))
    if traits.latent:
        beside.append(replicated("mlp.fc1_latent_proj", "mlp", hidden, traits.latent))
        beside.append(replicated("mlp.fc2_latent_proj", "mlp", traits.latent, hidden))
    return beside


def _matrices(
    prefix: str, role: Role, hidden: int, intermediate: int, *, gated: bool, bias: tuple[bool, bool] = (False, False)
) -> tuple[Tensor, Tensor]:
    name = "gate_up_proj" if gated else "up_proj"
    inner = [split(intermediate)] * (2 if gated else 1)
    return (
        column_parallel(f"{prefix}.{name}", role, hidden, *inner, bias=bias[0]),
        row_parallel(f"{prefix}.down_proj", role, split(intermediate), hidden, bias=bias[1]),
    )
