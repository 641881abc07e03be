"""Machines as people write them: `8xh200`, `2 x rtx-4090`, `h100`."""

from __future__ import annotations

import re
from collections.abc import Callable

from sizewell.specs.errors import BadInputError

_COUNTED = re.compile(r"\s*(\d{1,9})\s*[x×*]\s*(\S.*?)\s*", re.IGNORECASE)


def parse_machine(text: str, is_name: Callable[[str], bool] = lambda _: False) -> tuple[int | None, str]:
    """Return the count, None when not said, and the accelerator's name; raises BadInputError on a count of zero.

    What `is_name` knows is never split: `7900xtx` is one card, not 7,900 of a `tx`.
    """
    match = _COUNTED.fullmatch(text)
    if match is None or is_name(text):
        return None, text.strip()
    if int(match[1]) == 0:
        raise BadInputError(f"{text!r} has no accelerators: write e.g. 8xh200")
    return int(match[1]), match[2]
