"""From the MLLM's answers to what a bank may hold: judge, clean, set aside with a reason, and count.

`AnswerReader` is the one place that turns a finished question into what is known from it (`Caption`, look-alikes);
`Tally` decides whether the answers of a task can be trusted; `NegativeTexts` keeps each text once.
"""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ants_engine.detector.class_list import ClassList
from ants_engine.dispatch.request import Outcome
from ants_engine.errors import (
    AuthenticationError,
    BudgetSpentError,
    EmptyAnswerError,
    ImageError,
    NotEnoughAnswersError,
    QuotaError,
    RefusedAnswerError,
    StoreError,
    TransientBackendError,
    TruncatedAnswerError,
    UnusableAnswerError,
    UsageError,
)
from ants_engine.learning.report import SetAside
from ants_engine.learning.state import Candidate, Caption
from ants_engine.method.answer import MAX_CHARACTERS, Rejection, clean_sentence, fold_spaces, plain_words, without_echo
from ants_engine.method.class_names import ClassNames
from ants_engine.method.labels import Labels, parse_labels, parse_numbered_labels, tidy_labels, whole_items
from ants_engine.method.mining import unlike
from ants_engine.method.verify import VerdictReader, declines
from ants_engine.method.yes_no import split_yes_no
from ants_engine.protocol import Answer
from ants_engine.settings.config import EnsSettings, Settings, VsnlSettings

# no other question would fare better: a replay without the answer, a store that cannot keep one, an MLLM that cannot be
# loaded, a key that is refused, a quota or the run's own budget that is spent
FATAL = (StoreError, UsageError, AuthenticationError, QuotaError, BudgetSpentError)

# Answers that do not depend on the question poison a bank, and no share of usable answers shows it. Ten pictures that
# are unlike by CLIP and nine in ten of all get one sentence: a model that sees them does not do that, be they of one
# scene. With fewer, or where a mere half gets the same, it may: that is worth a note, from three different ones on.
ENOUGH_ALIKE, NEARLY_ALL = 10, 0.9
FEW_ALIKE, NOTED_ALIKE = 3, 0.5
SAME_PICTURE = 0.98
"""Pictures whose CLIP features have at least this cosine, such as frames of one scene, rightly get one sentence."""
NOTED_WITHOUT_TEXT = 0.1
"""Share of questions without a text that is worth a note."""
LATEST, COMPARED, CAUSES = 1000, 256, 100
"""Answers that are remembered, pictures of the commonest one that are compared, and causes of failures that are told
apart: bounds for a long stream."""
LONGEST, SHOWN = 60, 60
"""Words of a sentence that are compared, and characters of an answer that a message shows."""
_ABOUT = {"ens": ("pictures", "sentence"), "vsnl": ("classes", "look-alike")}
_SHOWN = {"ens": "picture", "vsnl": "class's name"}
# a build has no use for the rest either when every question so far failed with one cause; a stream goes on scoring
ENDS_A_BUILD = (*FATAL, NotEnoughAnswersError)
# an MLLM asked for few words may run over; beyond this the rest says more about style than about the picture
WORDS_OVER = 3
# with fewer answers, a class that many of them name says nothing
MANY = 10
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)+)"')
_ARTICLE = re.compile(r"^(?:an?|the) ")
# these say that the MLLM failed its task; the others are good answers that are not needed: the bank has the text
# already or is full, or an ID class was rightly named
UNUSABLE = frozenset(
    {Rejection.EMPTY, Rejection.REFUSAL, Rejection.ECHO, Rejection.NOT_LATIN, Rejection.RAMBLING, Rejection.UNDECIDED}
)


class AnswerReport(Protocol):
    """What is written down about questions."""

    asked: int
    from_store: int
    failed: int
    prompt_tokens: int | None
    completion_tokens: int | None

    def put_aside(self, item: SetAside) -> None:
        """Note something that was not used."""
        ...


def sort_answers(
    outcomes: Iterable[tuple[str, Outcome | ImageError]], report: AnswerReport
) -> tuple[list[tuple[str, str]], list[Exception]]:
    """Sort finished questions, named by what they were about, into answers and errors, in the order given."""
    answers: list[tuple[str, str]] = []
    errors: list[Exception] = []
    for name, outcome in outcomes:
        error = outcome if isinstance(outcome, ImageError) else outcome.error
        if isinstance(outcome, ImageError):
            report.put_aside(SetAside("picture", outcome.name, str(outcome)))
        else:
            report.from_store += outcome.source == "store"
            report.asked += outcome.source != "store"
            if outcome.answer is not None:
                answers.append((name, outcome.answer.text))
                report.prompt_tokens = _plus(report.prompt_tokens, outcome.answer.prompt_tokens)
                report.completion_tokens = _plus(report.completion_tokens, outcome.answer.completion_tokens)
            if error is not None:
                report.put_aside(SetAside("request", name, f"{type(error).__name__}: {error}"))
        if error is not None:
            report.failed += 1
            errors.append(error)
    return answers, errors


@dataclass(slots=True)
class Tally:
    """How the answers of one task turned out: whether enough are usable, and whether they answer what was asked."""

    task: str
    """``ens`` or ``vsnl``."""
    asked: int = 0
    useless: int = 0
    """Questions that were not answered, and answers that are of no use at all."""
    without_text: int = 0
    """Questions that led to no text for the bank, for whatever reason."""
    cut: int = 0
    """Lists that a limit cut, and that were read up to their last whole item."""
    answered: int = 0
    """Questions that were answered, whatever came of it."""
    verified: int = 0
    """Pictures that were confirmed to show an ID class."""
    named: Counter[str] = field(default_factory=Counter)
    """ID classes that sentences named, which were set aside for it, and how many sentences."""
    _causes: dict[str, tuple[Exception, int]] = field(default_factory=dict)
    _said: deque[tuple[str, Tensor | None]] = field(default_factory=lambda: deque(maxlen=LATEST))

    def fail(self, error: Exception) -> None:
        """Count a question that was not answered, or whose answer is of no use."""
        self.useless += 1
        # refusals quote what was said, which differs each time; they are one cause all the same
        kind = type(error)
        one = issubclass(kind, UnusableAnswerError) and kind is not UnusableAnswerError
        key = kind.__name__ if one else f"{kind.__name__}: {error}"
        if key not in self._causes and len(self._causes) >= CAUSES:
            key = next(iter(self._causes))
        first, count = self._causes.get(key, (error, 0))
        self._causes[key] = (first, count + 1)

    def reject(self, reason: Rejection) -> None:
        """Count an answer that is of no use, read as it was."""
        self.fail(UnusableAnswerError(f"answer set aside: {reason}"))

    def hear(self, answer: Answer, class_name: str, feature: Tensor | None = None) -> None:
        """Remember an answer, to be compared with the others.

        Args:
            answer: as it was kept.
            class_name: the ID class that the question named: an answer that differs from another in it alone is the
                same.
            feature: (D,) of the picture that was shown; where none was, every question counts as different.
        """
        self.answered += 1
        self.cut += answer.finish_reason == "length"
        sentence = clean_sentence(answer.text, LONGEST) if self.task == "ens" else answer.text
        text = plain_words(answer.text if isinstance(sentence, Rejection) else sentence)
        own = plain_words(class_name)
        self._said.append((f" {text} ".replace(f" {own} ", " … ").strip() if own else text, feature))

    def check(self, least: float) -> None:
        """Refuse to go on with too few usable answers, or with answers that do not depend on the question.

        A single failure never ends a run of several questions.

        Args:
            least: share of usable answers that is enough (``dispatch.min_success``); with 0 everything is.

        Raises:
            NotEnoughAnswersError: it holds each cause once.
        """
        good, few = self.asked - self.useless, 1 if self.asked > 1 else 0
        if self.useless > few and good / self.asked < least:
            ranked = sorted(self._causes.values(), key=lambda cause: -cause[1])
            spelled = "; ".join(f"{count} × {type(error).__name__}: {error}" for error, count in ranked[:5])
            raise NotEnoughAnswersError(
                f"{self.task}: {good} of {self.asked} answers can be used, {least:.0%} are needed "
                f"(dispatch.min_success). {spelled}. "
                "What was answered is kept; run again, or try another template or MLLM",
                [error for error, _ in ranked],
            )
        text, count, different = self._commonest()
        if least > 0 and different >= ENOUGH_ALIKE and count >= NEARLY_ALL * self._heard:
            message = (
                f"{self._in_words(text, count)}: the {_SHOWN[self.task]} does not seem to reach the MLLM. See whether "
                "this model and this server take what they are sent, or set dispatch.min_success = 0 if that is right"
            )
            raise NotEnoughAnswersError(message, [UnusableAnswerError(message)])

    def notes(self) -> list[str]:
        """Say what a reader should know about the answers."""
        about, what = _ABOUT[self.task]
        notes = self._names_noted()
        if self.asked and self.without_text >= NOTED_WITHOUT_TEXT * self.asked:
            notes.append(f"{self.task}: {self.without_text} of {self.asked} {about} have no {what}")
        if self.cut:
            notes.append(
                f"{self.task}: {self.cut} of {self.asked} lists were cut off and read up to their last whole item; "
                f"raise {self.task}.max_new_tokens"
            )
        text, count, different = self._commonest()
        if different >= FEW_ALIKE and count >= NOTED_ALIKE * self._heard:
            notes.append(f"{self._in_words(text, count)}: does the {_SHOWN[self.task]} reach the MLLM?")
        return notes

    def _names_noted(self) -> list[str]:
        """Say where one class's name is so common a word that it costs half of the answers or more."""
        found = self.named.most_common(1)
        if self.answered < MANY or not found or 2 * found[0][1] < self.answered:
            return []
        name, count = found[0]
        return [
            f"{count} of {self.answered} sentences were set aside because they name the class {name!r}; where that is "
            "too common a word, or the pictures are not of that class, give it a name that says more"
        ]

    def _in_words(self, text: str, count: int) -> str:
        about, what = _ABOUT[self.task]
        shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        return f"{self.task}: {count} of {self._heard} {about} got the same {what} ({shown!r})"

    @property
    def _heard(self) -> int:
        """Answers that are compared; a yes counts: one sentence for all the other pictures may then be right."""
        return len(self._said) + self.verified

    def _commonest(self) -> tuple[str, int, int]:
        """Return the commonest answer, how often it was given, and to how many different questions, up to a bound."""
        if not self._said:
            return "", 0, 0
        (text, count), *_ = Counter(said for said, _ in self._said).most_common(1)
        features = [feature for said, feature in self._said if said == text and feature is not None][:COMPARED]
        if not features:
            return text, count, count
        rows = torch.stack(features)
        return text, count, sum(unlike(rows, rows[:0], SAME_PICTURE))


class AnswerReader:
    """Reads finished questions: what is known from each goes to the caller, why it is nothing to tally and report."""

    def __init__(
        self,
        classes: ClassList,
        settings: Settings,
        fits: Callable[[str], bool],
        report: AnswerReport,
        tallies: Mapping[str, Tally],
        *,
        verifies: bool = False,
    ) -> None:
        """Prepare.

        Args:
            classes: the ID classes.
            settings: how answers are read.
            fits: tells whether CLIP's text context holds a text.
            report: told of every answer, and of everything that is set aside.
            tallies: per task (``ens``, ``vsnl``), its tally.
            verifies: captions answer a template that verifies or describes.
        """
        self._classes = classes
        self._settings = settings
        self._fits = fits
        self._report = report
        self._tallies = tallies
        self._names = ClassNames(classes.names)
        most = WORDS_OVER * settings.ens.max_words
        self._verifier = VerdictReader(classes.names, most) if verifies else None

    def caption(self, item: Candidate, outcome: Outcome | ImageError, feature: Tensor | None) -> Caption:
        """Read what was said of a picture with a CLIP feature (D,) (paper eq. 7).

        Raises:
            ANTSError: one of `FATAL`, which would meet every question.
        """
        tally = self._tallies["ens"]
        answer = self._answer(item.name, outcome, tally)
        if answer is None:
            tally.without_text += 1
            return Caption(None, item.name)
        said = None if self._verifier is None else self._verifier.read(answer.text, item.predicted)
        if said is not None and said.is_id:
            tally.verified += 1
            return Caption(None, item.name, is_id=True)
        tally.hear(answer, self._classes.names[item.predicted], feature)
        text: str | Rejection
        if said is None:
            text = read_sentence(answer.text, self._names, self._settings.ens, self._fits)
        elif said.sentence is None:
            text = said.rejection or Rejection.EMPTY
        else:
            text = fitting(said.sentence, self._names, self._settings.ens, self._fits)
        is_id = None if said is None else said.is_id
        if not isinstance(text, Rejection):
            return Caption(text, item.name, is_id)
        self._set_aside(answer.text, text)
        if is_id is None:
            # a no without a description is an answer, if only to the judge
            self._reject(text, tally)
        if text is Rejection.NAMES_ID_CLASS and (row := self._names.find(answer.text)) is not None:
            tally.named[self._classes.names[row]] += 1
        tally.without_text += 1
        return Caption(None, item.name, is_id)

    def look_alikes(self, index: int, outcome: Outcome | ImageError) -> tuple[str, ...] | None:
        """Read the look-alikes of a class (paper eq. 11); None where it should be asked again.

        Raises:
            ANTSError: one of `FATAL`, which would meet every question.
        """
        tally, name = self._tallies["vsnl"], self._classes.names[index]
        labels: tuple[str, ...] = ()
        answer = self._answer(name, outcome, tally)
        if answer is not None:
            tally.hear(answer, name)
            found = read_labels(answer.text, name, self._names, self._settings.vsnl)
            labels = found.labels
            for text, reason in found.rejected:
                self._set_aside(text, reason)
            if found.rejection is not None:
                self._reject(found.rejection, tally)
                if not found.rejected:
                    self._set_aside(answer.text, found.rejection)
        tally.without_text += not labels
        # the MLLM was away, or was not asked any more: that says nothing of the class
        away = isinstance(outcome, Outcome) and isinstance(outcome.error, TransientBackendError | NotEnoughAnswersError)
        return None if away else labels

    def _answer(self, name: str, outcome: Outcome | ImageError, tally: Tally) -> Answer | None:
        if isinstance(outcome, Outcome) and isinstance(outcome.error, FATAL):
            raise outcome.error
        _, failed = sort_answers([(name, outcome)], self._report)
        tally.asked += 1
        for error in failed:
            tally.fail(error)
        return outcome.answer if isinstance(outcome, Outcome) else None

    def _set_aside(self, text: str, reason: Rejection) -> None:
        self._report.put_aside(set_text_aside(text, reason))

    def _reject(self, reason: Rejection, tally: Tally) -> None:
        if reason in UNUSABLE:
            tally.reject(reason)


@dataclass(slots=True)
class NegativeTexts:
    """Texts with their sources, in the order of the questions, and what was set aside."""

    texts: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    unusable_reasons: list[Rejection] = field(default_factory=list)
    """Why answers were of no use at all: one entry per answer that the MLLM failed to give."""
    _seen: set[str] = field(default_factory=set)

    @property
    def unusable(self) -> int:
        """Return how many answers were of no use at all."""
        return len(self.unusable_reasons)

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

    def kept(self) -> list[tuple[str, str]]:
        """Return the texts with their sources."""
        return list(zip(self.texts, self.sources, strict=True))

    def drop(self, text: str, reason: Rejection) -> None:
        """Set a text aside."""
        self.set_aside.append(set_text_aside(text, reason))


def set_text_aside(text: str, reason: Rejection) -> SetAside:
    """Return a note, with the beginning of a text that is not used."""
    short = fold_spaces(text[: 4 * SHOWN])
    return SetAside("text", short if len(short) <= SHOWN else short[: SHOWN - 1] + "…", reason.value)


def read_sentence(raw: str, names: ClassNames, settings: EnsSettings, fits: Callable[[str], bool]) -> str | Rejection:
    """Clean one ENS answer, or say why it is not used."""
    if settings.reader == "reference":
        # the public code takes all of it, and lets its token limit bound it; nobody bounds what a server sends
        return next(iter(tidy_labels([raw[: 4 * MAX_CHARACTERS]])), Rejection.EMPTY)
    cleaned = clean_sentence(raw, WORDS_OVER * settings.max_words)
    if isinstance(cleaned, Rejection):
        return cleaned
    return fitting(cleaned, names, settings, fits)


def fitting(sentence: str, names: ClassNames, settings: EnsSettings, fits: Callable[[str], bool]) -> str | Rejection:
    """Cut a clean sentence to CLIP's text context; one that names an ID class is not used."""
    if settings.drop_id_names and names.find(sentence) is not None:
        return Rejection.NAMES_ID_CLASS
    while not fits(sentence) and " " in sentence:
        sentence = sentence.rpartition(" ")[0]
    return sentence


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


def _plus(so_far: int | None, more: int | None) -> int | None:
    """Add tokens; what nobody counted stays unknown."""
    return so_far if more is None else (so_far or 0) + more
