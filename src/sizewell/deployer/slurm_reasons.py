"""Why a SLURM job waits that does not start by itself, and what somebody must do."""

from __future__ import annotations

import re

_NEVER = "it never starts like this"
_HELD = "it is held: `scontrol release` with its number lets it go"
_NODES = "nodes it needs are down, drained or reserved: `sinfo -R` says why"
_NODES_OR_TURN = f"{_NODES}; where it names none of them, they are kept for jobs before it"
_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (r"JobHeldUser|JobHoldMaxRequeue|.*held state|.*requeued[ _]held", _HELD),
        (r"JobHeldAdmin", "an administrator holds it: ask them, or `scontrol release` it where that is you"),
        (r"PartitionTimeLimit", f"{_NEVER}: --time is above what the partition allows (`sinfo -o '%P %l'`)"),
        (r"PartitionConfig", f"{_NEVER}: see the partition's limits (`scontrol show partition`), --time and --nodes"),
        (r"PartitionNodeLimit", f"{_NEVER}: the partition gives no job so many nodes"),
        (r"Partition(?:Down|Inactive)", "the partition starts no jobs now: choose another --partition (`sinfo`)"),
        (r"BadConstraints", f"{_NEVER}: no nodes have what it asks for: see --constraint"),
        (r"Invalid(?:Account|QOS)|(?:Account|QOS)NotAllowed", f"{_NEVER}: see --account and --partition"),
        (r"(?:QOS|Assoc|Max)\w*PerJob", f"{_NEVER}: one job of this account may not ask for so much (--time, --nodes)"),
        (r"(?:QOS|Assoc)(?:Grp|Max)", "a limit of your account is reached: it starts when other jobs of it have ended"),
        (r"DependencyNeverSatisfied", f"{_NEVER}: the job it depends on failed"),
        (r"Nodes required for job are DOWN", _NODES_OR_TURN),
        (r"ReqNodeNotAvail|NodeDown", _NODES),
    )
)
"""From the more to the less telling: the first that fits counts."""


def advice(reason: str) -> str:
    """Return what is to be done about a reason to wait, in the scheduler's words; empty where waiting helps."""
    return next((advice for pattern, advice in _ADVICE if pattern.match(reason)), "")
