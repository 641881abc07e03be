"""How an engine of one version speaks: reasoning fields, the words of its errors, the version it reports.

Read in the released packages of vLLM 0.8 to 0.33 and SGLang 0.5, and in llama.cpp's tools/server.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Literal, get_args

from sizewell.specs.errors import BadInputError

Reasoning = Literal["auto", "reasoning", "reasoning_content", "both", "text"]
REASONINGS: tuple[Reasoning, ...] = get_args(Reasoning)
"""`text`: between <think> and </think>, as without a reasoning parser."""


LLAMA_ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 503: "unavailable_error",
}  # fmt: skip
TOO_LONG = "input_tokens"
"""The field that a request of too many tokens is wrong in."""


def release_of(version: str) -> tuple[int, ...]:
    """Return the numbers of a version that can be compared: 0.11.2 → (0, 11, 2), b9976 → (9976,)."""
    return tuple(int(part) for part in version.removeprefix("b").split(".") if part.isdigit())


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What clients see of an engine; `reasoning` says in which field its thinking comes, as its version does."""

    engine: str
    version: str
    reasoning: Reasoning = "auto"

    def __post_init__(self) -> None:
        if self.reasoning not in REASONINGS:
            raise BadInputError(f"no way of showing reasoning is called {self.reasoning!r}: {', '.join(REASONINGS)}")

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers."""
        return release_of(self.version)

    @property
    def reasoning_fields(self) -> tuple[str, ...]:
        """Fields that carry thinking; none where it is part of the text."""
        if self.reasoning == "text":
            return ()
        if self.reasoning == "both":
            return ("reasoning", "reasoning_content")
        if self.reasoning != "auto":
            return (self.reasoning,)
        if self.engine != "vllm" or self.release < (0, 12):
            return ("reasoning_content",)
        return ("reasoning", "reasoning_content") if self.release < (0, 16) else ("reasoning",)

    @property
    def most_temperature(self) -> float:
        """Highest temperature that is taken (0.32 is the first release read that has one)."""
        return 2.0 if self.engine == "vllm" and self.release >= (0, 32) else inf

    @property
    def finishes_apart(self) -> bool:
        """Whether the reason for the end comes in an event of its own, behind the last token's."""
        return self.engine != "vllm"

    @property
    def takes_any_name(self) -> bool:
        """Whether it serves what it holds, whatever model is asked for."""
        return self.engine != "vllm"

    @property
    def stops_at_limit(self) -> bool:
        """Whether an answer that has no room ends where the context does, and is not refused."""
        return self.engine == "llama.cpp"

    @property
    def counts_at_end(self) -> bool:
        """Whether tokens are counted once a request has ended, and of its prompt those that were computed."""
        return self.engine == "llama.cpp"

    def error(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> Any:
        """Return the body of an error: nested in newer vLLM and llama.cpp, flat in SGLang and before."""
        if self.engine == "llama.cpp":
            named = "exceed_context_size_error" if param == TOO_LONG else LLAMA_ERRORS.get(status, "server_error")
            return {"error": {"code": status, "message": message, "type": named}}
        told = {"message": message, "type": kind, "param": param, "code": status}
        if self.engine == "vllm" and self.release >= (0, 10, 2):
            return {"error": told}
        return {"object": "error", **told}

    def unknown_model(self, name: str) -> tuple[str, str]:
        """Return the message and the kind of error for a model that is not served."""
        return f"The model `{name}` does not exist.", "NotFoundError"

    def too_long(self, limit: int, prompt: int, asked: int | None) -> str:
        """Return the complaint about a prompt, with what is to be generated where that was said."""
        if self.engine == "sglang":
            return self._too_long_sglang(limit, prompt, asked)
        if self.engine == "llama.cpp":
            return f"request ({prompt} tokens) exceeds the available context size ({limit} tokens), try increasing it"
        if self.release < (0, 10, 2):
            return self._too_long_before(limit, prompt, asked)
        if self.release < (0, 14):
            return self._too_long_between(limit, prompt, asked)
        output = asked or 0
        return (
            f"This model's maximum context length is {limit} tokens. However, you requested {output} output tokens and "
            f"your prompt contains {prompt} input tokens, for a total of {prompt + output} tokens. Please reduce the "
            "length of the input prompt or the number of requested output tokens."
        )

    def _too_long_sglang(self, limit: int, prompt: int, asked: int | None) -> str:
        if asked is None or prompt >= limit:
            return f"The input ({prompt} tokens) is longer than the model's context length ({limit} tokens)."
        return (
            f"Requested token count exceeds the model's maximum context length of {limit} tokens. You requested a "
            f"total of {prompt + asked} tokens: {prompt} tokens from the input messages and {asked} tokens for the "
            "completion. Please reduce the number of tokens in the input messages or the completion to fit within the "
            "limit."
        )

    def _too_long_before(self, limit: int, prompt: int, asked: int | None) -> str:
        if asked is None:
            return (
                f"This model's maximum context length is {limit} tokens. However, you requested {prompt} tokens in the "
                "messages, Please reduce the length of the messages."
            )
        return (
            f"This model's maximum context length is {limit} tokens. However, you requested {asked + prompt} tokens "
            f"({prompt} in the messages, {asked} in the completion). Please reduce the length of the messages or "
            "completion."
        )

    def _too_long_between(self, limit: int, prompt: int, asked: int | None) -> str:
        if asked is None or prompt >= limit:
            return (
                f"This model's maximum context length is {limit} tokens. However, your request has {prompt} input "
                "tokens. Please reduce the length of the input messages."
            )
        return (
            f"'max_tokens' or 'max_completion_tokens' is too large: {asked}. This model's maximum context length is "
            f"{limit} tokens and your request has {prompt} input tokens ({asked} > {limit} - {prompt})."
        )
