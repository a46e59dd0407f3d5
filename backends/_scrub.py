"""Make text from elsewhere fit for an error message: no key, no picture, one line, not too long."""

import re

LIMIT = 300
"""Characters kept."""

_DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w=.+-]+)*,[^\s\"'<>)]*", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]{100,}")
_KEY = re.compile(r"(?i)\b(sk-|bearer\s+)[\w.~+/=*-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def scrub(text: str, secret: str = "") -> str:
    """Take out ``secret``, whatever looks like a key, picture data and control characters, and shorten."""
    # No need to search further than what can end in the message; picture data may be most of it.
    text = text[:1_000_000]
    if secret:
        text = text.replace(secret, "[key]")
    text = _DATA_URL.sub("[data]", text)
    text = _BASE64.sub("[data]", text)
    text = _KEY.sub(r"\1[key]", text)
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}…"
