"""Moments as people write them."""

from datetime import UTC, datetime

import pytest

from pipeline.config.duration import parse_moment

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2d", datetime(2026, 11, 27, 12, tzinfo=UTC)),
        ("90m", datetime(2026, 11, 29, 10, 30, tzinfo=UTC)),
        ("2026-11-01T06:00:00+02:00", datetime(2026, 11, 1, 4, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1).astimezone()),
    ],
)
def test_a_moment_is_a_date_a_time_or_a_duration_before_now(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "", "-2d", "2 weeks"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_moment(text, NOW)
