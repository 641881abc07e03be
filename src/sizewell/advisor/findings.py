"""What is wrong or binds, each with the figures that show it; the first one found is the label.

Order matters: whoever is not sent work, or throws work away, is not slow; who queues is limited by what it queues for;
only a server that does neither is as fast as its steps. Thresholds are stated with each rule (provenance: assumed).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from sizewell.advisor.case import Case, Finding, ms
from sizewell.advisor.causes import SHOWN, causes
from sizewell.advisor.observation import ClientFacts, Observation
from sizewell.advisor.pace import PROMPTS, held, seats

IDLE = 0.5
"""Sequences at work below which accelerators wait more than half the time."""
IDLE_ENGINES = 0.25
LATE_S, LATE_SHARE = 0.010, 0.2
"""A client that sends so much after the due time, in seconds and of the time to first token, is late."""
MOST_CPU, LEAST_SENT, LEAST_IN_FLIGHT = 0.8, 0.95, 0.67
COLD = 0.2
"""Share of prompt tokens that should have been found in the cache and was not, beyond which it is cold."""
STORM, EACH, HELD_UP = 0.25, 1.0, 1.5
"""Preemptions for each request that ends from which they are a storm. Of sequences that are mostly prompt fewer than
one are only a sign of a full cache where tokens keep their pace, measured over predicted: who is preempted waits.
"""
FULL, SEATED = 0.85, 0.9
"""Share of the cache in use a quarter of the time, and share of the seats, from which they are full."""
ROOM = ("KV capacity", "replicated MLA KV", "queueing")
LEAST_OF_ROOM = 0.1
"""Labels of too few at once, and what twice as many must bring for it to be so."""
SLOW = 1.7
"""Measured over predicted time between tokens from which it is not the hardware that was stated, or not all of it."""


def findings(case: Case) -> tuple[Finding, ...]:
    """Return everything found, what binds first."""
    full = (_cache, _storm) if _keeps_its_pace(case) else (_storm, _cache)
    rules = (_idle, _client, _fast, _cold, *full, _queue, _slow)
    found = [finding for rule in rules if (finding := rule(case)) is not None]
    if not any(finding.label == "idle GPUs" and finding.share == 1.0 for finding in found) and not case.beats_the_floor:
        named = {finding.label for finding in found}
        spent = [each for each in causes(case) if each.label not in named]
        # Room for more is no limit where more would not bring more: they wait for what everybody waits for.
        behind = [each for each in found if each.label in ROOM and spent and (case.more_at_once or inf) < LEAST_OF_ROOM]
        found = [*(each for each in found if each not in behind), *spent[:1], *behind, *spent[1:]]
    return tuple(found) or (_nothing(case),)


def _idle(case: Case) -> Finding | None:
    seen = case.seen
    if seen.running is None and seen.generated_tokens_per_s is None:
        return None
    if seen.at_work < IDLE and not seen.queues:
        if _client(case) is not None:
            return None
        line = f"{seen.at_work:.2f} sequences at work on average, {seen.waiting or 0.0:.2f} wait"
        to_do = "fewer accelerators would do for this traffic"
        if seen.window_s is None and seen.running is not None:
            line = f"{seen.running:.0f} sequences at work, {seen.waiting or 0.0:.0f} waiting when it was read"
            to_do = "one reading knows no traffic: a second one, a minute later, tells whether it is always so"
        return Finding(label="idle GPUs", share=1.0, evidence=(line, to_do))
    if seen.engines > 1 and seen.idle_engines / seen.engines >= IDLE_ENGINES:
        line = f"{seen.idle_engines} of {seen.engines} engines had no request at all while others worked"
        to_do = "whoever routes sends them nothing: by requests in flight, everybody would have some"
        return Finding(label="idle GPUs", share=seen.idle_engines / seen.engines, evidence=(line, to_do))
    return None


def _client(case: Case) -> Finding | None:
    seen, facts = case.seen, case.seen.client
    if facts is None or seen.queues:
        return None
    lines = tuple(_lateness(facts, seen))
    if not lines:
        return None
    there = (
        f"the server had {seen.in_flight:.1f} requests, of which {seen.waiting:.1f} waited" if seen.in_flight else ""
    )
    to_do = "the server would take more: send from more processes or machines"
    return Finding(label="client", share=None, evidence=(*lines, *((there,) if there else ()), to_do))


def _lateness(facts: ClientFacts, seen: Observation) -> Iterator[str]:
    asked, there = facts.asked_in_flight, seen.in_flight
    if asked and there is not None and there < LEAST_IN_FLIGHT * asked:
        yield f"{asked:g} requests should be in flight, {there:.1f} are"
    wanted, sent = facts.asked_per_s, facts.achieved_per_s
    if wanted and sent is not None and sent < LEAST_SENT * wanted:
        yield f"{wanted:.3g} requests/s were to be sent, {sent:.3g} were"
    if facts.delay_s is not None and facts.delay_s > max(LATE_S, LATE_SHARE * (seen.ttft_s or 0.0)):
        yield f"requests go out {ms(facts.delay_s)} after they are due"
    if facts.cpu_fraction is not None and facts.cpu_fraction > MOST_CPU:
        yield f"the client's core is {facts.cpu_fraction:.0%} busy"


def _fast(case: Case) -> Finding | None:
    """What beats its floor is something else: nothing priced for it would be true."""
    if not case.beats_the_floor or case.pace is None:
        return None
    lines = (
        f"{ms(case.seen.token_s or 0.0)} between tokens, {ms(case.pace.floor_s)} if every byte and operation "
        "went at the stated rates",
        "it is not the hardware, model or formats that were said, or its clock is not ours",
    )
    return Finding(label="faster than possible", share=None, evidence=lines)


def _cold(case: Case) -> Finding | None:
    """Prompts share more than the cache finds, and prompts take a share of the time that matters."""
    expected, seen = case.expected_cached_fraction, case.seen
    if not expected or (_off(case) is None and seen.cached_fraction is None):
        return None
    got = seen.cached_fraction or 0.0
    share = _prefill_share(case)
    if expected - got < COLD or share < SHOWN:
        return None
    lines = [f"prompts share {expected:.0%} of their tokens, {got:.0%} are found in the cache"]
    lines += [_off(case)] if _off(case) else []  # type: ignore[list-item]
    lines.append(f"prompts take {share:.0%} of the time")
    return Finding(label="cold prefix cache", share=share * (expected - got), evidence=tuple(lines))


def _off(case: Case) -> str | None:
    said = case.seen.settings.get("enable_prefix_caching", "")
    stated = case.deployment is not None and not case.deployment.pools[0].settings.prefix_caching
    return "prefix caching is off" if said.lower() == "false" or stated else None


def _prefill_share(case: Case) -> float:
    """Return the share of time that goes to prompts: predicted, else what requests spend before their first token."""
    if case.pace is not None:
        return case.pace.causes[PROMPTS] / case.pace.cycle_s
    seen = case.seen
    if seen.prefill_s and seen.decode_s:
        return seen.prefill_s / (seen.prefill_s + seen.decode_s)
    return 0.0


def _prompts_come_first(case: Case) -> bool:
    """Whether nothing takes as much of the time as prompts do."""
    return case.pace is not None and max(case.pace.causes, key=case.pace.causes.__getitem__) == PROMPTS


def _storm(case: Case) -> Finding | None:
    often = case.seen.preemptions_per_request
    if often is None or often < STORM:
        return None
    lines = [f"{case.seen.preemptions_per_s:.3g} preemptions/s: {often:.2g} for each request that ends"]
    if case.mix is not None and case.mix.lost_tokens:
        lines.append(f"about {case.mix.lost_tokens:.2g} tokens are computed again for each token generated")
    if case.pace is not None and case.seen.itl_s is not None:
        lines.append(f"{ms(case.seen.itl_s)} between tokens, {ms(case.pace.token_s)} predicted of those that run")
    lines += [_fullness(case)] if case.seen.kv_used_fraction is not None else []
    return Finding(label="preemption storm", share=min(often, 1.0), evidence=tuple(lines))


def _keeps_its_pace(case: Case) -> bool:
    """Whether preemptions hold hardly anybody up, of sequences that fill the cache rather by coming than by growing."""
    often, itl_s, mix = case.seen.preemptions_per_request or 0.0, case.seen.itl_s, case.mix
    if case.pace is None or itl_s is None or mix is None or mix.prompt_tokens < mix.output_tokens:
        return False
    return often < EACH and itl_s < HELD_UP * case.pace.token_s


def _cache(case: Case) -> Finding | None:
    seen = case.seen
    if not seen.queues or not (_cache_is_full(case) or _holds_back(case)):
        return None
    lines = [_fullness(case)] if seen.kv_used_fraction is not None else []
    lines.append(_queued(seen))
    if not _cache_is_full(case):
        lines.append(f"it has room for {_to_their_end(case):,.0f} requests to their end: more are held back")
    if case.replicates_latents and case.deployment is not None:
        ranks = case.deployment.pools[-1].parallelism.tp
        lines.append(
            f"each of {ranks} tensor-parallel ranks keeps the same latent cache: {ranks} copies of every token"
        )
        return Finding(label="replicated MLA KV", share=seen.kv_used_fraction, evidence=tuple(lines))
    return Finding(label="KV capacity", share=seen.kv_used_fraction, evidence=tuple(lines))


def _cache_is_full(case: Case) -> bool:
    """Whether the next prompt finds no room."""
    seen = case.seen
    used = _peak(seen)
    if used is None:
        return False
    if seen.kv_tokens and seen.request_prompt_tokens and not _seats_are_full(case):
        fresh = seen.request_prompt_tokens * (1 - (seen.cached_fraction or 0.0))
        free = (1 - used) * seen.kv_tokens / seen.engines
        return free < fresh or used >= FULL or _one_more_exceeds(seen, fresh)
    return used >= FULL


def _one_more_exceeds(seen: Observation, fresh: float) -> bool:
    """Whether the caches never held one more of those that wait: what is read in a long step was true before it."""
    if not seen.backlog or not seen.running_peak or not seen.kv_tokens:
        return False
    each = fresh + (seen.request_output_tokens or 0.0) / 2
    return (seen.running_peak + seen.engines) * each > seen.kv_tokens


def _holds_back(case: Case) -> bool:
    """Whether requests wait because the cache might not hold them to their end: engines may reserve it beforehand."""
    if case.deployment is None or case.mix is None or _seats_are_full(case) or _prompts_come_first(case):
        return False
    return case.seen.backlog and _to_their_end(case) < case.mix.in_flight


def _to_their_end(case: Case) -> float:
    """Return how many of the requests the caches hold when they end."""
    if case.deployment is None or case.memory is None or case.mix is None:
        return inf
    return held(case.deployment, case.memory, case.mix.prompt_tokens + case.mix.output_tokens)


def _peak(seen: Observation) -> float | None:
    """Return how full the cache is where it is full: of one reading, or of a plan, the mean is all there is."""
    return seen.kv_used_fraction if seen.kv_peak_fraction is None else seen.kv_peak_fraction


def _fullness(case: Case) -> str:
    seen = case.seen
    size = f" of {seen.kv_tokens:,.0f} tokens" if seen.kv_tokens else ""
    when = "a quarter of the time that requests wait" if seen.queues else "a quarter of the time"
    waves = f", {peak:.0%} or more {when}" if (peak := seen.kv_peak_fraction) is not None else ""
    return f"the KV cache{size} is {seen.kv_used_fraction or 0.0:.0%} full on average{waves}"


def _seats_are_full(case: Case) -> bool:
    """Whether as many run as may, at the fullest reading where a backlog waits: sequences end and begin in waves."""
    seen = case.seen
    running = max(seen.running or 0.0, (seen.running_peak or 0.0) if seen.backlog else 0.0)
    return case.deployment is not None and running >= SEATED * seats(case.deployment)


def _queued(seen: Observation) -> str:
    line = f"{seen.waiting:.1f} requests wait, {seen.running:.1f} run"
    return f"{line}, by the {ms(seen.ttft_s)} to a first token" if "waiting" in seen.missing and seen.ttft_s else line


def _queue(case: Case) -> Finding | None:
    seen = case.seen
    if not seen.queues or _cache_is_full(case) or _holds_back(case):
        return None
    waits = _queued(seen)
    queued = (f"a request waits {ms(seen.queue_s)} before it is admitted",) if seen.queue_s else ()
    share = _prefill_share(case)
    if case.deployment is not None and not _seats_are_full(case):
        if _prompts_come_first(case) or (seen.backlog and share >= SHOWN):
            line = f"prompts take {share:.0%} of the time, and neither seats nor cache are full"
            return Finding(label="prefill compute", share=share, evidence=(waits, *queued, line))
        if not seen.backlog:
            return None
    lines = [waits, *queued]
    if case.deployment is not None:
        lines.append(f"{seats(case.deployment):,.0f} sequences may run at once")
        if case.memory is not None and case.mix is not None:
            room = held(case.deployment, case.memory, case.mix.context_tokens)
            lines.append(f"the cache has room for {room:,.0f} of them, {case.mix.context_tokens:,.0f} tokens each")
    return Finding(label="queueing", share=None, evidence=tuple(lines))


def _slow(case: Case) -> Finding | None:
    ratio = case.slowness
    if ratio is None or case.pace is None or ratio < SLOW:
        return None
    lines = (
        f"{ms(case.seen.token_s or 0.0)} between tokens, {ms(case.pace.token_s)} predicted for the same batch: "
        f"{ratio:.1f} times as slow",
        "accelerators that are throttled or shared (`sizewell doctor` there tells), another engine setting than "
        "stated, or a calibration that is off",
    )
    return Finding(label="slower than predicted", share=1 - 1 / ratio, evidence=lines)


def _nothing(case: Case) -> Finding:
    seen = case.seen
    if seen.generated_tokens_per_s == 0 and seen.running:
        line = f"{seen.running:.1f} requests run and not one token came: it hangs, or its prompts outlast the window"
        return Finding(label="unknown", share=None, evidence=(line,))
    if case.deployment is None:
        told = "nobody queues and nothing is lost" if seen.waiting is not None else "whether anybody queues is not told"
        line = f"{told}: what the steps themselves wait for shows only with the hardware"
        return Finding(label="unknown", share=None, evidence=(line,))
    return Finding(label="unknown", share=None, evidence=("the server does not tell enough",))
