"""Numbers as people write them, and the ones nobody can mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.catalog.hardware import is_gpu
from sizewell.cli.machine_text import parse_machine
from sizewell.cli.quantities import BYTES, COUNT, DURATION, FRACTION, POWER_KW, RATE, TOKENS, USD, Measure
from sizewell.specs.errors import BadInputError

MEASURES = [BYTES, COUNT, DURATION, FRACTION, POWER_KW, RATE, TOKENS, USD]


@pytest.mark.parametrize(
    ("measure", "text", "value"),
    [
        (DURATION, "2s", 2.0),
        (DURATION, "50ms", 0.05),
        (DURATION, " 1.5 min ", 90.0),
        (DURATION, "250µs", 250e-6),
        (RATE, "20/s", 20.0),
        (RATE, "90/min", 1.5),
        (RATE, 3, 3.0),
        (TOKENS, "32k", 32_000.0),
        (TOKENS, "32Ki", 32_768.0),
        (TOKENS, "1_000", 1000.0),
        (FRACTION, "98%", 0.98),
        (USD, "$25.50", 25.5),
        (POWER_KW, "900W", 0.9),
        (BYTES, "64GiB", 64 * 2**30),
        (COUNT, "1e3", 1000),
    ],
)
def test_units(measure: Measure, text: object, value: float) -> None:
    assert measure.parse(text) == pytest.approx(value)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.name)
@pytest.mark.parametrize(
    "text",
    ["", "-5", "-5s", "nan", "inf", "1e30", "1e400", "1e30s", "1 2", "2 parsecs", "0x10", "٣s", "1__", True, None, [1]],
)
def test_what_cannot_be_meant_is_refused(measure: Measure, text: object) -> None:
    with pytest.raises(BadInputError) as refused:
        measure.parse(text)
    assert len(str(refused.value).splitlines()) == 1


def test_a_bare_duration_is_refused_because_peers_mean_milliseconds() -> None:
    with pytest.raises(BadInputError, match="unit"):
        DURATION.parse("50")


def test_a_count_is_whole() -> None:
    with pytest.raises(BadInputError, match="whole"):
        COUNT.parse("2.5")


@given(st.text(max_size=200))
def test_any_text_is_a_number_in_range_or_one_line(text: str) -> None:
    for measure in MEASURES:
        try:
            assert measure.low <= measure.parse(text) <= measure.high
        except BadInputError as error:
            assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("text", "count", "name"),
    [("8xh200", 8, "h200"), ("2 x RTX 4090", 2, "RTX 4090"), ("8×H100", 8, "H100"), ("h200", None, "h200")],
)
def test_machines(text: str, count: int | None, name: str) -> None:
    assert parse_machine(text) == (count, name)


@pytest.mark.parametrize(
    ("text", "count", "name"),
    [("7900xtx", None, "7900xtx"), ("2x7900 XTX", 2, "7900 XTX"), ("7900 XTX", None, "7900 XTX")],
)
def test_a_card_whose_name_begins_like_a_count_is_one_card(text: str, count: int | None, name: str) -> None:
    assert parse_machine(text, is_gpu) == (count, name)


def test_no_machines() -> None:
    with pytest.raises(BadInputError, match="no accelerators"):
        parse_machine("0xh200")
