"""Machines as people write them: `8xh200`, `2 x rtx-4090`, `h100`."""

from __future__ import annotations

import re

from sizewell.specs.errors import BadInputError

_COUNTED = re.compile(r"\s*(\d{1,6})\s*[x×*]\s*(\S.*?)\s*", re.IGNORECASE)


def parse_machine(text: str) -> tuple[int | None, str]:
    """Return the count, None when not said, and the accelerator's name; raises BadInputError on a count of zero."""
    match = _COUNTED.fullmatch(text)
    if match is None:
        return None, text.strip()
    if int(match[1]) == 0:
        raise BadInputError(f"{text!r} has no accelerators: write e.g. 8xh200")
    return int(match[1]), match[2]
