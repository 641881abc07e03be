"""Facts are shown with their sources, and prices are renewed only where asked and possible."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sizewell.catalog import refresh_prices as refreshing

Say = Callable[..., Any]


def test_refreshing_writes_into_the_users_own_catalogue(
    say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    days: list[date] = []

    def write(day: date) -> refreshing.Refreshed:
        days.append(day)
        return refreshing.Refreshed(tmp_path / "prices" / "today.toml", 12, ("one", "two"))

    monkeypatch.setattr(refreshing, "refresh_prices", write)
    said = say("catalog", "prices", "h100", "--refresh")
    assert said.code == 0
    assert days == [date.today()]
    assert "today.toml: 12 prices of 2 clouds (one, two)" in said.err
    assert "h100-sxm-80gb" in said.out


def test_only_prices_are_refreshed(say: Say) -> None:
    said = say("catalog", "gpus", "--refresh")
    assert said.code == 2
    assert "catalog prices --refresh" in said.complaint
