"""The engine behind the door: takes requests in, hands their tokens out as they land, and counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sizewell.emulator.answers import Answer, Reply
from sizewell.emulator.asks import Ask, read_call
from sizewell.emulator.deployment import Emulation
from sizewell.emulator.failing import UNHARMED, Failing, Fate
from sizewell.emulator.fields import Refusal
from sizewell.emulator.http import Exchange
from sizewell.emulator.metrics import Metrics
from sizewell.emulator.pace import Pace
from sizewell.simulator.compiled import CodeStore
from sizewell.simulator.live import Asked, Landed, Live
from sizewell.specs.engine_metrics import EMULATED_CLOCK, Meaning
from sizewell.traffic.requests import Floats

DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."


@dataclass(slots=True)
class Served:
    """A sequence in the engine: its answer, when it was admitted, and what is to go wrong with it."""

    answer: Answer
    fate: Fate
    admitted_s: float = np.nan
    held: int = 0

    @property
    def ask(self) -> Ask:
        """What was asked for."""
        return self.answer.ask


class Service:
    """A deployment at work. `late` is told how many real seconds after they were due the tokens of a step were sent."""

    def __init__(self, emulation: Emulation, store: CodeStore | None = None) -> None:
        self.emulation, self.dialect = emulation, emulation.dialect
        # Compiling takes seconds: another world of the same shape goes through it before anybody waits.
        _play_once(Live(emulation.fleet, most=1, compiled=emulation.compiled, store=store))
        self.live = Live(emulation.fleet, compiled=emulation.compiled, store=store)
        self.world = self.live.world
        self.pace = Pace(self.live, emulation.speed, self._deliver, self._prepare)
        self.metrics = Metrics(emulation.metrics, emulation.name, len(self.world.states), emulation.cache_settings)
        self.failing = Failing(emulation.failures)
        self.dead = False
        self.late: Callable[[Floats], None] | None = None
        self._served: dict[int, Served] = {}
        self._queued: set[int] = set()
        self._unprepared: list[int] = []
        self._lost: list[Callable[[], None]] = []
        self._silent: dict[int, Served] = {}
        self._came_s = np.full(len(self.world.sequences), np.nan)
        self._ended = 0
        self._on_death: Callable[[], None] = lambda: None

    def start(self, on_death: Callable[[], None]) -> None:
        """Begin: time runs from now on. `on_death` is called once if the engine dies."""
        self._on_death = on_death
        self.pace.start()

    def take(self, exchange: Exchange, *, chat: bool) -> None:
        """Serve a chat or completion request, or refuse it as the engine would."""
        if self.dead:
            self._say_dead(exchange)
            return
        try:
            call = read_call(exchange.body, exchange.headers.get("content-type", ""), self.emulation, chat=chat)
        except Refusal as refusal:
            exchange.respond(refusal.status, refusal.body)
            return
        fate = self.failing.fate(call.asks[0].output_tokens)
        if fate.status is not None:
            exchange.respond(fate.status, self.dialect.error(fate.status, "injected failure", "InternalServerError"))
            return
        self._offer(Reply(exchange, call, self.emulation), fate)

    def _offer(self, reply: Reply, fate: Fate) -> None:
        """Let the sequences of a request into the engine: all of them, or none."""
        family: list[tuple[int, Served]] = []
        reply.exchange.on_close = lambda: self._leave(family)
        came_s = self.pace.at_s(reply.exchange.came_s)
        for answer in reply.answers:
            number = self.pace.offer(answer.asked(), came_s)
            # What was due before this request may have been the engine's last, and then the others have been told.
            if self.dead:
                if not family:
                    self._say_dead(reply.exchange)
                return
            if reply.exchange.on_close is None:
                self._take_back(number)
                return
            if number is None:
                self._leave(family)
                reply.fail(503, self.dialect.error(503, "no room for another request", "ServiceUnavailableError"))
                return
            served = Served(answer, fate)
            family.append((number, served))
            self._served[number] = served
            self._came_s[number] = came_s
            self._queued.add(number)

    def _take_back(self, number: int | None) -> None:
        """Let a sequence go whose connection was lost while it was offered."""
        if number is not None:
            self.pace.cancel(number)

    def die(self) -> None:
        """Let the engine end: what it was doing fails, and it answers nothing more."""
        if self.dead:
            return
        self.dead = True
        self.pace.stop()
        served = [*self._served.values(), *self._silent.values()]
        self._served, self._silent = {}, {}
        self._queued.clear()
        for reply in {id(each.answer.reply): each.answer.reply for each in served}.values():
            reply.fail(500, self._death())
        self._on_death()

    def metrics_text(self) -> str:
        """Return the engine's figures as of now."""
        self._note_admissions()
        for number in range(len(self.world.states)):
            self._note_state(number)
        clock = f"# HELP {EMULATED_CLOCK} Time of the emulated engine.\n# TYPE {EMULATED_CLOCK} gauge\n"
        return f"{self.metrics.text()}{clock}{EMULATED_CLOCK}{{}} {self.pace.now_s!r}\n"

    def _death(self) -> Any:
        return self.dialect.error(500, DEAD, "InternalServerError")

    def _say_dead(self, exchange: Exchange) -> None:
        exchange.respond(500, self._death())

    def _give_up(self, number: int) -> None:
        served = self._served.pop(number, None)
        if served is not None:
            self._queued.discard(number)
            self.metrics.engines[self._engine_of(number)].finished["abort"] += 1
            self.pace.cancel(number)

    def _leave(self, family: list[tuple[int, Served]]) -> None:
        """Forget the sequences of a client that is gone, unless others have their numbers by now."""
        for number, served in family:
            self._silent.pop(id(served), None)
            if self._served.get(number) is served:
                self._give_up(number)

    def _give_up_lost(self) -> None:
        lost, self._lost = self._lost, []
        for leave in lost:
            leave()

    def _engine_of(self, number: int) -> int:
        return max(int(self.world.sequences.engine[number]), 0)

    def _deliver(self, landed: Landed) -> None:
        """Send the tokens that landed; whatever else there is to do comes after."""
        numbers, clock, sent_s = landed.request.tolist(), self.pace.clock, []
        for number, gained in zip(numbers, landed.gained.tolist(), strict=True):
            served = self._served[number]
            if served.fate is UNHARMED:
                served.answer.gain(gained)
            else:
                self._spoil(served, gained)
            if self.late is not None:
                sent_s.append(clock())
        if self.late is not None:
            self.late(self.pace.lateness_s(landed.oldest_s, np.array(sent_s)))
        self._note_admissions()
        self._count(landed, self.world.sequences.engine[landed.request])
        self._give_up_lost()
        for number in landed.request[landed.ended].tolist():
            self._finish(number)
        # Only now: whoever ended in the same step has been answered.
        if self.failing.is_over(self._ended):
            self.die()
        self._unprepared += numbers
        if len(self._unprepared) > len(self._served):
            self._prepare()

    def _prepare(self) -> None:
        """Make ready what comes next for everybody who has gained something."""
        numbers, self._unprepared = self._unprepared, []
        for number in numbers:
            if number in self._served:
                self._served[number].answer.prepare()

    def _spoil(self, served: Served, gained: int) -> None:
        """Let a request meet its fate in the middle: its connection is lost, or it goes silent for a while."""
        answer, fate = served.answer, served.fate
        if served.held == 0 and answer.generated + gained <= fate.token:
            answer.gain(gained)
        elif fate.resets:
            if (leave := answer.exchange.reset()) is not None:
                self._lost.append(leave)
        else:
            served.held += gained
            if served.held == gained:
                self.failing.after(fate.stall_s, lambda: self._resume(served))

    def _resume(self, served: Served) -> None:
        """Send what was held back; from now on nothing is."""
        served.fate = UNHARMED
        held, served.held = served.held, 0
        self._silent.pop(id(served), None)
        if not self.dead and not served.answer.exchange.connection.transport.is_closing():
            served.answer.gain(held)

    def _finish(self, number: int) -> None:
        served = self._served.pop(number, None)
        if served is None:
            return
        if served.held:
            self._silent[id(served)] = served
        self._count_request(number, served)
        self._ended += 1

    def _note_admissions(self) -> None:
        """Note who has left the queue since it was last looked at."""
        cached, queued = self.world.sequences.cached, np.fromiter(self._queued, np.int64, len(self._queued))
        for number in queued[cached[queued] >= 0].tolist():
            self._queued.discard(number)
            served = self._served[number]
            served.admitted_s = self.live.now_s
            figures = self.metrics.engines[self._engine_of(number)]
            figures.add("prefix_queries", served.ask.prompt_tokens)
            figures.add("prefix_hits", float(cached[number]))

    def _count(self, landed: Landed, engines: Any) -> None:
        first = landed.before == 0
        ttft_s = landed.since_s[first] - self._came_s[landed.request[first]]
        for number in landed.request[first].tolist():
            found = max(int(self.world.sequences.cached[number]), 0) if self.dialect.counts_at_end else 0
            tokens = self._served[number].ask.prompt_tokens - found
            self.metrics.engines[self._engine_of(number)].add("prompt_tokens", tokens)
        for number in np.unique(engines).tolist():
            mine = engines == number
            if not self.dialect.counts_at_end:
                self.metrics.engines[number].add("generated_tokens", float(landed.gained[mine].sum()))
            self.metrics.observe_all(number, "itl_s", np.repeat(landed.gap_s[mine], landed.gaps[mine]))
            self.metrics.observe_all(number, "ttft_s", ttft_s[mine[first]])

    def _count_request(self, number: int, served: Served) -> None:
        engine, ask, sequence = self._engine_of(number), served.ask, self.world.sequences[number]
        figures = self.metrics.engines[engine]
        came_s = float(self._came_s[number])
        figures.finished[ask.finish] += 1
        figures.add("requests", 1)
        admitted_s, first_s, last_s = served.admitted_s, float(sequence.first_s), float(sequence.last_s)
        decode_s = last_s - first_s
        if self.dialect.counts_at_end:
            figures.add("generated_tokens", ask.output_tokens)
        figures.add("prompt_s", first_s - admitted_s)
        figures.add("generation_s", decode_s)
        seen: dict[Meaning, float] = {
            "e2e_s": last_s - came_s, "queue_s": admitted_s - came_s, "prefill_s": first_s - admitted_s,
            "decode_s": decode_s, "inference_s": last_s - admitted_s, "request_prompt_tokens": ask.prompt_tokens,
            "request_output_tokens": ask.output_tokens, "request_most_tokens": ask.most_tokens,
            "request_preemptions": float(sequence.preemptions), "tpot_s": decode_s / max(ask.output_tokens - 1, 1),
        }  # fmt: skip
        if served.answer.index % served.answer.call.n == 0:
            seen["request_n"] = served.answer.call.n
        for meaning, value in seen.items():
            self.metrics.observe(engine, meaning, value)

    def _note_state(self, number: int) -> None:
        state, numbers = self.world.states[number], self.metrics.engines[number].numbers
        usable = self.world.blocks.shape[1] - 1
        size = self.emulation.fleet.replica.block_tokens
        numbers["running"], numbers["waiting"] = float(state.running), float(state.waiting)
        numbers["kv_used_fraction"] = 1.0 - float(state.free) / usable
        numbers["kv_used_tokens"], numbers["kv_tokens"] = float(usable - state.free) * size, float(usable) * size
        numbers["preemptions"] = float(state.preemptions)
        queries = numbers.get("prefix_queries", 0.0)
        numbers["cache_hit_fraction"] = numbers.get("prefix_hits", 0.0) / queries if queries else 0.0
        numbers["tokens_per_s"] = numbers.get("generated_tokens", 0.0) / max(self.pace.now_s, 1e-9)


def _play_once(live: Live) -> None:
    number = live.offer(Asked(input_tokens=1, think_tokens=0, answer_tokens=1), 0.0)
    live.advance(live.next_s)
    if number is not None:
        live.cancel(number)
