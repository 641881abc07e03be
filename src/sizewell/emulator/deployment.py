"""What is emulated: a deployment with its numbers, the lengths its model would answer with, and how it fails."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from ipaddress import ip_address
from math import inf

from sizewell.costs.ledger import MemoryLedger
from sizewell.emulator.dialect import Dialect
from sizewell.simulator.facts import Fleet
from sizewell.specs.engine_metrics import Metric
from sizewell.specs.errors import BadInputError


def is_open(host: str) -> bool:
    """Return whether others than this machine can connect to an address, however it is written (`0`, `::`, a name)."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False  # nothing can be listened on there, which is said where it is tried
    return not all(ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long the model answers where the client does not decide: means, and the sigma of a lognormal about them."""

    think_tokens: float = 0.0
    answer_tokens: float = 500.0
    sigma: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """What goes wrong. Fractions are of requests; `error_status` answers `error_fraction` of them at once.

    A stalled stream goes silent in the middle for `stall_s`; a reset one loses its connection. The engine dies after
    so many requests or seconds; the process ends `dead_s` later. Until `load_s` have gone by nothing is served.
    """

    error_fraction: float = 0.0
    error_status: int = 503
    stall_fraction: float = 0.0
    stall_s: float = inf
    reset_fraction: float = 0.0
    die_after_requests: int | None = None
    die_after_s: float = inf
    dead_s: float = inf
    load_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        total = self.error_fraction + self.reset_fraction + self.stall_fraction
        if total > 1 + 1e-9:
            raise BadInputError(
                f"--error-rate, --reset-rate and --stall-rate add to {total:.0%}: a request fails in one way or none"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the server listens, who may come in, and how much one request may bring.

    Raises BadInputError for an address others can reach without a key, and for a key no client can send.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    most_body_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        if self.api_key is not None and (self.api_key != self.api_key.strip() or not self.api_key.isprintable()):
            raise BadInputError("SIZEWELL_API_KEY has blanks at an end or a line break, which no header carries")
        if not self.api_key and is_open(self.host):
            raise BadInputError(
                f"--host {self.host or '*'} is open to others: set SIZEWELL_API_KEY, or stay on 127.0.0.1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """One deployment as it is emulated; `name` is what clients call the model, `metrics` what its engine tells,
    `speed` how much faster time goes.
    """

    name: str
    fleet: Fleet
    memory: MemoryLedger
    dialect: Dialect
    metrics: tuple[Metric, ...] = ()
    lengths: Lengths = Lengths()
    failures: Failures = Failures()
    speed: float = 1.0
    compiled: bool = True

    @property
    def max_model_len_tokens(self) -> int:
        """Longest sequence, prompt and answer together."""
        return self.fleet.replica.max_model_len_tokens

    @property
    def cache_settings(self) -> dict[str, str]:
        """What vLLM says of its cache, by label."""
        replica = self.fleet.replica
        return {
            "block_size": str(replica.block_tokens),
            "enable_prefix_caching": str(replica.prefix_caching),
            "gpu_memory_utilization": f"{self.memory.settings.memory_fraction:g}",
            "num_gpu_blocks": str(replica.blocks),
        }
