"""Kinds of requests: what is asked, and how much thinking and answering that kind of question takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from sizewell.specs.errors import BadInputError
from sizewell.traffic.bounds import require
from sizewell.traffic.draws import even
from sizewell.traffic.lengths import NOTHING, Lengths
from sizewell.traffic.requests import Ints, Requests


class Spoken(NamedTuple):
    """Tokens of text, thinking and answer [n each]."""

    text: Ints
    think: Ints
    answer: Ints


class Kind(Protocol):
    """A kind of request, with its share of the sessions."""

    @property
    def weight(self) -> float:
        """Share of the sessions, relative to the other kinds."""

    @property
    def priority(self) -> int:
        """Priority of its requests, lower first."""

    def draw(self, count: int, rng: np.random.Generator) -> Spoken:
        """Return the lengths of `count` requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClass:
    """One class of prompts with its own lengths: an easy question is short *and* thought about briefly.

    `text` is the user's own, without shared beginnings; `weight` relative to the other classes.
    """

    text: Lengths
    answer: Lengths
    think: Lengths = NOTHING
    weight: float = 1.0
    priority: int = 0

    def __post_init__(self) -> None:
        require("the weight of a class", self.weight, low=0)

    def draw(self, count: int, rng: np.random.Generator) -> Spoken:
        """Return the lengths of `count` requests, text and output independent within the class."""
        return Spoken(self.text.draw(count, rng), self.think.draw(count, rng), self.answer.draw(count, rng))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """Requests like recorded ones: text, thinking and answer of one recorded row stay together."""

    recorded: Requests
    weight: float = 1.0
    priority: int = 0

    def __post_init__(self) -> None:
        require("the weight of a class", self.weight, low=0)
        if len(self.recorded) == 0:
            raise BadInputError("no recorded requests to draw from: give a trace with at least one")

    def draw(self, count: int, rng: np.random.Generator) -> Spoken:
        """Return the lengths of `count` requests, each recorded row as often as any other."""
        row = (even(count, rng) * len(self.recorded)).astype(np.int64)
        these = self.recorded
        return Spoken(these.input_tokens[row], these.think_tokens[row], these.answer_tokens[row])
