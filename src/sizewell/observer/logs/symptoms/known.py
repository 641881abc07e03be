"""Every known wording of a failure."""

from __future__ import annotations

from sizewell.observer.logs.symptoms.machine import MACHINE
from sizewell.observer.logs.symptoms.memory import MEMORY
from sizewell.observer.logs.symptoms.network import NETWORK
from sizewell.observer.logs.symptoms.programs import PROGRAMS
from sizewell.observer.logs.symptoms.settings import SETTINGS
from sizewell.observer.logs.symptoms.symptom import Symptom
from sizewell.observer.logs.symptoms.weights import WEIGHTS

SYMPTOMS: tuple[Symptom, ...] = (*PROGRAMS, *MEMORY, *WEIGHTS, *SETTINGS, *NETWORK, *MACHINE)
"""From the most to the least telling: a line counts for the first that knows it."""
