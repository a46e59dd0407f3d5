"""Does a text name an ID class: whole words, any case, singular or plural."""

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "geese": "goose", "mice": "mouse", "oxen": "ox",
}  # fmt: skip


class ClassNames:
    """The ID class names, prepared once so that a text is checked in time proportional to its own length.

    A name "car (automobile)" is also known as "car". Underscores and hyphens count as spaces.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Prepare the names.

        Args:
            names: C class names; one without a letter or digit is never found.
        """
        self._index: dict[tuple[str, ...], int] = {}
        aliases = [(name, row) for row, name in enumerate(names)]
        aliases += [(name.partition("(")[0], row) for row, name in enumerate(names) if "(" in name]
        for name, row in aliases:
            for form in _forms(_words(name), keep_short=True):
                self._index.setdefault(form, row)
        self._longest = max((len(form) for form in self._index), default=0)

    def find(self, text: str) -> int | None:
        """Return the index of the first class that the text names, of several there the longest name; or ``None``."""
        words = _words(text)
        for start in range(len(words)):
            for length in range(min(self._longest, len(words) - start), 0, -1):
                for form in _forms(words[start : start + length]):
                    if form in self._index:
                        return self._index[form]
        return None

    def equals(self, text: str) -> bool:
        """Tell whether the whole text is a class's name."""
        return any(form in self._index for form in _forms(_words(text)))


def names_class(text: str, class_names: ClassNames | Sequence[str]) -> bool:
    """Tell whether a text names one of the classes: whole words, any case, singular or plural.

    Args:
        text: a sentence or a label.
        class_names: the names; pass a `ClassNames` to prepare many names only once.
    """
    names = class_names if isinstance(class_names, ClassNames) else ClassNames(class_names)
    return names.find(text) is not None


def _words(text: str) -> tuple[str, ...]:
    found = _WORD.findall(text.casefold().replace("’", "'"))
    return tuple(word.removesuffix("'s") for word in found)


def _forms(words: tuple[str, ...], *, keep_short: bool = False) -> Iterable[tuple[str, ...]]:
    """Yield the words as they are and with the last one in the singular."""
    if not words:
        return
    yield words
    last = words[-1]
    # A class called "news" is not the plural of "new".
    if keep_short and len(last) < 5:
        return
    for singular in _singulars(last):
        yield (*words[:-1], singular)


def _singulars(word: str) -> Iterable[str]:
    """Yield what a word may be the plural of."""
    if word in _IRREGULAR:
        yield _IRREGULAR[word]
    if len(word) < 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return
    yield word[:-1]
    if word.endswith("ies"):
        yield word[:-3] + "y"
    elif word.endswith("ves"):
        yield word[:-3] + "f"
        yield word[:-3] + "fe"
    elif word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        yield word[:-2]
