"""From the MLLM's answers to negative texts: clean them, set aside what must not become a label, keep the order."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ants_engine.detector.class_list import ClassList
from ants_engine.errors import EmptyAnswerError, RefusedAnswerError, TruncatedAnswerError, UnusableAnswerError
from ants_engine.learning.report import SetAside
from ants_engine.method.answer import MAX_CHARACTERS, Rejection, fold_spaces, plain_words, without_echo
from ants_engine.method.class_names import ClassNames
from ants_engine.method.labels import Labels, parse_labels, parse_numbered_labels, tidy_labels, whole_items
from ants_engine.method.sentence import clean_sentence
from ants_engine.method.verify import declines
from ants_engine.method.yes_no import split_yes_no
from ants_engine.settings.config import EnsSettings, VsnlSettings

SHOWN = 60
# an MLLM asked for few words may run over; beyond this the rest says more about style than about the picture
WORDS_OVER = 3
# fewer answers say nothing of a name
MANY = 10
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)+)"')
_ARTICLE = re.compile(r"^(?:an?|the) ")
# these say that the MLLM failed its task; the others are good answers that are not needed: the bank has the text
# already or is full, or an ID class was rightly named
UNUSABLE = frozenset(
    {Rejection.EMPTY, Rejection.REFUSAL, Rejection.ECHO, Rejection.NOT_LATIN, Rejection.RAMBLING, Rejection.UNDECIDED}
)


@dataclass(slots=True)
class NegativeTexts:
    """Texts with their sources, in the order of the questions, and what was set aside."""

    texts: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    unusable_reasons: list[Rejection] = field(default_factory=list)
    """Why answers were of no use at all: one entry per answer that the MLLM failed to give."""
    named: Counter[str] = field(default_factory=Counter)
    """ID classes that sentences named, which were set aside for it, and how many sentences."""
    bare: int = 0
    """Answers that gave no text, be it their fault or not."""
    _seen: set[str] = field(default_factory=set)

    @property
    def unusable(self) -> int:
        """Return how many answers were of no use at all."""
        return len(self.unusable_reasons)

    def notes(self, answers: int) -> list[str]:
        """Say where one class's name is so common a word that it costs half of the answers or more."""
        found = self.named.most_common(1)
        if answers < MANY or not found or 2 * found[0][1] < answers:
            return []
        name, count = found[0]
        return [
            f"{count} of {answers} sentences were set aside because they name the class {name!r}; where that is too "
            "common a word, or the pictures are not of that class, give it a name that says more"
        ]

    def keep(self, text: str, source: str, room: int | None = None) -> None:
        """Add a text unless it is there, ignoring case, or there is no room."""
        if text.casefold() in self._seen:
            self.drop(text, Rejection.DUPLICATE)
        elif room is not None and len(self.texts) >= room:
            self.drop(text, Rejection.BANK_FULL)
        else:
            self._seen.add(text.casefold())
            self.texts.append(text)
            self.sources.append(source)

    def drop(self, text: str, reason: Rejection) -> None:
        """Set a text aside."""
        self.set_aside.append(set_text_aside(text, reason))


def set_text_aside(text: str, reason: Rejection) -> SetAside:
    """Return a note, with the beginning of a text that is not used."""
    short = fold_spaces(text[: 4 * SHOWN])
    return SetAside("text", short if len(short) <= SHOWN else short[: SHOWN - 1] + "…", reason.value)


def sentences(
    answers: Sequence[tuple[str, str]], classes: ClassList, settings: EnsSettings, fits: Callable[[str], bool]
) -> NegativeTexts:
    """Clean ENS answers, given as (picture name, raw answer) (paper eq. 7).

    A sentence that is longer than CLIP's text context loses its last words until it ``fits``, as CLIP would cut it.
    Of sentences that are equal but for case the first is kept; when more than ``bank_size`` remain, the first ones.
    """
    result = NegativeTexts()
    names = ClassNames(classes.names)
    for source, raw in answers:
        sentence = read_sentence(raw, names, settings, fits)
        if isinstance(sentence, Rejection):
            result.unusable_reasons += [sentence] if sentence in UNUSABLE else []
            result.bare += 1
            result.drop(raw, sentence)
            if sentence is Rejection.NAMES_ID_CLASS and (row := names.find(raw)) is not None:
                result.named[classes.names[row]] += 1
        else:
            result.keep(sentence, source, settings.bank_size)
    return result


def read_sentence(raw: str, names: ClassNames, settings: EnsSettings, fits: Callable[[str], bool]) -> str | Rejection:
    """Clean one ENS answer, or say why it is not used."""
    if settings.reader == "reference":
        # the public code takes all of it, and lets its token limit bound it; nobody bounds what a server sends
        return next(iter(tidy_labels([raw[: 4 * MAX_CHARACTERS]])), Rejection.EMPTY)
    cleaned = clean_sentence(raw, WORDS_OVER * settings.max_words)
    if isinstance(cleaned, Rejection):
        return cleaned
    if settings.drop_id_names and names.find(cleaned) is not None:
        return Rejection.NAMES_ID_CLASS
    while not fits(cleaned) and " " in cleaned:
        cleaned = cleaned.rpartition(" ")[0]
    return cleaned


def look_alikes(answers: Sequence[tuple[str, str]], classes: ClassList, settings: VsnlSettings) -> NegativeTexts:
    """Read VSNL answers, given as (ID class, raw answer) (paper eq. 11): labels that are no ID class themselves."""
    result = NegativeTexts()
    names = ClassNames(classes.names)
    for source, raw in answers:
        found = read_labels(raw, source, names, settings)
        for text, reason in found.rejected:
            result.drop(text, reason)
        if found.rejection is not None:
            result.unusable_reasons += [found.rejection] if found.rejection in UNUSABLE else []
            result.bare += 1
            if not found.rejected:
                result.drop(raw, found.rejection)
        for label in found.labels:
            result.keep(label, source)
    return result


def read_labels(raw: str, asked: str, names: ClassNames, settings: VsnlSettings) -> Labels:
    """Read one VSNL answer about the class ``asked``."""
    if settings.reader == "reference":
        labels = tuple(parse_numbered_labels(raw, settings.labels_per_class))
        return Labels(labels, rejection=None if labels else Rejection.EMPTY)
    return parse_labels(raw, settings.labels_per_class, asked=asked, class_names=names)


def judge_caption(text: str, prompt: str, cut: bool) -> str | type[UnusableAnswerError]:
    """Judge an ENS answer before it is kept (see `Judge`): one that was cut off is of no use."""
    said = without_echo(text, prompt)
    if not said:
        return EmptyAnswerError
    if clean_sentence(said, SHOWN) is Rejection.REFUSAL:
        return RefusedAnswerError
    return TruncatedAnswerError if cut else said


def judge_verdict(text: str, prompt: str, cut: bool) -> str | type[UnusableAnswerError]:
    """Judge an answer to verify-or-describe before it is kept (see `Judge`).

    A yes is whole where what follows it was cut off. A no is not: what the picture shows instead may be an ID class.
    """
    said = without_echo(text, prompt)
    words = plain_words(text)
    if not said and split_yes_no(text).said is not None and f" {words} " not in f" {plain_words(prompt)} ":
        # "Yes, the picture does show a lion" has only words of the question, and is an answer
        said = text
    if not said and _ARTICLE.sub("", words) in map(plain_words, _QUOTED.findall(prompt)):
        # so is the class's name alone
        said = text
    if not said:
        return EmptyAnswerError
    found = split_yes_no(said)
    if declines(found.rest, found.said is not None):
        return RefusedAnswerError
    return TruncatedAnswerError if cut and not found.said else said


def judge_labels(text: str, prompt: str, cut: bool) -> str | type[UnusableAnswerError]:
    """Judge a VSNL answer before it is kept (see `Judge`): of a list that was cut off, the whole items are kept."""
    said = without_echo(text, prompt)
    if not said:
        return EmptyAnswerError
    if parse_labels(said, 1).rejection is Rejection.REFUSAL:
        return RefusedAnswerError
    return (whole_items(said) or TruncatedAnswerError) if cut else said
