"""Evaluators that look a number up: sizes of models, requests and engines."""

from __future__ import annotations

from sizewell.specs.layers import LatentAttention
from tools.docs.evaluators.deployments import engine_of, model_of
from tools.docs.verdict import Finding


def parameters(model: str) -> Finding:
    """Return all parameters of the language model."""
    return Finding(value=model_of(model).text_parameters)


def active_parameters(model: str) -> Finding:
    """Return the parameters one token passes through."""
    return Finding(value=model_of(model).active_parameters)


def layer_count(model: str) -> Finding:
    """Return the decoder layers."""
    return Finding(value=len(model_of(model).layers))


def head_count(model: str) -> Finding:
    """Return the query heads of a layer."""
    return Finding(value=getattr(model_of(model).layers[0].mixer, "heads", 0))


def key_width(model: str) -> Finding:
    """Return the elements of one query or key."""
    mixer = model_of(model).layers[0].mixer
    if isinstance(mixer, LatentAttention):
        return Finding(value=mixer.qk_nope_head_dim + mixer.qk_rope_head_dim)
    return Finding(value=getattr(mixer, "head_dim", 0))


def max_context_tokens(model: str) -> Finding:
    """Return the longest context the model was made for."""
    return Finding(value=model_of(model).max_context_tokens)


def engine_block_tokens(engine: str) -> Finding:
    """Return an engine's default block size."""
    return Finding(value=engine_of(engine).block_tokens)


def tokens_computed(input_tokens: int, think_tokens: int, answer_tokens: int) -> Finding:
    """Return the tokens of a request that pass through the model: its prompt, and all it generates but the last."""
    return Finding(value=input_tokens + think_tokens + answer_tokens - 1)


def quotient(numerator: float, denominator: float) -> Finding:
    """Return a quotient of two numbers of the document itself."""
    return Finding(value=numerator / denominator)


EVALUATORS = (
    parameters,
    active_parameters,
    layer_count,
    head_count,
    key_width,
    max_context_tokens,
    engine_block_tokens,
    tokens_computed,
    quotient,
)
