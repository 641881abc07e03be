"""A wording of a failure: how much it weighs, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sizewell.specs.standing import Cause

Weight = Literal["always", "job", "start", "end", "hint"]
"""`always` is a failure wherever it stands; `job` is the scheduler's word on a whole job, which may run again by now;
`start` counts until requests are taken, later only if the engine dies of it; `end` may be survived, and is the cause
where it was not; `hint` is printed by healthy starts too and only explains a death."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """A wording of a failure: its cause, how much it weighs alone, and the advice."""

    cause: Cause
    weight: Weight
    advice: str
    pattern: re.Pattern[str]


def symptom(cause: Cause, weight: Weight, advice: str, *patterns: str) -> Symptom:
    """Return a symptom known by any of the patterns, wherever in a message one stands."""
    return Symptom(cause, weight, advice, re.compile("|".join(patterns)))
