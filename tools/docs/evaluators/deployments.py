"""Deployments the documents speak of, built the way the catalogue describes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Self

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.costs.rank_memory import RankMemory, rank_memory
from sizewell.specs.deployment import Deployment, EngineSettings, Formats, Parallelism, Pool
from sizewell.specs.engine import EngineSpec
from sizewell.specs.model import ModelSpec

ENGINE = "vllm"


@cache
def model_of(name: str) -> ModelSpec:
    """Return a model of the catalogue, read once."""
    return read_model(name)


def engine_of(name: str = ENGINE, version: str | None = None) -> EngineSpec:
    """Return a version of an engine, the newest whose rules are known where none is said."""
    return read_engine(name, version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One replica as a claim states it: `gpus` accelerators, tensor parallel within each of `stages` pipeline stages.

    `sequences` decode at `context_tokens` each; `context_tokens` is also the longest context allowed. `engine_version`
    is the release a document used, where it says so.
    """

    model: str
    gpu: str = "h200-sxm-141gb"
    weight_format: str = "native"
    gpus: int = 1
    gpus_per_node: int = 8
    stages: int = 1
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    memory_fraction: float = 0.9
    eager: bool = False
    sequences: int = 1
    context_tokens: int = 4096
    engine_version: str | None = None

    def but(self, **changes: str | float) -> Self:
        """Return the same with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def settings(self) -> EngineSettings:
        """What the engine is told."""
        return EngineSettings(
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_model_len_tokens=self.context_tokens,
            memory_fraction=self.memory_fraction,
            enforce_eager=self.eager,
        )

    @property
    def cut(self) -> Parallelism:
        """How the replica is cut."""
        return Parallelism(tp=self.gpus // self.stages, pp=self.stages)

    @property
    def deployment(self) -> Deployment:
        """The replica on its own cluster."""
        inside = min(self.gpus, self.gpus_per_node)
        return Deployment(
            model=model_of(self.model),
            weight_format=self.weight_format,
            kv_format="auto",
            engine=engine_of(version=self.engine_version),
            cluster=cluster(self.gpu, gpus_per_node=inside, nodes=self.gpus // inside),
            pools=(Pool(role="both", replicas=1, parallelism=self.cut, settings=self.settings),),
        )

    @property
    def memory(self) -> RankMemory:
        """What a rank holds, whatever the accelerator."""
        return rank_memory(
            model_of(self.model), Formats(weight=self.weight_format), self.cut, self.settings, self.deployment.engine
        )

    @property
    def ledger(self) -> MemoryLedger:
        """What the fullest accelerator holds."""
        return ledger(self.deployment)
