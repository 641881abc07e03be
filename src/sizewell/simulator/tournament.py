"""Which replica is first by some measure: a tournament in which each plays its matches again when its value changes.

Contestants stand in the last half of the array, every pair's winner at half its place, the winner of all at place 1:
to ask costs nothing, to change a value log₂ n matches.
"""

from __future__ import annotations

from sizewell.simulator.state import Records


def winner(tree: Records) -> int:
    """Return who has the lowest value; of equals the one with the earlier turn, then the first."""
    return int(tree[1].contestant)


def enter(tree: Records, contestant: int, value: float, turn: int) -> None:
    """Give a contestant a new value and turn."""
    at = len(tree) // 2 + contestant
    tree[at].value, tree[at].turn, tree[at].contestant = value, turn, contestant
    while at > 1:
        at //= 2
        better = 2 * at + int(_beats(tree, 2 * at + 1, 2 * at))
        tree[at].value, tree[at].turn = tree[better].value, tree[better].turn
        tree[at].contestant = tree[better].contestant


def turn_of(tree: Records, contestant: int) -> int:
    """Return a contestant's turn."""
    return int(tree[len(tree) // 2 + contestant].turn)


def _beats(tree: Records, one: int, other: int) -> bool:
    first, second = tree[one], tree[other]
    return bool(first.value < second.value or (first.value == second.value and first.turn < second.turn))
