"""What an engine holds while it plays: records of numbers only, so that the same functions run plain and compiled.

Everything lives in arrays of records. A `World` holds them for all engines (data-parallel ranks of all replicas);
an `Engine` is the view of one of them. Records change in place; the tuples around them never do.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.surface import StepSurface

Records = Any
"""An array of records, whose fields numpy gives no types."""
Ints = NDArray[np.int64]
Smalls = NDArray[np.int32]

NONE = -1
"""No request, no slot."""

UNSENT, WAITING, MOVING, RUNNING, ENDED, REFUSED = range(6)
"""Where a sequence is: ahead of us, in the waiting queue, admitted while its cache is on its way, in the running list,
answered whole, never admissible."""

FULL, WINDOW, CHUNK, STATE = range(4)
"""What a block group caches: every token, a sliding window, the current chunk, a recurrent state."""

FCFS, PRIORITY = range(2)
VLLM, SGLANG = range(2)

OPEN, NO_SEAT, NO_ROOM = range(3)
"""How the last look at the waiting queue ended: nobody waits; slots or budget are used up; the first does not fit."""


class HoldsBlocks(Protocol):
    """Whatever has a pool of blocks: an engine, or its share of host memory."""

    @property
    def rules(self) -> Records:
        """The rules, one record."""

    @property
    def state(self) -> Records:
        """The record that counts the free blocks."""

    @property
    def blocks(self) -> Records:
        """The blocks and their free list."""

    @property
    def places(self) -> Records:
        """The map from keys to blocks."""


class Pool(NamedTuple):
    """A pool of blocks by itself."""

    rules: Records
    state: Records
    blocks: Records
    places: Records


class Engine(NamedTuple):
    """One scheduler with its own pool of blocks: views into the arrays of a `World`."""

    rules: Records
    groups: Records
    requests: Records
    sequences: Records
    segment_start: Ints
    segment_id: Ints
    segment_tokens: Ints
    clock: Records
    gaps: Records
    log: Records
    draws: Smalls  # accepted drafts of successive steps
    state: Records  # one record
    blocks: Records
    places: Records  # the map from keys to blocks
    tables: Smalls  # [groups, slots, blocks]
    held: Smalls  # [groups, slots]
    passed: Smalls  # [groups, slots]: blocks at the head of a table given back, where they are only counted
    hits: Smalls  # [groups, blocks]
    slots: Records
    keys: Ints
    spare: Ints
    running: Ints
    ended: Ints
    asked: Ints
    moved: Ints
    order: Ints
    heap: Ints
    batches: Records
    entries: Records
    host_state: Records  # one record
    host_blocks: Records
    host_places: Records


class World(NamedTuple):
    """All engines and all requests: arrays with one row for each engine, and what they share."""

    rules: Records
    groups: Records
    requests: Records
    sequences: Records
    segment_start: Ints
    segment_id: Ints
    segment_tokens: Ints
    clock: Records
    gaps: Records
    log: Records
    draws: Smalls
    states: Records
    blocks: Records
    places: Records
    tables: Smalls
    held: Smalls
    passed: Smalls
    hits: Smalls
    slots: Records
    keys: Ints
    spare: Ints
    running: Ints
    ended: Ints
    asked: Ints
    moved: Ints
    order: Ints
    heap: Ints
    batches: Records
    entries: Records
    host_states: Records
    host_blocks: Records
    host_places: Records
    starters: Ints  # requests that wait for no other, in order
    follower_start: Ints
    followers: Ints
    agenda: Records
    samples: Records
    soonest: Records  # tournaments of replicas: who acts next, who has the least to do
    idlest: Records
    homes: Records  # a router's memory: which replicas, a bit for each, have been sent a piece of content
    surface: StepSurface


class Pair(NamedTuple):
    """A pool that computes prompts and one that decodes; a request is a sequence in each, one after the other.

    Every engine has a line into the network that joins them.
    """

    prefill: World
    decode: World
    network: Records  # one record
    moves: Records  # when each prompt's cache was sent for, set off and came
    senders: Records  # a line for each engine of the prefill pool
    receivers: Records


def engine_of(world: World, index: int) -> Engine:
    """Return the view of one engine."""
    return Engine(
        world.rules, world.groups, world.requests, world.sequences, world.segment_start, world.segment_id,
        world.segment_tokens, world.clock, world.gaps, world.log, world.draws, world.states[index : index + 1],
        world.blocks[index], world.places[index], world.tables[index], world.held[index], world.passed[index],
        world.hits[index], world.slots[index], world.keys[index], world.spare[index], world.running[index],
        world.ended[index], world.asked[index], world.moved[index], world.order[index], world.heap[index],
        world.batches[index], world.entries[index], world.host_states[index : index + 1], world.host_blocks[index],
        world.host_places[index],
    )  # fmt: skip
