"""The latest pictures that look unknown, with what was said of them."""

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from ants_engine.clip.image_ref import ImageRef
from ants_engine.common.terminal_text import plain

SHOWN = 24
"""ReportPictures that are kept, and with them whatever keeps them readable."""
REMEMBERED = 10_000
"""Scores of pictures still to be described, and sentences of pictures still to be scored, that are kept."""
LONGEST = 400
"""Characters of a text that are shown."""


@dataclass(slots=True)
class Shown:
    """One picture of the gallery."""

    number: int
    """Tells it from others."""
    name: str
    ref: ImageRef | None
    score: float | None
    nearest: str
    said: str | None = None
    tried: bool = False
    """A thumbnail was asked for."""
    thumbnail: str | None = None
    """A data URL."""

    def to_dict(self) -> dict[str, Any]:
        """Return what the page needs, as JSON values."""
        return {
            "number": self.number,
            "name": plain(self.name),
            "score": None if self.score is None else round(self.score, 4),
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
        self._scores: OrderedDict[str, float] = OrderedDict()

    def remember(self, name: str, score: float) -> None:
        """Keep the score of a picture that may be described later."""
        self._scores[name] = score
        _forget(self._scores)

    def put(self, name: str, ref: ImageRef | None, score: float | None, nearest: str) -> None:
        """Show a picture; without a score, with the one that was remembered."""
        score = self._scores.get(name) if score is None else score
        shown = self._shown.pop(name, None)
        if shown is None:
            shown = Shown(next(self._numbers), name, ref, score, nearest)
        # the same object: its thumbnail may be under way
        shown.ref, shown.score, shown.nearest, shown.said = ref, score, nearest, self._said.get(name)
        self._shown[name] = shown
        while len(self._shown) > SHOWN:
            self._shown.popitem(last=False)

    def say(self, name: str, text: str) -> None:
        """Put a sentence to a picture, shown already or not yet."""
        self._said[name] = text
        _forget(self._said)
        if name in self._shown:
            self._shown[name].said = text
            self._shown.move_to_end(name)

    def without_thumbnail(self) -> Shown | None:
        """Return the newest picture that no thumbnail was asked for, if any."""
        return next((one for one in reversed(self._shown.values()) if not one.tried and one.ref is not None), None)

    def thumbnails(self) -> dict[int, str]:
        """Return the thumbnails that there are, by number."""
        return {one.number: one.thumbnail for one in self._shown.values() if one.thumbnail is not None}

    def to_list(self) -> list[dict[str, Any]]:
        """Return the pictures, newest first."""
        return [one.to_dict() for one in reversed(self._shown.values())]


def _forget(kept: OrderedDict[str, Any]) -> None:
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)


def short(text: str) -> str:
    """Bound a text and make it one line without anything that hides or acts."""
    whole = plain(" ".join(text.split()))
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"
