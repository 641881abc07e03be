"""Whole decoder layers of random weights, made of PyTorch's operators from the model the cost model prices.

Left out, because they take next to nothing of a layer: rotary embeddings, and writing the new row of the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sizewell.calibrator.cut_model import cut_model
from sizewell.observer.measure.bench import Bench, Run
from sizewell.observer.measure.grouped import grouped_product, grouped_rows
from sizewell.observer.measure.mixers import StepShape, mixer_of
from sizewell.observer.measure.prepared import Prepared
from sizewell.specs.layers import Layer, MoeMlp
from sizewell.specs.machine_figure import Probe
from sizewell.specs.model import ModelSpec


class LayerStack:
    """The layers of a model with random weights on a device."""

    def __init__(self, bench: Bench, model: ModelSpec, dtype: str) -> None:
        self.bench, self.model, self.dtype = bench, model, dtype
        self.weights = [self._weights(layer) for layer in model.layers]

    @property
    def parameters(self) -> int:
        """Elements of all matrices and norms."""
        return sum(weight.numel() for layer in self.weights for weight in layer.values())

    def _weights(self, layer: Layer) -> dict[str, Any]:
        found = {}
        for tensor in layer.tensors:
            shape = [tensor.rank_rows(1)] + ([tensor.rank_columns(1)] if tensor.is_matrix else [])
            stacked = [tensor.matrices] if tensor.matrices > 1 else []
            # Scaled so that activations neither grow nor vanish from layer to layer.
            scale = 2.0 * tensor.rank_columns(1) ** -0.5
            found[tensor.name] = self.bench.filled(*stacked, *shape, dtype=self.dtype).mul_(scale)
        return found

    def step(self, shape: StepShape) -> Run:
        """Return the run of one step through all layers; buffers are allocated once."""
        entered = self.bench.filled(shape.rows, self.model.hidden, dtype=self.dtype)
        layers = [
            _RunningLayer(self.bench, layer, weights, shape)
            for layer, weights in zip(self.model.layers, self.weights, strict=True)
        ]

        def run() -> object:
            hidden = entered
            for layer in layers:
                hidden = layer(hidden)
            return hidden

        return run


class Stacks:
    """Builds layers on demand and keeps the last ones: probes of one model follow each other."""

    def __init__(self, bench: Bench, models: Mapping[str, ModelSpec]) -> None:
        self._bench, self._models = bench, models
        self._held: tuple[tuple[str, int, int, str], LayerStack] | None = None

    def prepare(self, probe: Probe) -> Prepared:
        """Return a step through a model's layers ready to run."""
        shape = probe.shape
        key = (probe.model, shape["layers"], shape.get("experts", 0), probe.dtype)
        if self._held is None or self._held[0] != key:
            self.drop()
            self._held = (key, LayerStack(self._bench, cut_model(self._models[probe.model], *key[1:3]), probe.dtype))
        context = shape.get("context_tokens", 0)
        step = StepShape(
            sequences=shape["sequences"], tokens=1 if context else shape["tokens"], context_tokens=context
        )  # fmt: skip
        return Prepared(run=self._held[1].step(step), kernel="PyTorch operators", recorded=bool(context))

    def drop(self) -> None:
        """Forget the layers and give their memory back."""
        self._held = None
        self._bench.release()


class _RunningLayer:
    def __init__(self, bench: Bench, layer: Layer, weights: Mapping[str, Any], shape: StepShape) -> None:
        self.torch, self.bench, self.layer, self.weights = bench.torch, bench, layer, weights
        self.functional = bench.torch.nn.functional
        self.mix = mixer_of(bench, layer.mixer, weights, shape)
        if isinstance(layer.mlp, MoeMlp):
            self._choose(layer.mlp, shape.rows)

    def _choose(self, mlp: MoeMlp, rows: int) -> None:
        """Choose experts beforehand, evenly: random weights would choose a few of them again and again."""
        self.product, _ = grouped_product(self.bench, grouped_rows(self.bench, rows, mlp.experts, mlp.top_k))
        dice = self.torch.Generator().manual_seed(rows)
        self.order = self.torch.randperm(rows * mlp.top_k, generator=dice).to(self.bench.place)
        self.token = self.order // mlp.top_k

    def __call__(self, hidden: Any) -> Any:
        hidden = hidden + self.mix(self._normed(hidden, 0))
        return hidden + self._mlp(self._normed(hidden, 1))

    def _normed(self, hidden: Any, at: int) -> Any:
        return self.functional.rms_norm(hidden, hidden.shape[-1:], self.weights["norms"][at])

    def _times(self, rows: Any, name: str) -> Any:
        return self.torch.mm(rows, self.weights[name].t())

    def _mlp(self, rows: Any) -> Any:
        mlp = self.layer.mlp
        if not isinstance(mlp, MoeMlp):
            return self._gated(rows, "mlp")
        mixed = self._routed(rows, mlp.top_k)
        return mixed + self._gated(rows, "mlp.shared_experts") if mlp.shared_intermediate else mixed

    def _gated(self, rows: Any, name: str) -> Any:
        gate, value = self._times(rows, f"{name}.gate_up_proj").chunk(2, dim=-1)
        return self._times(self.functional.silu(gate) * value, f"{name}.down_proj")

    def _routed(self, rows: Any, top_k: int) -> Any:
        shares = self._times(rows, "mlp.gate").softmax(dim=-1).topk(top_k, dim=-1).values.flatten()
        gate, value = self.product(rows.index_select(0, self.token), self.weights["mlp.experts.w13"]).chunk(2, dim=-1)
        out = self.product(self.functional.silu(gate) * value, self.weights["mlp.experts.w2"])
        weighted = out * shares.index_select(0, self.order).unsqueeze(-1)
        return self.torch.zeros_like(rows).index_add_(0, self.token, weighted)
