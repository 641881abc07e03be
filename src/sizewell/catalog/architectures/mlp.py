"""Feed-forward blocks: dense, and routed experts with and without shared ones."""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.catalog.architectures.outline import MlpBlock
from sizewell.catalog.config_fields import Fields
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


def dense(hidden: int, intermediate: int, *, gated: bool = True, bias: bool = False) -> MlpBlock:
    """Return a dense MLP with fused gate and up matrices."""
    kind = DenseMlp(intermediate=intermediate, gated=gated)
    return MlpBlock(kind, _matrices("mlp", "mlp", hidden, kind, (bias, bias)))


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
        shared = DenseMlp(intermediate=shape.shared_intermediate, gated=shape.gated)
        beside += _matrices("mlp.shared_experts", "shared-experts", hidden, shared)
    if traits.shared_gate:
        beside.append(replicated("mlp.shared_expert_gate", "router", hidden, 1))
    if traits.latent:
        beside.append(replicated("mlp.fc1_latent_proj", "mlp", hidden, traits.latent))
        beside.append(replicated("mlp.fc2_latent_proj", "mlp", traits.latent, hidden))
    return beside


def _matrices(
    prefix: str, role: Role, hidden: int, kind: DenseMlp, bias: tuple[bool, bool] = (False, False)
) -> tuple[Tensor, Tensor]:
    inner = [split(kind.intermediate)] * (2 if kind.gated else 1)
    name = "gate_up_proj" if kind.gated else "up_proj"
    return (
        column_parallel(f"{prefix}.{name}", role, hidden, *inner, bias=bias[0]),
        row_parallel(f"{prefix}.down_proj", role, split(kind.intermediate), hidden, bias=bias[1]),
    )


EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""Names of one field: transformers 5 writes some families' under another's name than they were released with."""


def expert_count(text: Fields, released: str) -> str:
    """Return the name under which a file states its experts, the family's own where it states none."""
    return next((name for name in (released, *EXPERT_COUNTS) if name in text), released)


def read_experts(
    text: Fields,
    *,
    count: str = "num_experts",
    top_k: str = "num_experts_per_tok",
    width: str = "moe_intermediate_size",
) -> MoeMlp:
    """Return the routed experts; `count`, `top_k` and `width` are the family's names of the fields."""
    number, chosen = text.size(expert_count(text, count)), text.size(top_k)
    if chosen > number:
        raise text.wrong(top_k, chosen, f"at most the {number} experts")
    return MoeMlp(experts=number, top_k=chosen, intermediate=text.size(width))


def with_shared(plain: MoeMlp, shared_intermediate: int) -> MoeMlp:
    """Return the experts with a shared one of the given width."""
    return MoeMlp(
        experts=plain.experts,
        top_k=plain.top_k,
        intermediate=plain.intermediate,
        shared_intermediate=shared_intermediate,
        gated=plain.gated,
    )


def uniform(text: Fields, name: str, default: int | None = None) -> int:
    """Return a field that may be one number or a list of equal numbers."""
    if not isinstance(text.values.get(name), list):
        return text.size(name, default)
    listed_values = set(text.counts(name) or ())
    if len(listed_values) != 1 or 0 in listed_values:
        raise text.wrong(name, text.values[name], "one positive value for all layers")
    return listed_values.pop()
