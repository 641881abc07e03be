"""Weights as an engine holds them: fused matrices and vectors that know how tensor parallelism cuts them.

One list of tensors feeds the parameter count, the memory ledger and the cost of a step, so the three cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sizewell.specs.encoding import Encoding

Role = Literal[
    "attention", "indexer", "recurrent", "mlp", "router", "routed-experts", "shared-experts",
    "norm", "embedding", "head", "mtp", "vision",
]  # fmt: skip
"""What a tensor is for: decides its format, its shard and the step in which it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One slice of a matrix axis: `units` (heads, columns) of `width` elements each.

    A sharded part gives each of `tp` ranks `units // tp` units, and at least one: key/value heads are
    replicated once there are more ranks than heads.
    """

    units: int
    width: int = 1
    sharded: bool = False

    @property
    def elements(self) -> int:
        """The whole axis slice, unsharded."""
        return self.units * self.width

    def rank_elements(self, tp: int) -> int:
        """Return the elements one of `tp` ranks holds."""
        if not self.sharded:
            return self.elements
        return max(1, -(-self.units // tp)) * self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """`matrices` stacked matrices of sum(rows) outputs × columns inputs, with an optional bias per output.

    `columns=None` makes it a vector (norm weight, correction bias). `stored` is its format in the checkpoint
    (None: the model's own 16-bit type).
    """

    name: str
    role: Role
    rows: tuple[Part, ...]
    columns: Part | None = None
    matrices: int = 1
    bias: bool = False
    stored: Encoding | None = None

    @property
    def parameters(self) -> int:
        """Parameters of the whole tensor, biases included."""
        return self._count(1)

    @property
    def is_matrix(self) -> bool:
        """Whether a step multiplies by it."""
        return self.columns is not None

    def rank_rows(self, tp: int) -> int:
        """Return the outputs one of `tp` ranks holds, over all fused parts."""
        return sum(part.rank_elements(tp) for part in self.rows)

    def rank_columns(self, tp: int) -> int:
        """Return the inputs one of `tp` ranks holds (1 for a vector)."""
        return 1 if self.columns is None else self.columns.rank_elements(tp)

    def rank_parameters(self, tp: int) -> int:
        """Return the parameters one of `tp` ranks holds."""
        return self._count(tp)

    def _count(self, tp: int) -> int:
        rows = self.rank_rows(tp)
        weights = rows * self.rank_columns(tp)
        return self.matrices * (weights + (rows if self.bias else 0))


def column_parallel(
    name: str, role: Role, inputs: int, *outputs: Part, bias: bool = False, matrices: int = 1
) -> Tensor:
    """Return a matrix whose outputs are cut over ranks; each rank reads all inputs."""
    return Tensor(name=name, role=role, rows=outputs, columns=Part(units=inputs), bias=bias, matrices=matrices)


def row_parallel(name: str, role: Role, inputs: Part, outputs: int, *, bias: bool = False, matrices: int = 1) -> Tensor:
    """Return a matrix whose inputs are cut over ranks; outputs are summed by an all-reduce."""
    return Tensor(name=name, role=role, rows=(Part(units=outputs),), columns=inputs, bias=bias, matrices=matrices)


def replicated(name: str, role: Role, inputs: int, outputs: int, *, bias: bool = False) -> Tensor:
    """Return a matrix that every rank holds whole."""
    return Tensor(name=name, role=role, rows=(Part(units=outputs),), columns=Part(units=inputs), bias=bias)


def vector(name: str, role: Role, *parts: Part, stored: Encoding | None = None) -> Tensor:
    """Return a one-dimensional tensor such as a norm weight or a correction bias."""
    return Tensor(name=name, role=role, rows=parts, stored=stored)


def heads(count: int, width: int) -> Part:
    """Return `count` heads of `width`, cut over ranks."""
    return Part(units=count, width=width, sharded=True)


def split(elements: int) -> Part:
    """Return an axis cut evenly over ranks."""
    return Part(units=elements, sharded=True)


def whole(elements: int) -> Part:
    """Return an axis every rank holds whole."""
    return Part(units=elements)
