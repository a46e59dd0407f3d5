"""The latest pictures that look foreign, with what was said of them."""

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from ants_engine.clip.image_ref import ImageRef
from ants_engine.terminal_text import plain

SHOWN = 24
"""Pictures that are kept, and with them whatever keeps them readable."""
REMEMBERED = 1000
"""Sentences that are kept for pictures still to be scored."""
LONGEST = 400
"""Characters of a text that are shown."""


@dataclass(slots=True)
class Shown:
    """One picture of the gallery."""

    number: int
    """Names it in an address."""
    name: str
    ref: ImageRef | None
    score: float
    nearest: str
    said: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what the page needs, as JSON values."""
        return {
            "number": self.number,
            "name": plain(self.name),
            "picture": self.ref is not None,
            "score": round(self.score, 4),
            "nearest": plain(self.nearest),
            "said": None if self.said is None else short(self.said),
        }


class Gallery:
    """Bounded: a picture that comes pushes out the oldest. One that something new is said of is the newest again."""

    def __init__(self) -> None:
        """Begin empty."""
        self._numbers = itertools.count(1)
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._said: OrderedDict[str, str] = OrderedDict()

    def put(self, name: str, ref: ImageRef | None, score: float, nearest: str) -> None:
        """Show a picture."""
        self._shown.pop(name, None)
        self._shown[name] = Shown(next(self._numbers), name, ref, score, nearest, self._said.get(name))
        while len(self._shown) > SHOWN:
            self._shown.popitem(last=False)

    def say(self, name: str, text: str) -> None:
        """Put a sentence to a picture, shown already or not yet."""
        self._said[name] = text
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        if name in self._shown:
            self._shown[name].said = text
            self._shown.move_to_end(name)

    def find(self, number: int) -> ImageRef | None:
        """Return where a picture can be looked at; None where it is not shown any more."""
        return next((one.ref for one in self._shown.values() if one.number == number), None)

    def to_list(self) -> list[dict[str, Any]]:
        """Return the pictures, newest first."""
        return [one.to_dict() for one in reversed(self._shown.values())]


def short(text: str) -> str:
    """Bound a text and make it one line without anything that hides or acts."""
    whole = plain(" ".join(text.split()))
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"
