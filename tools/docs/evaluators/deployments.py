"""Deployments the documents speak of, built the way the catalogue describes them."""

from __future__ import annotations

from functools import cache

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.costs.ledger import MemoryLedger, ledger
from sizewell.specs.deployment import Deployment, EngineSettings, Parallelism, Pool
from sizewell.specs.engine import EngineSpec
from sizewell.specs.model import ModelSpec

ENGINE = "vllm"
MEMORY_FRACTION = 0.9
NODE_GPUS = 8


@cache
def model_of(name: str) -> ModelSpec:
    """Return a model of the catalogue, read once."""
    return read_model(name)


def engine_of(name: str = ENGINE) -> EngineSpec:
    """Return the newest version of an engine whose rules are known."""
    return read_engine(name)


@cache
def deployment(  # noqa: PLR0913 - the fields of a claim
    model: str,
    gpu: str,
    *,
    weight_format: str = "native",
    kv_format: str = "auto",
    gpus: int = 1,
    gpus_per_node: int = NODE_GPUS,
    stages: int = 1,
    max_num_seqs: int = 256,
    max_num_batched_tokens: int = 8192,
    context_tokens: int = 4096,
    memory_fraction: float = MEMORY_FRACTION,
    eager: bool = False,
    node: str | None = None,
) -> Deployment:
    """Return one replica of `gpus` accelerators: tensor parallel, in `stages` pipeline stages."""
    inside = min(gpus, gpus_per_node)
    settings = EngineSettings(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        max_model_len_tokens=context_tokens,
        memory_fraction=memory_fraction,
        enforce_eager=eager,
    )
    cut = Parallelism(tp=gpus // stages, pp=stages)
    return Deployment(
        model=model_of(model),
        weight_format=weight_format,
        kv_format=kv_format,
        engine=engine_of(),
        cluster=cluster(gpu, gpus_per_node=inside, nodes=gpus // inside, node=node),
        pools=(Pool(role="both", replicas=1, parallelism=cut, settings=settings),),
    )


def ledger_of(deployed: Deployment) -> MemoryLedger:
    """Return the memory ledger of a deployment's only pool."""
    return ledger(deployed)
