"""Matrix products: what a group of weight matrices costs when a number of tokens passes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizewell.costs.batch import Floats
from sizewell.costs.work import Collective, Operator, OperatorKind
from sizewell.specs.encoding import MXFP4, ComputeType, Encoding
from sizewell.specs.tensor import Tensor

ACTIVATION_BYTES = 2
"""Activations travel in 16 bit between operators; what a quantised product reads is counted as that too."""

WIDE_GROUP = 64
"""Inputs that share a scale from which on kernels rescale outside the matrix units; hardware does narrower ones."""

WEIGHT_ONLY_BITS = {"fp4": 4, "fp8": 8, "int8": 8, "bf16": 16, "fp16": 16, "fp32": 32}


@dataclass(frozen=True, slots=True)
class RankMatrix:
    """One matrix as a rank holds it: its bytes, its shape and the arithmetic it runs in."""

    bytes: float
    outputs: int
    inputs: int
    matrices: int
    compute: ComputeType
    dequantised: bool
    block_scaled: bool
    microscaled: bool = False

    @property
    def parameters(self) -> int:
        """Weights of all stacked matrices."""
        return self.matrices * self.outputs * self.inputs


@dataclass(frozen=True, slots=True)
class Site:
    """Where a group of matrices stands: its name, the line it is reported under, how often it occurs."""

    name: str
    part: str
    repeats: Floats | float


def rank_matrix(tensor: Tensor, encoding: Encoding, ways: int, matrices: int | None = None) -> RankMatrix:
    """Return what one of `ways` ranks holds of a tensor, or of the first `matrices` of its stacked matrices."""
    held = tensor.matrices if matrices is None else matrices
    rows, columns = tensor.rank_rows(ways), tensor.rank_columns(ways)
    bias = held * rows * ACTIVATION_BYTES if tensor.bias else 0
    own_codebooks = encoding.extra_bytes * (len(tensor.rows) - 1) * held
    return RankMatrix(
        bytes=encoding.bytes(rows, columns, held) + own_codebooks + bias,
        outputs=rows,
        inputs=columns,
        matrices=held,
        compute=encoding.compute,
        dequantised=encoding.bits_per_weight < WEIGHT_ONLY_BITS[encoding.compute],
        block_scaled=encoding.compute in {"fp8", "int8"} and encoding.group_columns >= WIDE_GROUP,
        microscaled=encoding.name == MXFP4.name,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixGroup:
    """Matrices of one kind that the same rows pass through: what a row takes, and what they take together."""

    kind: OperatorKind
    compute: ComputeType
    flops_per_row: float
    passed_bytes_per_row: float
    bytes: float
    products: int
    depth: float
    launches: int
    block_scaled: bool
    microscaled: bool

    @classmethod
    def of(cls, group: Sequence[RankMatrix]) -> MatrixGroup:
        """Return matrices of one arithmetic type as a group."""
        first = group[0]
        quantised = 0 if first.dequantised or first.compute in {"bf16", "fp16", "fp32"} else 1
        passed = sum(m.matrices * (m.outputs + m.inputs) for m in group) * ACTIVATION_BYTES
        return cls(
            kind="dequantised-gemm" if first.dequantised else "gemm",
            compute=first.compute,
            flops_per_row=float(2 * sum(m.parameters for m in group)),
            passed_bytes_per_row=float(passed),
            bytes=sum(m.bytes for m in group),
            products=len(group),
            depth=float(sum(m.inputs for m in group)),
            launches=len(group) * (1 + quantised),
            block_scaled=first.block_scaled,
            microscaled=first.microscaled,
        )

    def product(self, site: Site, rows: Floats, collectives: tuple[Collective, ...] = ()) -> Operator:
        """Return what it takes when `rows` tokens pass through every matrix and all weights are read once."""
        passed = rows * self.passed_bytes_per_row
        return Operator(
            name=site.name,
            part=site.part,
            kind=self.kind,
            compute=self.compute,
            repeats=site.repeats,
            flops=rows * self.flops_per_row,
            hbm_bytes=passed + self.bytes,
            rows=rows,
            row_bytes=passed,
            products=self.products,
            depth=self.depth,
            launches=self.launches,
            block_scaled=self.block_scaled,
            microscaled=self.microscaled,
            collectives=collectives,
        )


def grouped(matrices: Sequence[RankMatrix]) -> tuple[MatrixGroup, ...]:
    """Return matrices by arithmetic type, in the order of first appearance."""
    groups: dict[tuple[object, ...], list[RankMatrix]] = {}
    for matrix in matrices:
        kind = (matrix.compute, matrix.dequantised, matrix.block_scaled, matrix.microscaled)
        groups.setdefault(kind, []).append(matrix)
    return tuple(MatrixGroup.of(group) for group in groups.values())


def product(
    site: Site, groups: Sequence[MatrixGroup], rows: Floats, collectives: tuple[Collective, ...] = ()
) -> tuple[Operator, ...]:
    """Return one operator per group; messages follow the last."""
    last = len(groups) - 1
    return tuple(group.product(site, rows, collectives if at == last else ()) for at, group in enumerate(groups))
