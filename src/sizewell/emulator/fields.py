"""Fields of a request's body, taken as engines take them: numbers and switches may come as text, what cannot is 400."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from sizewell.emulator.dialect import Dialect

SWITCHES = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}
"""What a switch may be called besides true and false."""
RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, inf), "top_p": (5e-324, 1.0), "min_p": (0.0, 1.0), "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0), "repetition_penalty": (5e-324, inf),
}  # fmt: skip
"""Least and most of each sampling setting; the smallest number there is stands for `more than 0`."""
LEAST = {"top_k": -1, "top_logprobs": -1, "seed": -(2**63)}
"""Least of each whole number that is only looked at."""
MOST_SEED = 2**63 - 1
MOST_ALTERNATIVES = 20
"""Tokens beside the one chosen that may be asked for (`--max-logprobs` of vLLM)."""
FORMATS = ("text", "json_object", "json_schema", "structural_tag")
CHOICES = ("none", "auto", "required")
KINDS: dict[str, tuple[str, ...]] = {
    "stop": ("str", "list"), "tools": ("list",), "logit_bias": ("dict",), "response_format": ("dict",),
    "user": ("str",),
}  # fmt: skip
WORDS = {"str": "a text", "list": "a list", "dict": "an object"}


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass(frozen=True, slots=True)
class Fields:
    """The body of a chat or completion request, and how its engine complains about it. Absent and null are the same."""

    body: dict[str, Any]
    dialect: Dialect
    chat: bool

    def refusal(self, name: str, why: str) -> Refusal:
        """Return the complaint about a field."""
        return Refusal(400, self.dialect.error(400, f"{name} {why}", param=name))

    def get(self, name: str) -> Any:
        """Return a field as it came."""
        return self.body.get(name)

    def whole(self, name: str) -> int | None:
        """Return a whole number; raises Refusal for anything else."""
        value = self._number(name)
        if value is not None and value != int(value):
            raise self.refusal(name, f"must be a whole number, got {value:g}")
        return None if value is None else int(value)

    def switch(self, name: str) -> bool:
        """Return a switch, off where nothing is said; raises Refusal for what is none."""
        value = self.body.get(name)
        found = value if isinstance(value, bool | None) else SWITCHES.get(str(value).lower())
        if found is None and value is not None:
            raise self.refusal(name, "must be true or false")
        return bool(found)

    def check_sampling(self) -> None:
        """Refuse sampling settings no engine takes; otherwise nothing depends on them."""
        for name, (least, most) in RANGES.items():
            value = self._number(name)
            hottest = self.dialect.most_temperature if name == "temperature" else most
            if value is not None and not least <= value <= hottest:
                above = "more than 0" if 0 < least < 1e-300 else f"at least {least:g}"
                raise self.refusal(name, f"must be {above}{f' and at most {hottest:g}' if hottest < inf else ''}")
        for name, fewest in LEAST.items():
            if (found := self.whole(name)) is not None and found < fewest:
                raise self.refusal(name, f"must be at least {fewest}, got {found}")
        if (self.whole("seed") or 0) > MOST_SEED:
            raise self.refusal("seed", f"must be at most {MOST_SEED}")
        self._check_kinds()
        self._check_format()
        self._check_tools()

    def _check_kinds(self) -> None:
        for name, kinds in KINDS.items():
            value = self.body.get(name)
            if value is not None and type(value).__name__ not in kinds:
                raise self.refusal(name, f"must be {' or '.join(WORDS[kind] for kind in kinds)}")

    def _check_format(self) -> None:
        wanted = self.body.get("response_format")
        if wanted is None:
            return
        if wanted.get("type") not in FORMATS:
            raise self.refusal("response_format", f"must have a type: {', '.join(FORMATS)}")
        if wanted["type"] == "json_schema" and not isinstance(wanted.get("json_schema"), dict):
            raise self.refusal("response_format", "must have a json_schema where that is its type")

    def _check_tools(self) -> None:
        """Refuse tools as each engine does: vLLM any choice without them, SGLang one that is required."""
        tools, choice = self.body.get("tools"), self.body.get("tool_choice")
        if not self.chat or choice in (None, "none"):
            return
        if not tools and (self.dialect.engine == "vllm" or choice == "required"):
            raise self.refusal("tool_choice", "goes with tools")
        if not isinstance(choice, dict) and choice not in CHOICES:
            raise self.refusal("tool_choice", f"must be {', '.join(CHOICES)} or a tool by name")

    def alternatives(self) -> int | None:
        """Return how many tokens are to be told beside each one chosen, None where no probabilities are wanted."""
        name = "top_logprobs" if self.chat else "logprobs"
        found = self.whole(name)
        if self.chat and not self.switch("logprobs"):
            if found:
                raise self.refusal("top_logprobs", "go with logprobs: true")
            return None
        if found is not None and not -1 <= found <= MOST_ALTERNATIVES:
            raise self.refusal(name, f"must lie between -1 and {MOST_ALTERNATIVES}, got {found}")
        return max(found or 0, 0) if self.chat or found is not None else None

    def _number(self, name: str) -> float | None:
        value = self.body.get(name)
        if value is None:
            return None
        try:
            found = int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdigit() else float(value)
        except (TypeError, ValueError, OverflowError):
            raise self.refusal(name, "must be a number") from None
        if not isfinite(found):
            raise self.refusal(name, "must be a finite number")
        return value if isinstance(value, int) else found
