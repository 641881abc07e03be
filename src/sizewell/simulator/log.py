"""The step log: what a scheduler decided, in order, for tests, for comparison with a real engine, and for traces."""

from __future__ import annotations

from sizewell.simulator.state import Engine

STEP, SCHEDULED, ADMITTED, PREEMPTED, FINISHED = range(5)
"""A step was formed (request: number of sequences); tokens scheduled; admitted with so many cached tokens; preempted
with so many computed tokens; ended with so many generated tokens."""

WORDS = ("step", "scheduled", "admitted", "preempted", "finished")


def note(engine: Engine, what: int, request: int, tokens: int) -> None:
    """Write one line, if there is a log."""
    if not engine.rules[0].logged:
        return
    clock, state = engine.clock[0], engine.state[0]
    line = engine.log[clock.logged]
    line.step, line.engine, line.time_s = state.steps, state.index, clock.now_s
    line.what, line.request, line.tokens, line.free = what, request, tokens, state.free
    clock.logged += 1
