"""Takes secrets out of what is written for people: settings by the names they stand under, texts by their looks."""

import os
import re
from collections.abc import Callable, Mapping

from ants_engine.protocol import JSON

MASK = "[set]"
"""What stands for a secret: that there is one, and nothing of it."""
MAX_CHARACTERS = 300
"""A text from elsewhere is cut to this."""

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = re.compile(
    r"(api|access|secret|private|auth)?(keys?|tokens?)|pass(word|phrase|wd)?s?|pwd|secrets?|credentials?"
    r"|auth|authorization|bearer|cookies?"
)
_FOLDERS = frozenset({"PWD", "OLDPWD"})
"""Variables that sound like passwords, and hold the shell's folders."""
_DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w=.+-]+)*,[^\s\"'<>)]*", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]{100,}")
_KEY = re.compile(r"(?i)\b(sk-|bearer\s+|basic\s+(?=[\w+/=]{16}))[\w.~+/=*-]+")
_USER = re.compile(r"(?<=://)[^/?#\s@]+@")
_QUERY = re.compile(r"(?<=://)([^\s?#\"'<>]+)\?[^\s\"'<>]+")
_SHORTEST = 8
"""A shorter value of a variable says too little: taking it out of texts would garble them."""


class Redactor:
    """Knows what the environment keeps secret, so that no value of it passes whatever the name it stands under."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Look at the variables once: those with a name such as ``OPENAI_API_KEY``.

        Args:
            environment: the process's own by default.
        """
        variables = os.environ if environment is None else environment
        secret = {
            value
            for name, value in variables.items()
            if looks_secret(name) and name not in _FOLDERS and len(value) >= _SHORTEST
        }
        # the longest first: one may be the start of another
        self._values = sorted(secret, key=len, reverse=True)

    def settings(self, settings: Mapping[str, JSON]) -> dict[str, JSON]:
        """Copy JSON; what stands under a name that looks secret becomes `MASK`, other texts keep no credentials."""
        return _copy(settings, self._bare)

    def facts(self, facts: Mapping[str, JSON]) -> dict[str, JSON]:
        """Copy JSON as `settings` does, its texts made fit as `text` does."""
        return _copy(facts, self.text)

    def text(self, text: str) -> str:
        """Make a message fit to be kept: no key, no picture data, and not long."""
        text = self._bare(text[:100_000])
        text = _DATA_URL.sub("[data]", text)
        text = _BASE64.sub("[data]", text)
        return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"

    def _bare(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, MASK)
        text = _USER.sub(f"{MASK}@", text)
        text = _QUERY.sub(rf"\1?{MASK}", text)
        return _KEY.sub(rf"\1{MASK}", text)


def looks_secret(name: str) -> bool:
    """Say whether a setting or variable of this name would hold a secret. A name in ``_env`` only names a variable."""
    parts = [part.lower() for part in _PART.findall(name)]
    return bool(parts) and parts[-1] != "env" and any(_SECRET.fullmatch(part) for part in parts)


def _copy(parts: Mapping[str, JSON], clean: Callable[[str], str]) -> dict[str, JSON]:
    # names are texts in JSON, whatever was given
    named = ((str(name), each) for name, each in parts.items())
    return {
        name: MASK if looks_secret(name) and _may_hide(name, each) else _copied(each, clean) for name, each in named
    }


def _copied(value: JSON, clean: Callable[[str], str]) -> JSON:
    if isinstance(value, dict):
        return _copy(value, clean)
    if isinstance(value, list):
        return [_copied(each, clean) for each in value]
    return clean(value) if isinstance(value, str) else value


def _may_hide(name: str, value: JSON) -> bool:
    if value is None or isinstance(value, bool):
        return False
    # max_new_tokens and the like count tokens
    return not (isinstance(value, int | float) and "tokens" in name.lower())
