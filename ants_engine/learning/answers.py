"""How finished questions are sorted into answers and errors, with everything written into a report."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ants_engine.dispatch.request import Outcome
from ants_engine.errors import (
    AuthenticationError,
    BudgetSpentError,
    ImageError,
    NotEnoughAnswersError,
    QuotaError,
    StoreError,
    UnusableAnswerError,
    UsageError,
)
from ants_engine.learning.report import SetAside
from ants_engine.method.answer import Rejection, plain_words
from ants_engine.method.near_duplicates import unlike
from ants_engine.method.sentence import clean_sentence
from ants_engine.protocol import Answer

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
NOTED_BARE = 0.1
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
    bare: int = 0
    """Questions of which no text came, be it the answer's fault or not."""
    cut: int = 0
    """Lists that a limit cut, and that were read up to their last whole item."""
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
        if least > 0 and different >= ENOUGH_ALIKE and count >= NEARLY_ALL * len(self._said):
            message = (
                f"{self._in_words(text, count)}: the {_SHOWN[self.task]} does not seem to reach the MLLM. See whether "
                "this model and this server take what they are sent, or set dispatch.min_success = 0 if that is right"
            )
            raise NotEnoughAnswersError(message, [UnusableAnswerError(message)])

    def notes(self) -> list[str]:
        """Say what a reader should know about the answers."""
        about, what = _ABOUT[self.task]
        notes: list[str] = []
        if self.asked and self.bare >= NOTED_BARE * self.asked:
            notes.append(f"{self.task}: {self.bare} of {self.asked} {about} have no {what}")
        if self.cut:
            notes.append(
                f"{self.task}: {self.cut} of {self.asked} lists were cut off and read up to their last whole item; "
                f"raise {self.task}.max_new_tokens"
            )
        text, count, different = self._commonest()
        if different >= FEW_ALIKE and count >= NOTED_ALIKE * len(self._said):
            notes.append(f"{self._in_words(text, count)}: does the {_SHOWN[self.task]} reach the MLLM?")
        return notes

    def _in_words(self, text: str, count: int) -> str:
        about, what = _ABOUT[self.task]
        shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        return f"{self.task}: {count} of {len(self._said)} {about} got the same {what} ({shown!r})"

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


def _plus(so_far: int | None, more: int | None) -> int | None:
    """Add tokens; what nobody counted stays unknown."""
    return so_far if more is None else (so_far or 0) + more
