"""Answers as JSON objects: the fields docs/json-schema.md documents, in base units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sizewell.cli.questions import Explanation
    from sizewell.costs.ledger import MemoryLedger
    from sizewell.costs.lines import LedgerLine
    from sizewell.specs.deployment import Deployment, Pool
    from sizewell.specs.hardware import ClusterSpec
    from sizewell.specs.model import ModelSpec

Object = Mapping[str, object]


def model_object(model: ModelSpec) -> Object:
    """Return what a reader wants to know of a model."""
    return {
        "name": model.name,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "layers": len(model.layers),
        "hidden": model.hidden,
        "vocabulary": model.vocabulary,
        "max_context_tokens": model.max_context_tokens,
        "weight_format": model.weight_format,
        "kv_format": model.kv_format,
        "assumed": model.assumed,
    }


def deployment_object(deployment: Deployment) -> Object:
    """Return a deployment: what it runs on, how it is cut, what is said to the engine."""
    cluster = deployment.cluster
    return {
        "model": deployment.model.name,
        "weight_format": deployment.weight_format,
        "kv_format": deployment.kv_format,
        "engine": {"name": deployment.engine.name, "version": deployment.engine.version},
        "gpu": cluster.gpu.key,
        "node": cluster.node.key,
        "gpus_per_node": cluster.gpus_per_node,
        "nodes": cluster.nodes,
        "gpus": deployment.gpus,
        "pools": [_pool_object(pool) for pool in deployment.pools],
        "kv_network": deployment.kv_network.key if deployment.kv_network else None,
        **({"decode_on": _place_object(deployment.decode_cluster)} if deployment.decode_cluster else {}),
    }


def _place_object(cluster: ClusterSpec) -> Object:
    return {
        "gpu": cluster.gpu.key,
        "node": cluster.node.key,
        "gpus_per_node": cluster.gpus_per_node,
        "nodes": cluster.nodes,
    }


def _pool_object(pool: Pool) -> Object:
    settings = pool.settings
    said = {
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "max_model_len_tokens": settings.max_model_len_tokens,
        "memory_fraction": settings.memory_fraction,
        "enforce_eager": settings.enforce_eager,
        "prefix_caching": settings.prefix_caching,
        "chunked_prefill": settings.chunked_prefill,
        "speculative_tokens": settings.speculative_tokens,
        "draft_acceptance": settings.draft_acceptance,
        "offload_bytes": settings.offload_bytes,
        "kv_host_bytes": settings.kv_host_bytes,
        "kv_cache_bytes": settings.kv_cache_bytes,
        "pin_prefixes": settings.pin_prefixes,
        "by_priority": settings.by_priority,
    }
    return {"role": pool.role, "replicas": pool.replicas, "parallelism": pool.parallelism, "settings": said}


def ledger_object(ledger: MemoryLedger, contexts: Sequence[int]) -> Object:
    """Return a memory ledger with every line's formula and the sequences it holds at some context lengths."""
    return {
        "verdict": ledger.verdict,
        "fits": ledger.fits,
        "gpu_bytes": ledger.gpu_bytes,
        "budget_bytes": ledger.budget_bytes,
        "total_bytes": ledger.total_bytes,
        "headroom_bytes": ledger.headroom_bytes,
        "weight_bytes": ledger.weight_bytes,
        "kv_bytes": ledger.kv_figure,
        "kv_bytes_per_token": ledger.kv_bytes_per_token,
        "kv_tokens": ledger.kv_tokens,
        "kv_blocks": ledger.kv_blocks,
        "pipeline_stage": ledger.stage,
        "concurrency": [
            {"context_tokens": tokens, "sequences": ledger.concurrency(tokens)} for tokens in contexts
        ],
        "lines": [_line_object(line) for line in ledger.lines],
    }  # fmt: skip


def _line_object(line: LedgerLine) -> Object:
    return {
        "name": line.name,
        "bytes": line.bytes,
        "low": line.low,
        "high": line.high,
        "provenance": line.provenance,
        "place": line.place,
        "formula": line.explain(),
    }


def explanation_object(answer: Explanation, contexts: Sequence[int]) -> Object:
    """Return an explanation."""
    return {
        "model": model_object(answer.deployment.model),
        "deployment": deployment_object(answer.deployment),
        "calibrated_by": answer.calibrated_by,
        "workload": answer.workload,
        "memory": ledger_object(answer.memory, contexts),
        "served": answer.served,
        "step": answer.step,
        "bill_of_materials": answer.materials,
    }
