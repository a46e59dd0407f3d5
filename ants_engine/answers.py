"""How finished questions are sorted into answers and errors, with everything written into a report."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from ants_engine.build_report import SetAside
from ants_engine.dispatch.outcome import Outcome
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
from ants_engine.method.answer import Rejection

# no other question would fare better: a replay without the answer, a store that cannot keep one, an MLLM that cannot be
# loaded, a key that is refused, a quota or the run's own budget that is spent
FATAL = (StoreError, UsageError, AuthenticationError, QuotaError, BudgetSpentError)

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


def check_share(
    task: str, asked: int, failed: Sequence[Exception], unusable: Sequence[Rejection], least: float
) -> None:
    """Refuse to go on with too few usable answers. A single failure never ends a run of several questions.

    Args:
        task: ``ens`` or ``vsnl``.
        asked: how many questions there were.
        failed: those that were not answered.
        unusable: why answers were of no use at all, one entry per answer.
        least: share of usable answers that is enough (``dispatch.min_success``).

    Raises:
        NotEnoughAnswersError: there are fewer; it holds each cause once.
    """
    bad = len(failed) + len(unusable)
    if bad <= (1 if asked > 1 else 0) or 1 - bad / asked >= least:
        return
    causes: dict[str, tuple[Exception, int]] = {}
    for error in (*failed, *(UnusableAnswerError(f"answer set aside: {reason}") for reason in unusable)):
        # refusals quote what was said, which differs each time; they are one cause all the same
        kind = type(error)
        one = issubclass(kind, UnusableAnswerError) and kind is not UnusableAnswerError
        key = kind.__name__ if one else f"{kind.__name__}: {error}"
        first, count = causes.get(key, (error, 0))
        causes[key] = (first, count + 1)
    ranked = sorted(causes.items(), key=lambda cause: -cause[1][1])
    spelled = "; ".join(f"{count} × {type(error).__name__}: {error}" for _, (error, count) in ranked[:5])
    raise NotEnoughAnswersError(
        f"{task}: {asked - bad} of {asked} answers can be used, {least:.0%} are needed (dispatch.min_success). "
        f"{spelled}. "
        "What was answered is kept; run again, or try another template or MLLM",
        [error for _, (error, _) in ranked],
    )


def _plus(so_far: int | None, more: int | None) -> int | None:
    """Add tokens; what nobody counted stays unknown."""
    return so_far if more is None else (so_far or 0) + more
