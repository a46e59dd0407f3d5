"""How long a server asks to be left alone."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read the wait in seconds out of a response's headers, whose names are matched as the mapping matches them.

    ``retry-after-ms`` counts before ``retry-after``; the latter is seconds, an HTTP date or a duration such as
    ``1m30s``. A date in the past is 0; what cannot be read is None.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return seconds
    if _DURATION.fullmatch(value.lower()):
        # digits enough make an infinity
        return _number(str(sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(value.lower()))))
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
