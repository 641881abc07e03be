"""A cell that cannot be meant names its column; one that is merely odd does not cost the whole table."""

from __future__ import annotations

import pytest

from sizewell.catalog.table_cells import MOST, Cells


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e30", "x"])
def test_what_cannot_be_meant_names_its_column(text: str) -> None:
    for read in (Cells({"tp": text}).whole, lambda column: Cells({"tp": text}).number(column, 0, MOST)):
        with pytest.raises(ValueError, match=r"^tp is "):
            read("tp")


def test_an_empty_cell_and_a_size_of_nothing_say_nothing() -> None:
    assert [Cells({"tp": text}).whole("tp") for text in ("", "0", "8", "8.0")] == [None, None, 8, 8]
    assert Cells({}).number("tp") is None
