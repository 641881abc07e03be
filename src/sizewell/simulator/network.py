"""The network between two pools: each engine has one line into it, and caches wait for both lines in the order asked.

A line carries one cache at a time, at its full rate: as many bytes a second as sharing it would bring, and the first
ones sooner. A cache sets off when the lines of its sender and of its receiver are free; the slower of the two says how
long it travels, and the faster one is free again as soon as it has carried its part.
"""

from __future__ import annotations

from sizewell.simulator.state import Pair


def arrival_s(pair: Pair, request: int) -> float:
    """Send for the cache of a prompt now; return when it will have come."""
    network, now_s = pair.network[0], pair.decode.clock[0].now_s
    blocks = pair.decode.sequences[request].moving
    move = pair.moves[request]
    move.asked_s = move.left_s = move.came_s = now_s
    network.prompts += 1
    if blocks == 0:
        return float(now_s)
    sender = pair.senders[pair.prefill.sequences[request].engine]
    receiver = pair.receivers[pair.decode.sequences[request].engine]
    start_s = max(now_s, sender.free_s, receiver.free_s)
    sending_s, receiving_s = blocks * network.send_block_s, blocks * network.receive_block_s
    travels_s = network.latency_s + max(sending_s, receiving_s)
    sender.free_s, receiver.free_s = start_s + sending_s, start_s + receiving_s
    sender.busy_s += sending_s
    receiver.busy_s += receiving_s
    network.blocks += blocks
    network.waited_s += start_s - now_s
    network.travelled_s += travels_s
    move.left_s, move.came_s = start_s, start_s + travels_s
    return float(start_s + travels_s)
