"""The address of a server, and the key that no output may show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sizewell.specs.errors import BadInputError

KEY_VARIABLES = ("SIZEWELL_API_KEY", "VLLM_API_KEY", "SGLANG_API_KEY", "LLAMA_API_KEY", "OPENAI_API_KEY")
"""Where a key is looked for, in this order: the variable an engine was started with opens it without another word."""
REDACTED = "[API key]"
LEAST_SECRET_CHARACTERS = 8
"""A shorter key is a word that opens a server without keys ("EMPTY", "none"), and answers are full of words."""
VERSION_PATH = "/v1"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """An API key from the environment; `hide` and `hide_in` take it out of every text that leaves the program."""

    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    @property
    def is_word(self) -> bool:
        """Whether the key is too short to be told from an ordinary word."""
        return len(self.key) < LEAST_SECRET_CHARACTERS

    def hide(self, text: str) -> str:
        """Return what a program or server says without the key, bare or as JSON writes it; a short one as a word."""
        if not self.key:
            return text
        forms = {self.key, json.dumps(self.key)[1:-1], json.dumps(self.key, ensure_ascii=False)[1:-1]}
        any_form = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        return re.sub(rf"(?<!\w)({any_form})(?!\w)" if self.is_word else any_form, REDACTED, text)

    def hide_in(self, value: Any) -> Any:
        """Return JSON types without the key in any text, names of fields as they are; a short key stays."""
        if isinstance(value, str):
            return value if self.is_word else self.hide(value)
        if isinstance(value, Mapping):
            return {name: self.hide_in(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_in(one) for one in value]
        return value

    def __repr__(self) -> str:
        return f"Secret({REDACTED if self.key else ''})"


def secret_from(environment: Mapping[str, str], variable: str | None = None) -> Secret:
    """Return the key one variable holds, or the first of the usual ones; raises BadInputError where a named one lacks.

    Line ends inside a key would break the header and are refused.
    """
    if variable is not None and not environment.get(variable):
        raise BadInputError(f"the environment variable {variable} is empty: set it to the server's API key")
    names = KEY_VARIABLES if variable is None else (variable,)
    key = next((environment[name].strip() for name in names if environment.get(name, "").strip()), "")
    if not (key.isascii() and key.isprintable()):
        raise BadInputError("the API key in the environment holds characters no header can carry")
    return Secret(key)


def host_port(host: str, port: int) -> str:
    """Return host and port as an address has them: an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def base_url(text: str) -> str:
    """Return a server's address without path `/v1` or trailing slash; raises BadInputError for what is none."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        _ = parts.port
    except ValueError:
        raise BadInputError(f"{text[:80]!r} is no address: write http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInputError(f"{text[:80]!r} is no address: write http://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise BadInputError(f"--url {parts.hostname}: keys come from the environment ({KEY_VARIABLES[0]}), not the URL")
    if parts.query or parts.fragment:
        raise BadInputError(f"--url {parts.hostname}: what follows ? or # would not be sent: leave it out")
    path = parts.path.rstrip("/")
    for end in ("/chat/completions", "/completions"):
        path = path.removesuffix(end)
    return urlunsplit((parts.scheme, parts.netloc, path.removesuffix(VERSION_PATH), "", ""))
