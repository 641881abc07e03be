"""One replica at work: its ranks form batches together, one step after the other or several in flight.

Ranks of a data-parallel replica run in lock-step: a step lasts as long as its slowest rank, and experts serve the
tokens of all ranks. The first rank keeps the time for all.
"""

from __future__ import annotations

from math import inf

from sizewell.simulator.agenda import next_time_s
from sizewell.simulator.jumps import jump, steps_alike
from sizewell.simulator.landing import land_batch
from sizewell.simulator.pace import pace_s, run_s, steps_until
from sizewell.simulator.sglang import schedule_sglang
from sizewell.simulator.state import FCFS, OPEN, SGLANG, Engine, World, engine_of
from sizewell.simulator.tournament import enter
from sizewell.simulator.vllm import schedule

MOST_STEPS = 256
"""Steps of several ranks that are planned ahead: what nobody foresaw may cut them short."""


def wake(world: World, replica: int) -> None:
    """Land the oldest batch if it is done by now, and form new ones as long as the engine lets batches be in flight.

    A batch in which nothing could be computed keeps its place among those in flight until it is the oldest.
    """
    rules, now_s = world.rules[0], world.clock[0].now_s
    lead = world.states[replica * rules.ranks]
    if lead.in_flight > 0:
        _land(world, replica, now_s)
    waiting = False
    while not waiting:
        acted = _form(world, replica, (lead.oldest + lead.in_flight) % rules.depth)
        if not acted and not _computing(world, replica):
            lead.in_flight = 0
            break
        lead.in_flight += 1
        if lead.in_flight == rules.depth:
            waiting = world.batches[replica * rules.ranks, lead.oldest].end_s > 0.0
            if not waiting:
                lead.oldest = (lead.oldest + 1) % rules.depth
                lead.in_flight -= 1
    _plan(world, replica)


def _form(world: World, replica: int, ring: int) -> bool:
    """Form and start the next batch; return whether that changed anything. An empty batch has no end."""
    rules = world.rules[0]
    tokens = preempted = 0
    if rules.balance_steps > 0:
        _balance(world, replica)
    for rank in range(rules.ranks):
        engine = engine_of(world, replica * rules.ranks + rank)
        before = engine.state[0].preemptions
        tokens += _form_batch(engine, ring, rules.scheduler)
        preempted += engine.state[0].preemptions - before
    if tokens > 0:
        _launch(world, replica, ring)
    else:
        world.batches[replica * rules.ranks, ring].end_s = 0.0
        if rules.scheduler == SGLANG:
            _rest(world, replica)
    # A step in which the first sequence was itself the victim takes no time; the next one is formed at once.
    return bool(tokens > 0 or preempted > 0)


def _rest(world: World, replica: int) -> None:
    """Let an SGLang replica that has nothing to do expect as much of outputs as at its start."""
    rules = world.rules[0]
    for rank in range(replica * rules.ranks, (replica + 1) * rules.ranks):
        if world.states[rank].running + world.states[rank].waiting > 0:
            return
    for rank in range(replica * rules.ranks, (replica + 1) * rules.ranks):
        world.states[rank].ratio = rules.ratio_start


def _balance(world: World, replica: int) -> None:
    """Let prompts wait while every rank decodes and some have no prompt: a step takes as long as its fullest rank."""
    rules = world.rules[0]
    first = replica * rules.ranks
    prompted = idle = 0
    for rank in range(rules.ranks):
        state = world.states[first + rank]
        prompted += int(state.waiting > 0 and state.running < rules.max_num_seqs)
        idle += int(state.running == 0)
    lead = world.states[first]
    waited = lead.holds + 1 if 0 < prompted < rules.ranks and idle == 0 else 0
    if waited > rules.balance_steps:
        waited = 0
    for rank in range(rules.ranks):
        world.states[first + rank].holds = waited


def _computing(world: World, replica: int) -> bool:
    """Return whether a batch that computes something is in flight."""
    rules = world.rules[0]
    lead = world.states[replica * rules.ranks]
    for ahead in range(lead.in_flight):
        if world.batches[replica * rules.ranks, (lead.oldest + ahead) % rules.depth].end_s > 0.0:
            return True
    return False


def _form_batch(engine: Engine, ring: int, scheduler: int) -> int:
    if scheduler == SGLANG:
        return schedule_sglang(engine, ring)
    return schedule(engine, ring)


def rouse(world: World, replica: int) -> None:
    """Let a replica notice a request that has just come: at once if it is idle, else when its next step is formed."""
    lead = world.states[replica * world.rules[0].ranks]
    if lead.in_flight == 0:
        _act_at(world, replica, world.clock[0].now_s)
    elif lead.skip > 0 and not _no_admission(world, replica):
        _cut_jump(world, replica)


def halt(world: World, replica: int) -> None:
    """Bring a replica's sequences to where they are now, in the middle of a jump if need be."""
    if world.states[replica * world.rules[0].ranks].skip > 0:
        _cut_jump(world, replica)
    if world.states[replica * world.rules[0].ranks].skip > 0:
        _jump(world, replica)


def _cut_jump(world: World, replica: int) -> None:
    """Shorten a planned jump so that the scheduler acts at the end of the step that is running now."""
    _set_wake(world, replica, world.states[replica * world.rules[0].ranks].skip, world.clock[0].now_s)


def _no_admission(world: World, replica: int) -> bool:
    """Return whether a new request could not be admitted whatever it is: all slots taken, or others before it."""
    rules = world.rules[0]
    state = world.states[replica * rules.ranks]
    # Which of several ranks it comes to is not known here.
    if rules.receive_steps > 1 or rules.ranks > 1:
        return False
    return bool((state.spare == 0 and state.moved == 0) or (state.blocked != OPEN and rules.policy == FCFS))


def _launch(world: World, replica: int, ring: int) -> None:
    """Set when a batch starts and ends: one after the other, or stage by stage through a pipeline."""
    rules = world.rules[0]
    first = replica * rules.ranks
    lead, seconds = world.states[first], pace_s(world, first, ring, 0)
    for rank in range(rules.ranks):
        seconds += world.batches[first + rank, ring].load_s
    batch = world.batches[first, ring]
    batch.start_s = max(world.clock[0].now_s, lead.busy_s)
    interval_s = seconds / rules.stages
    batch.end_s = max(batch.start_s + seconds, lead.end_s + interval_s)
    lead.busy_s, lead.end_s = batch.start_s + interval_s, batch.end_s


def _plan(world: World, replica: int) -> None:
    """Decide when the scheduler acts next: when the oldest batch lands, or after a jump over steps like it."""
    rules = world.rules[0]
    lead = world.states[replica * rules.ranks]
    lead.skip = 0
    if lead.in_flight == 0:
        _act_at(world, replica, inf)
        return
    steps = 0
    if rules.jumps and lead.in_flight == rules.depth:
        steps = steps_alike(world, replica * rules.ranks)
    until_s = inf
    if rules.ranks > 1:
        # Their steps are summed one by one: none more than are jumped over.
        steps, until_s = min(steps, MOST_STEPS), next_time_s(world)
    _set_wake(world, replica, steps, until_s)


def _set_wake(world: World, replica: int, most: int, until_s: float) -> None:
    """Let the scheduler act after a jump over at most so many steps, those that start before a time."""
    rules = world.rules[0]
    lead = world.states[replica * rules.ranks]
    batch = world.batches[replica * rules.ranks, lead.oldest]
    steps, seconds = steps_until(world, replica * rules.ranks, lead.oldest, until_s, most)
    lead.skip = steps
    _act_at(world, replica, batch.end_s + seconds)


def _act_at(world: World, replica: int, time_s: float) -> None:
    world.states[replica * world.rules[0].ranks].wake_s = time_s
    enter(world.soonest, replica, time_s, 0)


def _land(world: World, replica: int, now_s: float) -> None:
    rules = world.rules[0]
    first = replica * rules.ranks
    lead = world.states[first]
    if lead.skip > 0:
        _jump(world, replica)
    for rank in range(rules.ranks):
        land_batch(engine_of(world, first + rank), lead.oldest, now_s)
    lead.oldest = (lead.oldest + 1) % rules.depth
    lead.in_flight -= 1


def _jump(world: World, replica: int) -> None:
    """Jump over the planned steps: the batches in flight become those of so many steps later."""
    rules = world.rules[0]
    first = replica * rules.ranks
    lead = world.states[first]
    oldest, steps = lead.oldest, lead.skip
    end_s = lead.wake_s
    if rules.ranks == 1:
        start_s = world.batches[first, oldest].end_s + run_s(world, first, oldest, 1, steps - 1)
    else:
        start_s = end_s - pace_s(world, first, oldest, steps)
    jump(world, first, steps, start_s)
    for ahead in range(lead.in_flight):
        batch = world.batches[first, (oldest + ahead) % rules.depth]
        if batch.end_s == 0.0:
            continue
        batch.start_s, batch.end_s = start_s, end_s
        start_s = end_s
        end_s += run_s(world, first, oldest, 1 + steps + ahead, 1)
    lead.busy_s = lead.end_s = start_s
    lead.skip = 0
    for rank in range(rules.ranks):
        for ahead in range(lead.in_flight):
            batch = world.batches[first + rank, (oldest + ahead) % rules.depth]
            batch.decode_context_tokens += batch.decode_sequences * steps
