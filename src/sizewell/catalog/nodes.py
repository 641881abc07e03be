"""Builds nodes from their files and fits the ones that take many cards to the card."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, cast, get_args

from sizewell.catalog.facts import Facts
from sizewell.specs.errors import UnknownNameError
from sizewell.specs.hardware import GpuSpec, HostSpec, LinkSpec, NodeSpec, Topology

_PCIE = re.compile(r"pcie(\d)-x(\d+)")


@dataclass(frozen=True)
class NodeFile:
    """A file of nodes/, of which only what is asked for is built."""

    facts: Facts
    links: Callable[[str], LinkSpec]
    hosts: Callable[[str], HostSpec]

    @property
    def key(self) -> str:
        """The node's key."""
        return self.facts.path.stem

    @cached_property
    def aliases(self) -> tuple[str, ...]:
        """Other names of the node."""
        return self.facts.texts("aliases")

    @cached_property
    def accepts(self) -> tuple[str, ...]:
        """Form factors a template node takes."""
        return self.facts.texts("accepts")

    @cached_property
    def gpu_keys(self) -> tuple[str, ...]:
        """Accelerators the file names itself."""
        own = self.facts.texts("gpus")
        return own or ((self.facts.text("gpu"),) if self.facts.has("gpu") else ())

    def holds(self, key: str, form_factor: str) -> bool:
        """Return whether an accelerator fits: named in the file, or of a form factor it takes."""
        return key in self.gpu_keys or form_factor in self.accepts

    def rank(self, card: str, form_factor: str) -> tuple[bool, bool, bool, int, str]:
        """Return the sort key of this node for an accelerator: standard first, own before template, bought before
        rented, large before small."""
        facts = self.facts
        standard = facts.flag("standard") or form_factor in facts.texts("standard_for")
        named = card in self.gpu_keys
        return not (named and standard), not named and not standard, facts.has("provider"), -self._most, self.key

    @property
    def _most(self) -> int:
        return self.facts.counts("gpu_counts")[-1]

    def build(self, gpu_keys: tuple[str, ...]) -> NodeSpec:
        """Return the node; raises BadInputError naming the file and the field."""
        facts = self.facts
        scale_out = self._link("scale_out")
        inside = facts.has("scale_up")
        return NodeSpec(
            key=facts.text("key"),
            name=facts.text("name"),
            gpu_keys=gpu_keys,
            gpu_counts=facts.counts("gpu_counts"),
            scale_up=self._link("scale_up") if inside else scale_out,
            topology=cast(Topology, facts.choice("scale_up.topology", get_args(Topology))) if inside else "none",
            scale_up_domain=int(facts.plain_number("scale_up.domain_gpus")) if inside else 1,
            through_host=facts.flag("through_host"),
            scale_out=scale_out,
            scale_out_ports=int(facts.plain_number("scale_out.ports")),
            host=self._host("host"),
            small_host=self._host("small_host.host") if facts.has("small_host") else None,
            small_host_gpus=self._small_host_gpus(),
            power_w=facts.number("power_w", least=1),
            max_nodes=int(facts.plain_number("max_nodes")),
            template=bool(self.accepts),
            standard=facts.flag("standard"),
            provider=facts.text("provider", "") or None,
            aliases=self.aliases,
        )

    def _link(self, field: Literal["scale_up", "scale_out"]) -> LinkSpec:
        self.facts.check_source(field, self.facts.text(f"{field}.from"))
        try:
            return self.links(self.facts.text(f"{field}.network"))
        except UnknownNameError as error:
            raise self.facts.error(f"{field}.network", f"names an {error}") from error

    def _host(self, field: str) -> HostSpec:
        try:
            return self.hosts(self.facts.text(field))
        except UnknownNameError as error:
            raise self.facts.error(field, f"names an {error}") from error

    def _small_host_gpus(self) -> int:
        if not self.facts.has("small_host"):
            return 0
        self.facts.check_source("small_host", self.facts.text("small_host.from"))
        return int(self.facts.plain_number("small_host.gpus"))


def fitted(node: NodeSpec, gpu: GpuSpec, links: Callable[[str], LinkSpec]) -> NodeSpec:
    """Return the node as it is with this card in it.

    A slot runs at the lower generation and width of board and card; islands of bridged cards meet over PCIe.
    """
    card = _PCIE.fullmatch(gpu.host_link or "")
    if not card:
        return node
    if node.scale_up_domain < node.max_gpus:
        return replace(node, peer_link=links(card.group()))
    board = _PCIE.fullmatch(node.scale_up.key)
    if not board:
        return node
    generation, lanes = (min(int(card[part]), int(board[part])) for part in (1, 2))
    return replace(node, scale_up=links(f"pcie{generation}-x{lanes}"))
