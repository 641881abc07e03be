"""What `import sizewell` gives: a few typed names, a version, and clear errors."""

from __future__ import annotations

import pytest

import sizewell
from sizewell import Formats, Question, Setup, SizewellError, Stated, Workload, explain, read_model


def test_every_name_it_lists_is_there() -> None:
    assert all(getattr(sizewell, name) is not None for name in sizewell.__all__)
    assert sizewell.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="nothing"):
        _ = sizewell.nothing


def test_a_cut_and_a_format_can_be_stated_with_public_names() -> None:
    load = Workload(users=4, input_tokens=1000, answer_tokens=100)
    setup = Setup(formats=Formats(weight="fp8"), stated=Stated(tp=2))
    answer = explain("llama-3.1-8b", "4xh100", load, setup)
    (pool,) = answer.deployment.pools
    assert (pool.parallelism.tp, pool.replicas, answer.deployment.weight_format) == (2, 2, "fp8")


def test_an_objective_there_is_not_is_refused_by_name() -> None:
    load = Workload(users=4, input_tokens=1000, answer_tokens=100)
    with pytest.raises(SizewellError, match="cheapest"):
        Question(model=read_model("llama-3.1-8b"), workload=load, objective="cheap")  # type: ignore[arg-type]
