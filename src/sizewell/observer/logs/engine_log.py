"""Reads an engine's log as it grows: how far the start came, the figures it states, and why it failed if it did."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sizewell.observer.logs.engine_wordings import ENGINES
from sizewell.observer.logs.failures import FailureReader
from sizewell.observer.logs.log_line import LogLine, read_line
from sizewell.observer.logs.progress import LoadProgress
from sizewell.observer.logs.symptoms.deaths import CANCELLED
from sizewell.observer.logs.wording import STAGES, LogStage, Wording, keep
from sizewell.specs.standing import LogFacts

_ENDS = re.compile(r"[\r\n]+")
_MOST_WAITING = 2**20
_FIRST_ENGINE_BLOCK_TOKENS = (16, 8, 32, 64, 128, 256)
"""Block sizes of vLLM's first engine, its default first."""
_STATES = ("conv_bytes", "ssm_bytes", "draft_ssm_bytes", "draft_conv_bytes")
"""Parts of SGLang's pool of recurrent states."""


class EngineLog:
    """A reader of one replica's log, all its nodes and ranks together; feeding it piecemeal changes nothing.

    `checkpoint_bytes` is what loading reads, where a plan knows it; newer engines say it themselves. A log that
    starts over after its engine ended is read from the new start on.
    """

    def __init__(self, *, checkpoint_bytes: float | None = None) -> None:
        self._checkpoint_bytes = checkpoint_bytes
        self._partial = ""
        self._is_empty = True
        self._forget()

    def _forget(self) -> None:
        self._stage: LogStage = "nothing"
        self._engine: str | None = None
        self._version: str | None = None
        self._node = ""
        self._figures: dict[str, float] = {}
        self._progress = LoadProgress()
        self._failures = FailureReader()

    def feed(self, lines: Iterable[str]) -> None:
        """Take whole lines in, with or without their ends; carriage returns part lines too."""
        for line in lines:
            for part in _ENDS.split(line):
                if part:
                    self._is_empty = False
                    self._read(read_line(part))

    def feed_text(self, text: str) -> None:
        """Take in the text that was added to a log; a line whose end has not come yet waits for it, a mebibyte long."""
        whole = self._partial + text
        end = max(whole.rfind("\n"), whole.rfind("\r")) + 1
        end = end if len(whole) - end < _MOST_WAITING else len(whole)
        self._partial = whole[end:]
        self.feed([whole[:end]])

    def _read(self, line: LogLine) -> None:
        if CANCELLED.search(line.message):
            self._reach("ended", line)
        if self._progress.read(line.message):
            self._reach("loading", line)
            return
        known = False
        for engine, wording in self._wordings():
            if line.level not in ("error", "fatal") and (found := wording.pattern.match(line.message)):
                self._take(engine, wording, found.groupdict(), line)
                known = True
        if not known:
            self._failures.read(line)

    def _wordings(self) -> Iterator[tuple[str, Wording]]:
        for engine, wordings in ENGINES.items():
            if self._engine in (None, engine):
                yield from ((engine, wording) for wording in wordings)

    def _take(self, engine: str, wording: Wording, found: dict[str, str | None], line: LogLine) -> None:
        if wording.stage == "serving" and self._engine is None:
            return  # web servers of all kinds say so: not a word on which engine it is
        if wording.closes and STAGES.index(self._stage) < STAGES.index("serving"):
            return
        if wording.is_first and self._is_over and line.node == self._node:
            self._forget()
        self._engine = engine
        self._version = self._version or found.pop("version", None)
        keep(self._figures, found)
        self._reach(wording.stage, line)

    @property
    def _is_over(self) -> bool:
        return self._stage == "ended" or self._failures.failure is not None

    def _reach(self, stage: LogStage, line: LogLine) -> None:
        if STAGES.index(stage) <= STAGES.index(self._stage):
            return
        if self._stage == "nothing":
            self._node = line.node
        self._stage = stage
        if stage != "started":
            self._failures.loads()
        if stage == "serving":
            self._failures.serves()
        if stage == "ended":
            self._failures.stops()

    def facts(self) -> LogFacts:
        """Return what the log says so far."""
        said = self._figures
        pool, states = said.get("pool_tokens"), sum(said.get(name, 0.0) for name in _STATES) or None
        return LogFacts(
            stage=self._stage,
            is_empty=self._is_empty,
            engine=self._engine,
            version=self._version,
            loaded_fraction=1.0 if self._is_loaded else self._progress.fraction,
            load_bytes_per_s=self._load_bytes_per_s(),
            remaining_s=0.0 if self._is_loaded else self._progress.remaining_s,
            weights_bytes=said.get("weights_bytes", said.get("host_weights_bytes")),
            load_s=said.get("load_s"),
            kv_cache_bytes=_sum(self._token_bytes(), states or 0.0),
            state_bytes=states,
            kv_cache_tokens=_whole(_times(said.get("kv_cache_tokens", pool or self._block_tokens()), self._streams)),
            max_concurrency=said.get("max_concurrency"),
            graphs_bytes=said.get("graphs_bytes"),
            failure=self._failures.failure,
        )

    @property
    def _is_loaded(self) -> bool:
        return STAGES.index(self._stage) >= STAGES.index("warming") and "weights_bytes" in self._figures

    def _load_bytes_per_s(self) -> float | None:
        size = self._figures.get("checkpoint_bytes", self._checkpoint_bytes)
        fraction, elapsed_s = self._progress.fraction, self._progress.elapsed_s
        if "load_s" in self._figures:
            fraction, elapsed_s = 1.0, self._figures["load_s"]
        return size * fraction / elapsed_s if size and fraction and elapsed_s else None

    @property
    def _streams(self) -> float:
        """llama.cpp counts the cells of one sequence where each has a cache of its own."""
        return self._figures.get("streams", 1.0)

    def _token_bytes(self) -> float | None:
        """Return the room of what tokens leave behind; of layers of several kinds SGLang states the whole."""
        said = self._figures
        pool = said.get("windowed_bytes", said.get("pool_bytes", _sum(said.get("k_bytes"), said.get("v_bytes"))))
        return said.get("kv_cache_bytes", pool)

    def _block_tokens(self) -> float | None:
        """vLLM's first engine printed blocks: their size follows from the concurrency it printed beside them."""
        blocks, length = self._figures.get("kv_blocks"), self._figures.get("length_tokens")
        if not blocks:
            return None
        said = self._figures.get("max_concurrency", 0.0) * (length or 0.0) / blocks
        nearest = min(_FIRST_ENGINE_BLOCK_TOKENS, key=lambda size: abs(size - said)) if said else 16
        return blocks * nearest


def _sum(one: float | None, other: float | None) -> float | None:
    return one + other if one is not None and other is not None else None


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
