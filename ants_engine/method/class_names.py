"""Does a text name an ID class, by any name that the class has: whole words, any case, singular or plural.

A class's name as lists write it holds several:

- *Aliases* are names of their own: the whole name; its parts between commas, semicolons, bars, slashes or "or"
  ("lion, king of beasts, Panthera leo"); what stands before and in parentheses ("car (automobile)"); the name without
  a year in front or behind. A text that has one of them anywhere names the class.
- *Short forms* are what one says for it: its end ("bald eagle": eagle; "great white shark": white shark, shark), or its
  beginning where the end only says what kind of animal it is ("crane bird": crane). A label *is* the class only where
  it equals one ("golden eagle" is another bird), and a sentence only where it is about one ("An eagle on a branch", not
  "A golden eagle on a branch" or "A feather of an eagle").

Underscores and hyphens count as spaces; accents, width and invisible characters make no difference.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_COMPOUND = re.compile(r"[^\W_]+(?:[-‐‑][^\W_]+)+")
_SYNONYM = re.compile(r"\s*[,;|]\s+|\s*[;|]\s*|(?<=[^\W\d_]),(?=[^\W\d_])")
_LISTED = re.compile(r"\s*[,;|]\s*")
_OR = re.compile(r"\s*/\s*|\s+(?:or|aka|a\.k\.a\.)\s+", re.IGNORECASE)
_PARENTHESES = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]")
_ALSO = re.compile(r"^\s*(?:also|aka|a\.k\.a\.|or|i\.e\.|e\.g\.)(?:\s+(?:called|known as))?[\s:,]+", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
_MARK = "\ufeff"
# without these some words of Persian and of Indian languages are other words
_JOINERS = "\u200c\u200d"
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "geese": "goose", "mice": "mouse", "oxen": "ox", "cacti": "cactus", "fungi": "fungus", "octopi": "octopus",
}  # fmt: skip


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PREPOSITIONS = _word_set(
    "of in on at by with for from to into onto over under near behind beside between through without as than like "
    "against along among around across above below before after during inside outside up down out off"
)
_FUNCTION = _PREPOSITIONS | _word_set(
    "a an the this that these those some any no not and or but nor so if is are was were be been being has have had do "
    "does did i you he she it we they me him her us them my your his its our their who which what there here"
)
_ATTRIBUTES = _word_set(
    "big large small little tiny huge giant tall short long young old baby adult new wet dry dark bright colorful "
    "colourful black white red green blue yellow orange purple brown pink gray grey silver beautiful cute lone single "
    "close up closeup photo photograph picture image view shot portrait drawing illustration detailed blurry group "
    "pair couple herd flock pack two three four five six seven eight nine ten several many few one another"
)
# what may follow a noun and is no noun
_AFTER = _word_set(
    "underwater outdoors indoors outside inside overhead nearby alone together asleep upright alive ahead away back "
    "close far now then facing next full half mid made kept held seen shown set hung sat stood lay ran flew swam"
)
_SIGNS = frozenset({"letter", "sign", "number", "character", "symbol"})
_KINDS = frozenset({"bird", "fish", "dog", "horse"})
_BODIES = frozenset({"sedan", "coupe", "convertible", "hatchback", "suv", "wagon", "minivan", "van", "cab", "pickup"})
# nouns that make an attribute of the name in front of them, and look like a verb
_MADE_OF = _word_set(
    "stripes spots prints patterns masks costumes statues figurines toys dolls ears horns logos shoes slippers mugs "
    "wing ring king string spring thing swing sling building ceiling clothing earring railing"
)
# nouns behind a name that leave it the same thing
_STILL_IT = _word_set(
    "cub cubs pup pups puppy puppies kitten kittens calf calves foal chick chicks hatchling family herd pair head face "
    "photo picture image portrait drawing painting illustration cartoon emoji icon"
)
_SPELT = str.maketrans({"ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe"})
# written as one word or as several, from so many letters on
_JOINED = 6
# no plural of "new"
_NO_PLURALS = frozenset({"news"})
# what these are called by their last word they are not
_NOT_THEIR_END = frozenset(
    {
        ("hot", "dog"), ("prairie", "dog"), ("sea", "lion"), ("ant", "lion"), ("sea", "horse"), ("guinea", "pig"),
        ("flying", "fox"), ("sea", "cucumber"), ("horse", "chestnut"), ("custard", "apple"), ("thorn", "apple"),
        ("rocking", "horse"), ("pommel", "horse"), ("sea", "elephant"), ("komodo", "dragon"), ("station", "wagon"),
        ("radio", "telescope"), ("teddy", "bear"), ("piggy", "bank"), ("ice", "cream"), ("fire", "engine"),
        ("space", "bar"),
    }
)  # fmt: skip


def tidy_name(text: str) -> str:
    """Return a name as it is kept: in NFC, with plain spaces and without a byte order mark."""
    return " ".join(unicodedata.normalize("NFC", text.replace(_MARK, "")).split())


def spoken_name(text: str) -> str:
    """Return a name as a prompt has it: spaces for underscores, letters of ordinary width, nothing that is not seen."""
    shown = (c for c in text.replace("_", " ") if unicodedata.category(c) != "Cf" or c in _JOINERS)
    usual = (unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uff5e" else c for c in shown)
    return tidy_name("".join(usual)) or text


def same_name(text: str) -> str:
    """Return what two names that only differ in case, spaces, width, form or invisible characters have in common."""
    if text.isascii():
        return " ".join(text.split()).casefold()
    folded = unicodedata.normalize("NFKC", text).casefold()
    shown = "".join(c for c in folded if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", shown).split())


def synonyms(name: str) -> tuple[str, ...]:
    """Return the parts of a name that is a list of synonyms, as WordNet and ImageNet write it; else the name alone.

    Commas, semicolons and bars part synonyms. "747, freighter" and "kite (bird, of prey)" are "747" and "freighter",
    and one name.
    """
    masked = _PARENTHESES.sub(lambda match: "\0" * len(match[0]), name)
    parts, start = [], 0
    for separator in _SYNONYM.finditer(masked):
        parts.append(name[start : separator.start()].strip())
        start = separator.end()
    parts.append(name[start:].strip())
    return tuple(part for part in parts if part) or (name,)


@dataclass(frozen=True, slots=True)
class Mention:
    """A class that a text names as a thing by itself: "lion" in "a lion rests", not in "a lion statue"."""

    row: int
    """The class."""
    before: tuple[str, ...]
    """The words in front of it, as they are compared: lower case, without accents."""
    start: int
    """Which word it begins at."""
    end: int
    """Behind which word it ends."""


class ClassNames:
    """The ID class names, prepared once so that a text is checked in time proportional to its own length."""

    def __init__(self, names: Sequence[str]) -> None:
        """Prepare the names.

        Args:
            names: C class names; one without a letter or digit is never found. A single letter, or a word such as
                "the", is found only where it is written as the name is and not as an article or pronoun.
        """
        self._index: dict[tuple[str, ...], int] = {}
        self._short: dict[tuple[str, ...], int] = {}
        self._letters: dict[str, int] = {}
        for row, name in enumerate(names):
            own = _words(name)
            if _says_nothing(own):
                self._letters.setdefault(own[0], row)
                continue
            for words in _aliases(name):
                for form in _forms(words, of_name=True):
                    self._index.setdefault(form, row)
        for row, name in enumerate(names):
            for words in _short_forms(name):
                for form in _forms(words, of_name=True):
                    if form not in self._index:
                        self._short.setdefault(form, row)
        # "hotdog" is "hot dog", and "school bus" is "schoolbus"
        self._joined: dict[str, tuple[str, ...]] = {}
        for form in (*self._index, *self._short):
            if len(form) > 1 or form in self._index:
                joined = "".join(form)
                if len(joined) >= _JOINED and joined.isalpha():
                    self._joined.setdefault(joined, form)
        self._longest = max((len(form) for form in self._index), default=0)
        self._longest_short = max((len(form) for form in self._short), default=0)

    def find(self, text: str) -> int | None:
        """Return the index of a class that a sentence names, or ``None``.

        That is the first alias in it, of several there the longest; or the short form that it is about.
        """
        found = self.find_alias(text)
        return self._about(_words(text)) if found is None else found

    def find_alias(self, text: str) -> int | None:
        """Return the index of the first class of which an alias stands in the text, or ``None``."""
        words = _words(text)
        for start in range(len(words)):
            for length in range(min(max(self._longest, 2), len(words) - start), 0, -1):
                for form in self._spelt(words[start : start + length]):
                    if form in self._index:
                        return self._index[form]
        return self._letter(text) if self._letters else None

    def mentions(self, text: str) -> list[Mention]:
        """Return the classes of which an alias stands in the text as a noun of its own, in order.

        Of names within each other the longest counts. A name that a further noun follows ("zebra print"), or that is a
        part of another thing's name ("sea lion", "zebra-striped"), is none.
        """
        words = _words(_COMPOUND.sub(self._whole, text))
        found: list[Mention] = []
        start = 0
        while start < len(words):
            length, row = next(
                (
                    (length, self._index[form])
                    for length in range(min(max(self._longest, 2), len(words) - start), 0, -1)
                    for form in self._spelt(words[start : start + length])
                    if form in self._index
                ),
                (1, None),
            )
            end = start + length
            singulars = {form[-1] for form in _forms(words[start:end])}
            other = start > 0 and length == 1 and any((words[start - 1], word) in _NOT_THEIR_END for word in singulars)
            if row is not None and not other and _stands_alone(words, end):
                found.append(Mention(row, words[:start], start, end))
            start = end
        if not found and self._letters and (row := self._letter(text)) is not None:
            found.append(Mention(row, (), 0, 1))
        return found

    def _whole(self, compound: "re.Match[str]") -> str:
        """Join the parts of a compound that holds a name and is none."""
        text = compound[0]
        return text if self.find_alias(text) is None or self.equals(text) else "".join(filter(str.isalnum, text))

    def equals(self, text: str) -> bool:
        """Tell whether the whole text is a class's name, an alias or a short form of it."""
        words = _words(text)
        if len(words) == 1 and words[0] in self._letters:
            return True
        return any(form in self._index or form in self._short for form in self._spelt(words))

    def _spelt(self, words: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
        """Yield the forms of words, and how a name writes them that joins or parts them."""
        for form in _forms(words):
            yield form
            # "go at" is no "goat"
            if len(form) == 1 or (len(form) == 2 and min(map(len, form)) > 2 and not _FUNCTION.intersection(form)):
                known = self._joined.get("".join(form))
                if known is not None and (len(form) == 1) != (len(known) == 1):
                    yield known

    def _about(self, words: tuple[str, ...]) -> int | None:
        """Return the class whose short form is what a sentence is about: its first noun."""
        start = 0
        while start < len(words) and (words[start] in _ATTRIBUTES or words[start] in _FUNCTION):
            start += 1
        # an attribute may be a part of the short form: "white shark"
        for begin in range(start, -1, -1):
            for length in range(min(self._longest_short, len(words) - begin), start - begin, -1):
                if not _ends_phrase(words, begin + length):
                    continue
                for form in self._spelt(words[begin : begin + length]):
                    if form in self._short:
                        return self._short[form]
        return None

    def _letter(self, text: str) -> int | None:
        """Find a name of one letter, or one that is a word such as "the", where it is meant as a name."""
        tokens = list(_WORD.finditer(text))
        for place, token in enumerate(tokens):
            row = self._letters.get(token[0].casefold())
            if row is None or token[0].islower():
                continue
            before = tokens[place - 1][0].casefold() if place else ""
            # "A dog" and "I see" begin with an article and a pronoun; "the letter A made of wood" has a name in it
            in_prose = re.match(r"\s+[a-z]", text[token.end() : token.end() + 9]) is not None
            if before in _SIGNS or not (in_prose and (len(token[0]) > 1 or token[0] in "AIO")):
                return row
        return None


def says_nothing(name: str) -> bool:
    """Tell whether a name is a single letter or a word such as "the", which sentences hold anyway."""
    return _says_nothing(_words(name))


def _says_nothing(words: tuple[str, ...]) -> bool:
    return len(words) == 1 and (words[0] in _FUNCTION or re.fullmatch("[a-z]", words[0]) is not None)


def _aliases(name: str) -> list[tuple[str, ...]]:
    """Return a name's aliases as words, the whole name first."""
    inner = [part for pair in _PARENTHESES.findall(name) for part in pair if part]
    outer = _PARENTHESES.sub(" ", name)
    # "petting animal (not cat)" and "passing (in game)" have no alias in parentheses
    inner = [_ALSO.sub("", part) for part in inner]
    inner = [part for part in inner if _words(part) and _words(part)[0] not in _FUNCTION]
    found = [_words(name)]
    for text in (outer, *inner):
        found.append(_words(text))
        for part in _LISTED.split(text):
            either = _alternatives(part)
            found += [words for words in (_words(part), *either) if _is_alias(words) and not _lacks_end(words, either)]
            found += [(*words, either[-1][-1]) for words in either if _lacks_end(words, either)]
    found += [words for words in map(_without_year, found) if words]
    return [words for words in dict.fromkeys(found) if words]


def _alternatives(part: str) -> list[tuple[str, ...]]:
    """Return what stands between slashes and "or"."""
    return [words for words in map(_words, _OR.split(part)) if words]


def _is_alias(words: tuple[str, ...]) -> bool:
    """Tell whether a part is a name by itself: "brown" of "dog, brown" is not."""
    if not any(len(word) > 1 and not word.isdigit() for word in words):
        return False
    return not all(word in _ATTRIBUTES or word in _FUNCTION for word in words)


def _lacks_end(words: tuple[str, ...], either: list[tuple[str, ...]]) -> bool:
    """Tell whether a word may be cut short by what follows, as "traffic" is in "traffic or street sign"."""
    return len(words) == 1 and len(either) > 1 and len(either[-1]) > 1


def _without_year(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return a name of several words without a year in front or behind; nothing where there is none."""
    if len(words) > 2 and _YEAR.fullmatch(words[0]):
        return words[1:]
    return words[:-1] if len(words) > 2 and _YEAR.fullmatch(words[-1]) else ()


def _short_forms(name: str) -> list[tuple[str, ...]]:
    """Return what one says for a name that is longer, as words."""
    outer = _PARENTHESES.sub(" ", name)
    found: list[tuple[str, ...]] = []
    every = [(words, either) for part in _LISTED.split(outer) if (either := _alternatives(part)) for words in either]
    for said, either in every:
        if _lacks_end(said, either) and _says_enough(said[0]):
            found.append(said)
        words = _without_year(said) or said
        # what is an X of something is another thing than X, and than something
        if len(words) < 2 or any(word in _PREPOSITIONS for word in words):
            continue
        found += [words[start:] for start in range(1, len(words)) if _is_short_form(words, start)]
        if words[-1] in _KINDS and _says_enough(words[-2]):
            found.append(words[:-1])
        if len(words) > 2 and words[-1] in _BODIES:
            found.append(words[:-1])
        if words[-1].isdigit() and words[-2][-1:].isdigit():
            # "Boeing 737-800": the model without its variant
            found += [words[start:-1] for start in range(len(words) - 1)]
    return found


def _is_short_form(words: tuple[str, ...], start: int) -> bool:
    if words[start] in _FUNCTION or not _says_enough(words[-1]):
        return False
    return start < len(words) - 1 or words[-2:] not in _NOT_THEIR_END


def _says_enough(word: str) -> bool:
    return len(word) > 2 and word.isalpha() and word not in _FUNCTION and word not in _ATTRIBUTES


def _ends_phrase(words: tuple[str, ...], end: int) -> bool:
    """Tell whether a phrase is whole before word ``end``: what follows is no noun, as far as one can see."""
    if end == len(words):
        return True
    after = words[end]
    return after in _FUNCTION or after in _AFTER or after.endswith(("ing", "ed", "s"))


def _stands_alone(words: tuple[str, ...], end: int) -> bool:
    """Tell whether a name that ends before word ``end`` is no attribute: "zebra stripes", "zebra striped couch"."""
    if end < len(words) and words[end] in _STILL_IT:
        return True
    if not _ends_phrase(words, end) or (end < len(words) and words[end] in _MADE_OF):
        return False
    behind = words[end + 1 : end + 2]
    adjective = end < len(words) and words[end].endswith("ed") and behind and behind[0].isalpha()
    return not adjective or behind[0] in _FUNCTION or behind[0] in _AFTER or behind[0].endswith("ly")


def _words(text: str) -> tuple[str, ...]:
    found = _WORD.findall(_plain(text))
    return tuple(word.removesuffix("'s") for word in found)


def _plain(text: str) -> str:
    """Fold case, width, accents of Latin letters, and what cannot be seen."""
    if text.isascii():
        return text.casefold()
    kept: list[str] = []
    base = ""
    for character in unicodedata.normalize("NFKD", same_name(text).replace("’", "'")):
        if not unicodedata.combining(character):
            base = character
        elif base < "\u0250":
            # in other scripts a mark makes another letter
            continue
        kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept)).translate(_SPELT)


def _forms(words: tuple[str, ...], *, of_name: bool = False) -> Iterable[tuple[str, ...]]:
    """Yield the words as they are and with the last one in the singular."""
    if not words:
        return
    yield words
    last = words[-1]
    if of_name and last in _NO_PLURALS:
        return
    for singular in _singulars(last):
        yield (*words[:-1], singular)


def _singulars(word: str) -> Iterable[str]:
    """Yield what a word may be the plural of."""
    if word in _IRREGULAR:
        yield _IRREGULAR[word]
    elif len(word) > 4 and word.endswith("men"):
        yield word[:-2] + "an"
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
