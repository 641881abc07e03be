"""Traffic with all its spread, as the plain workload of means a steady-state plan is made for."""

from __future__ import annotations

from sizewell.specs.errors import BadInputError
from sizewell.traffic.arrivals import Arrivals, Constant, Gamma, Recorded, Users, Varying, Window, mean_rate_per_s
from sizewell.traffic.offer import Traffic, offer
from sizewell.traffic.workload import Workload

_DRAWN = 20_000


def mean_workload(traffic: Traffic) -> Workload:
    """Return the means of the traffic's requests, later turns with their history included, and its load.

    A rate that varies counts with its peak, because a plan must hold that. What every request shares is shared; users
    who pause count as if they did not. Raises BadInputError for a batch, which has neither rate nor users.
    """
    drawn = offer(traffic, _DRAWN if not isinstance(traffic.arrivals, Recorded) else len(traffic.arrivals.arrival_s))
    users, rate_per_s = _load(traffic.arrivals)
    shared = sum(prefix.tokens.mean_tokens * prefix.fraction for prefix in traffic.prefixes if prefix.copies == 1)
    mean_input = float(drawn.input_tokens.mean())
    return Workload(
        input_tokens=mean_input,
        think_tokens=float(drawn.think_tokens.mean()),
        answer_tokens=max(1.0, float(drawn.answer_tokens.mean())),
        shared_prefix_tokens=min(shared, mean_input),
        users=users,
        rate_per_s=rate_per_s,
    )


def _load(arrivals: Arrivals) -> tuple[float | None, float | None]:
    if isinstance(arrivals, Gamma | Constant):
        return None, arrivals.rate_per_s
    if isinstance(arrivals, Varying):
        return None, max(arrivals.profile.rate_per_s)
    if isinstance(arrivals, Recorded):
        return None, mean_rate_per_s(arrivals.arrival_s)
    if isinstance(arrivals, Window):
        return float(arrivals.concurrency), None
    if isinstance(arrivals, Users):
        return float(arrivals.users), None
    raise BadInputError("all requests at once have neither a rate nor users: say how they arrive")
