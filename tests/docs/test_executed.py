"""A document's blocks run as one session, and a failing block is never written."""

from __future__ import annotations

import pytest
from tools.docs.executed import executed, outputs

TWO_BLOCKS = """\
```pycon
>>> x = 20
>>> print(x)
stale
```

prose

```pycon
>>> for factor in (1, 2):
...     print(x * factor)
>>> x + 1
```
"""


def test_blocks_share_a_session_and_their_output_is_replaced() -> None:
    text = executed(TWO_BLOCKS, "t")
    assert ">>> print(x)\n20\n```" in text
    assert "...     print(x * factor)\n20\n40\n>>> x + 1\n21\n```" in text
    assert "stale" not in text


def test_a_current_document_is_left_as_it_is() -> None:
    text = executed(TWO_BLOCKS, "t")
    assert executed(text, "t") == text


def test_outputs_leave_the_code_out() -> None:
    assert outputs(executed(TWO_BLOCKS, "t")).split() == ["20", "20", "40", "21"]


def test_an_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        executed("```pycon\n>>> 1 / 0\n```\n", "t")
