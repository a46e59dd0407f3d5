from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.backends._failures import retry_after

NOW = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "1H"}, 3600.0),
        ({"retry-after": "6m0.5s"}, 360.5),
        ({"retry-after": "500ms"}, 0.5),
        ({"retry-after": "Mon, 23 Nov 2026 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 09:00:30 +0100"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 07:00:00 GMT"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 08:00:30 -0000"}, 30.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": "1m later"}, None),
        ({"retry-after": "9" * 400 + "s"}, None),
        ({"retry-after": "9" * 100_000}, None),
        ({"retry-after": "Mon, 23 Nov 99999 08:00:30 GMT"}, None),
        ({"retry-after": "Mon, 23 Nov 2026 08:00:30 +99999999"}, None),
        ({"retry-after": "Mon, 99 Nov 2026 08:00:30 GMT"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_wait_is_read(headers, seconds):
    assert retry_after(headers, NOW) == seconds


def test_a_date_is_compared_with_the_clock():
    assert retry_after({"retry-after": "Mon, 23 Nov 2020 08:00:00 GMT"}) == 0.0


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-z:, +.-]{1,40}", fullmatch=True))
def test_whatever_comes_is_seconds_or_none(value):
    for name in ("retry-after", "retry-after-ms"):
        wait = retry_after({name: value}, NOW)
        assert wait is None or 0 <= wait < float("inf")
