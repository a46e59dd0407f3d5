"""The ID classes: their names and the texts that stand for each of them in CLIP."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from ants_engine.errors import ClassListError
from ants_engine.method.answer import is_latin
from ants_engine.method.class_names import same_name, says_nothing, spoken_name, synonyms, tidy_name

IMAGENET_TWICE = frozenset({"missile", "sunglasses", "crane", "maillot", "cardigan"})
"""What ImageNet calls two classes each: OpenAI's names for CLIP the first two, WordNet's first synonyms the others."""
LONG, VERY_LONG = 100, 10_000
"""From so many names on, a name may occur twice if ImageNet has it twice, or if at most one name in ten does."""
ID_HEADINGS = frozenset(
    {"id", "ids", "index", "idx", "no", "number", "wnid", "synset", "class id", "class index", "synset id"}
)
HEADINGS = ID_HEADINGS | {
    "name", "names", "class", "classes", "classname", "classnames", "class name", "class names", "label", "labels",
    "label name", "labelname", "category", "categories", "category name", "title", "species", "display name",
    "displayname",
}  # fmt: skip
"""What the first cell or line of a table says, and no class is called at the head of a list."""
SHOWN = 8

_WORDNET_ID = re.compile(r"(n\d{8})(?:(?:\s*[-_:,;]\s*|\s+)(\S.*))?")
_NUMBERED = re.compile(r"\(?(\d+)(?:\s*[:.,;)=]\s*|\s+-\s+|\s+)(\S.*)")
_GLUED_NUMBER = re.compile(r"\d+[,;:](?=[^\W\d_])")
_MARKED_NUMBER = re.compile(r"(\d+)(?:\s*[:=)]\s*|\.\s+)\S.*")
_NUMBERS_BEHIND = re.compile(r"\S.*?(?:\s+\d+){2,}")
_BULLET = re.compile(r"[-*•·]\s+(?=\S)")
_QUOTED = re.compile(r"(['\"])(.+)\1")
_WORDS = re.compile(r"[^\W\d_]+(?: [^\W\d_]+)+")
_PATH = re.compile(r"(?:\.{0,2}/|~/|[A-Za-z]:\\).*|.*\.(?:txt|csv|tsv|json|ya?ml|lst|jpe?g|png|gif|webp|npz)", re.I)


@dataclass(frozen=True, slots=True)
class ClassList:
    """``names`` (C,) and, for each, one or more prompt texts."""

    names: tuple[str, ...]
    """As given, in NFC; a name that a published list holds twice stands here twice."""
    prompts: tuple[tuple[str, ...], ...]
    template: str = "{}"
    """How a further name is written so that it compares with these: the template that the prompts have in common."""
    own_template: bool = True
    """Whether ``template`` is what the prompts were made with, and not a default for want of one in common."""
    notes: tuple[str, ...] = ()
    """What a user should know of these names."""

    def __len__(self) -> int:
        """Return C."""
        return len(self.names)

    def __str__(self) -> str:
        """Return one line: how many there are, and the first of them."""
        shown = ", ".join(name if len(name) <= 40 else name[:39] + "…" for name in self.names[:SHOWN])
        rest = ", …" if len(self) > SHOWN else ""
        return f"{len(self)} class{'es' if len(self) > 1 else ''}: {shown}{rest}"

    @classmethod
    def of(
        cls, id_classes: "Iterable[str] | Mapping[str, str | Iterable[str]] | ClassList", template: str
    ) -> "ClassList":
        """Check what a user gave: names, or a mapping name → prompt text(s); or a list that has been checked.

        A name's prompt has spaces for underscores and, of a list of synonyms as WordNet writes it ("lion, king of
        beasts, Panthera leo"), the first one, unless another class begins with the same. Prompts of a mapping are taken
        as they are.

        A name twice is a mistake, unless a published list has it so: see `IMAGENET_TWICE` and `VERY_LONG`.

        Raises:
            ClassListError: none at all; a blank, duplicate or non-text entry; or, without prompts, one that seems to be
                something else than a name (a number, a heading, a path, several names in one). All of them are named,
                and what to write instead.
        """
        if isinstance(id_classes, ClassList):
            return id_classes
        given = _entries(id_classes)
        with_prompts = isinstance(id_classes, Mapping)
        problems: list[tuple[int, str]] = []
        names: list[str] = []
        places: list[int] = []
        prompts: list[tuple[str, ...] | None] = []
        for place, (name, texts) in enumerate(given):
            if not isinstance(name, str):
                problems.append((place, f"is a {type(name).__name__}, not a text"))
                continue
            clean = tidy_name(name)
            if not same_name(clean):
                problems.append((place, "is blank"))
                continue
            # a mapping's prompts say what a class is, whatever it is called
            doubt = None if with_prompts else _doubt(clean, heads_a_list=place == 0 and len(given) > 1)
            if doubt is not None:
                problems.append((place, f"{clean!r} {doubt}"))
            own = _prompt_texts(texts) if with_prompts else ()
            if own is None:
                problems.append((place, f"{clean!r} has a prompt that is blank or no text"))
            names.append(clean)
            places.append(place)
            prompts.append(own)
        problems += _repeats(names, places, may_repeat=not with_prompts)
        if not problems and not with_prompts:
            problems += _doubts_about_all(names)
        if problems:
            _refuse(problems)
        spoken = _spoken(names)
        # replace, not format: a class name is data and may hold braces
        texts_of = [own or (template.replace("{}", said),) for own, said in zip(prompts, spoken, strict=True)]
        shared = template if not with_prompts else _common_template([*zip(names, spoken, strict=True)], texts_of)
        notes = _notes(names, spoken, with_prompts=with_prompts)
        return cls(tuple(names), tuple(texts_of), shared or template, shared is not None, notes)

    @classmethod
    def saved(cls, prompts: Mapping[str, Sequence[str]], order: Sequence[str] | None, template: str) -> "ClassList":
        """Put a list together that `order` and a mapping of its names to their prompts were kept of.

        Raises:
            ClassListError: they are not of one list.
        """
        if order is None:
            return cls.of(prompts, template)
        names = tuple(tidy_name(name) for name in order)
        if (
            not all(map(same_name, names))
            or set(order) != set(prompts)
            or not all(map(_prompt_texts, prompts.values()))
        ):
            raise ClassListError("the order of the classes names others than there are, or one is blank")
        texts = [tuple(prompts[name]) for name in order]
        shared = _common_template([*zip(names, _spoken([*names]), strict=True)], texts)
        return cls(names, tuple(texts), shared or template, shared is not None)

    def order(self) -> tuple[str, ...] | None:
        """Return the names where two are the same, so that no mapping keeps them; else None."""
        return self.names if len({same_name(name) for name in self.names}) < len(self) else None

    def check_length(self, fits: Callable[[str], bool]) -> None:
        """Refuse prompts that CLIP's text context would cut.

        Raises:
            ClassListError: names the classes whose text is too long.
        """
        long = [name for name, texts in zip(self.names, self.prompts, strict=True) if not all(map(fits, texts))]
        if long:
            shown = ", ".join(repr(name if len(name) <= 60 else name[:57] + "…") for name in long[:5])
            raise ClassListError(f"longer than the text context of this CLIP model: {shown}; shorten these class texts")


def without_numbers(names: Sequence[str]) -> list[str] | None:
    """Return the names of a numbered list ("0 lion", "1: elephant") without their numbers; None where it is none.

    They are a list's own numbers only if they run from 0 or 1 on without a gap, and the names differ without them:
    "7-up", "2012 BMW 3 Series" and "1 euro, 2 euro" are names.
    """
    matches = [_NUMBERED.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match is not None]
    rest = [match[2].strip() for match in matches if match is not None]
    runs = len(numbers) == len(names) > 1 and numbers[0] in (0, 1)
    runs = runs and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return rest if runs and len({same_name(name) for name in rest}) == len(rest) else None


def without_wordnet_ids(names: Sequence[str]) -> list[str] | None:
    """Return the names behind WordNet's ids ("n01440764 tench, Tinca tinca"); None unless every name has one."""
    matches = [_WORDNET_ID.fullmatch(name) for name in names]
    rest = [match[2] for match in matches if match is not None and match[2]]
    return rest if names and len(rest) == len(names) else None


def _entries(id_classes: Any) -> list[tuple[Any, Any]]:
    """Return what was given as pairs of a name and its prompts.

    Raises:
        ClassListError: it is no list and no mapping name → prompts.
    """
    if isinstance(id_classes, (str, bytes)):
        shown = id_classes[:40] if isinstance(id_classes, str) else id_classes[:40].decode("utf-8", "replace")
        parts = [part.strip() for part in re.split(r"[,;\n]", shown) if part.strip()]
        raise ClassListError(f"id_classes is one text ({shown!r}); give a list of names: {parts[:3]!r}")
    if isinstance(id_classes, AbstractSet) and not isinstance(id_classes, Mapping):
        raise ClassListError(
            "id_classes is a set, whose order changes from run to run; give a list, e.g. sorted(id_classes)"
        )
    if not isinstance(id_classes, Mapping):
        given = [(name, None) for name in id_classes]
    else:
        given = list(id_classes.items())
        if given and all(isinstance(value, int) for _, value in given):
            raise ClassListError(
                "id_classes maps names to numbers; give the names in that order: sorted(id_classes, key=id_classes.get)"
            )
        if given and all(isinstance(name, int) for name, _ in given):
            raise ClassListError(
                "id_classes maps numbers to names; give the names in that order: "
                "[id_classes[i] for i in sorted(id_classes)]"
            )
    if not given:
        raise ClassListError("id_classes is empty; at least one class name is needed")
    return given


def _doubt(name: str, *, heads_a_list: bool) -> str | None:
    """Say what a name seems to be instead of one, and what to write; None where it is a name."""
    doubt: str | None = None
    if name.isascii() and not any(map(str.isalnum, name)):
        return "has no letter or digit; write its name"
    if re.match(r"</?[A-Za-z][^<>]*>", name):
        return "is markup; write the name alone"
    cells = [same_name(cell.replace("_", " ").replace("-", " ")) for cell in re.split(r"[,;\t]", name)]
    if name[-1] in ",;:" and name.strip(",;: "):
        doubt = f"ends in {name[-1]!r}; write {name.rstrip(',;: ')!r}"
    elif quoted := _QUOTED.fullmatch(name):
        doubt = f"stands in quotes; write {quoted[2]}"
    elif bullet := _BULLET.match(name):
        doubt = f"begins with a bullet; write {name[bullet.end() :]!r}"
    elif number := _GLUED_NUMBER.match(name):
        doubt = f"begins with a number; write {name[number.end() :].strip()!r}"
    elif _PATH.fullmatch(name):
        doubt = "is a path; give the names, or, with ants …, a file of them as --classes FILE"
    elif heads_a_list and all(cell in HEADINGS for cell in cells):
        doubt = "is the heading of a table; leave it out (ants …: say which column holds the names, --column NAME)"
    elif found := _WORDNET_ID.fullmatch(name):
        doubt = f"begins with an id; write {found[2]!r}" if found[2] else "is an id, in no caption; write its name"
    return doubt


def _doubts_about_all(names: list[str]) -> list[tuple[int, str]]:
    """Say what is wrong with names that are no doubt each by itself."""
    # SVHN and MNIST name their classes "0 - zero"
    bare = None if all(re.match(r"\d+ - ", name) for name in names) else without_numbers(names)
    if bare is not None:
        return [(0, f"{names[0]!r} and all others are numbered; write {', '.join(map(repr, bare[:3]))} …")]
    shared = _shared_doubt(names) if len(names) > 1 else None
    if shared is not None:
        return [(0, f"{names[0]!r} and all others {shared}")]
    name = names[0]
    parts = [part.strip() for part in re.split(r"[,;]", name) if part.strip()]
    words = name.split()
    # a list names nothing twice
    in_words = len(words) > 2 and len({*map(same_name, words)}) == len(words) and _WORDS.fullmatch(name) is not None
    if len(names) == 1 and (len(parts) > 1 or in_words):
        several = parts if len(parts) > 1 else words
        alone = parts[0] if len(parts) > 1 else "_".join(words)
        return [
            (
                0,
                f"{name[:60]!r} is one class; for {len(several)} classes give each an entry of its own (ants …: a "
                f"line, or with commas: {', '.join(several[:3])}), and for one class write {alone!r}",
            )
        ]
    return []


def _shared_doubt(names: list[str]) -> str | None:
    """Say what numbers do in names that all have them."""
    numbers = [int(match[1]) for match in map(_MARKED_NUMBER.fullmatch, names) if match is not None]
    doubt: str | None = None
    if len(numbers) == len(names) and numbers == sorted({*numbers}):
        doubt = "begin with a number; write the names alone, in the order you want"
    elif all(map(_NUMBERS_BEHIND.fullmatch, names)):
        doubt = "end in numbers; write the names alone"
    return doubt


def _repeats(names: list[str], places: list[int], *, may_repeat: bool) -> list[tuple[int, str]]:
    first: dict[str, int] = {}
    repeated: list[tuple[int, str]] = []
    keys: list[str] = []
    for name, place in zip(names, places, strict=True):
        key = same_name(name)
        if key in first:
            keys.append(key)
            repeated.append((place, f"{name!r} is the same as #{first[key]}"))
        first.setdefault(key, place)
    if not may_repeat or not keys:
        return repeated
    of_imagenet = len(names) >= LONG and set(keys) <= IMAGENET_TWICE and max(Counter(keys).values()) == 1
    return [] if of_imagenet or (len(names) >= VERY_LONG and 10 * len(keys) <= len(names)) else repeated


def _refuse(problems: list[tuple[int, str]]) -> None:
    ordered = [f"#{place} {what}" for place, what in sorted(problems, key=lambda problem: problem[0])]
    shown = "; ".join(ordered[:10]) + (f"; and {len(ordered) - 10} more" if len(ordered) > 10 else "")
    raise ClassListError(f"id_classes cannot be used: {shown}")


def _spoken(names: list[str]) -> list[str]:
    """Return what each class is called in a prompt."""
    first = [spoken_name(synonyms(name)[0]) for name in names]
    # two classes that begin with the same synonym, and are not the same name, are told apart by all that is said
    sharing = Counter(same_name(said) for said in first)
    return [
        said if sharing[same_name(said)] == 1 and any(map(str.isalpha, said)) else spoken_name(name)
        for name, said in zip(names, first, strict=True)
    ]


def _notes(names: list[str], spoken: list[str], *, with_prompts: bool) -> tuple[str, ...]:
    notes: list[str] = []
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(same_name(name), []).append(place)
    twice = {names[found[0]]: found for found in places.values() if len(found) > 1}
    if twice:
        shown = _some([f"{name} ({', '.join(map(str, found))})" for name, found in twice.items()])
        notes.append(
            f"{len(twice)} names stand for several classes, as in the published list: {shown}; these cannot be told "
            "apart and are predicted as the first; give them names of their own where that matters"
        )
    if not with_prompts:
        listed = [f"{said} ({name})" for name, said in zip(names, spoken, strict=True) if said != spoken_name(name)]
        if listed:
            notes.append(
                f"{len(listed)} names are lists of synonyms; CLIP is asked for the first, and an answer that has any "
                f"of them names the class: {_some(listed)}"
            )
    foreign = [name for name in names if not is_latin(name)]
    if foreign:
        notes.append(
            f"{len(foreign)} of {len(names)} class names are not in Latin script ({_some(foreign)}), which CLIP's text "
            "encoder hardly reads; answers in another script are set aside, and an English answer that names such a "
            "class is not recognised: give English names"
        )
    letters = [name for name in names if says_nothing(name)]
    if letters:
        notes.append(
            f"{len(letters)} class names are single letters or little words ({_some(letters)}); an answer names such a "
            'class only where it is written as a name is, as in "the letter A"'
        )
    return tuple(notes)


def _some(texts: list[str], count: int = 3) -> str:
    return ", ".join(texts[:count]) + (", …" if len(texts) > count else "")


def _common_template(names: list[tuple[str, str]], prompts: list[tuple[str, ...]]) -> str | None:
    """Return the one template that a user's own prompts were evidently made with, of names or of what is said."""
    if any(len(texts) > 1 for texts in prompts):
        return None
    for written in range(2):
        found = {texts[0].replace(name[written], "{}") for name, texts in zip(names, prompts, strict=True)}
        template = found.pop()
        if not found and template.count("{}") == 1:
            return template
    return None


def _prompt_texts(texts: Any) -> tuple[str, ...] | None:
    listed = [texts] if isinstance(texts, str) else list(texts) if isinstance(texts, Iterable) else []
    if not listed or not all(isinstance(text, str) and text.strip() for text in listed):
        return None
    return tuple(listed)
