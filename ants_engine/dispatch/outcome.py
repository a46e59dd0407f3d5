"""How a request ended: an answer, or an error beside the answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from ants_engine.dispatch.request import Request
from ants_engine.dispatch.trace import Source
from ants_engine.errors import NotEnoughAnswersError, StoreError
from ants_engine.protocol import Answer

NAMED_CAUSES = 5
"""Causes that the message of `NotEnoughAnswersError` spells out; the group holds all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request's ending. Exactly one of ``answer`` and ``error`` is there."""

    request: Request
    answer: Answer | None
    error: Exception | None
    source: Source
    """Whether the ending came from the store or from the backend."""
    attempts: int
    """How often the backend was asked; 0 from the store."""
    seconds: float
    """From submission to ending."""


def enough(outcomes: Iterable[Outcome], min_success: float, task: str) -> None:
    """See that enough requests were answered.

    Args:
        outcomes: all of one task.
        min_success: the share that must be answered, in [0, 1].
        task: what they were for, for the message.

    Raises:
        StoreError: the first one among the outcomes, whatever the share: a replay that misses an answer is no replay.
        NotEnoughAnswersError: too few; it holds one error per cause (kind and message), with a note on how often it
            came and for which request first.
    """
    every = list(outcomes)
    failed = [(each, each.error) for each in every if each.error is not None]
    stores = [error for _, error in failed if isinstance(error, StoreError)]
    if stores:
        if len(stores) > 1:
            _note(
                stores[0], f"{len(stores)} of {len(every)} {task} requests ended with a StoreError; this is the first"
            )
        raise stores[0]
    answered = len(every) - len(failed)
    # The tolerance is for shares such as 0.7 of 10, which is 7.000000000000001 otherwise.
    if answered + 1e-9 >= min_success * len(every):
        return
    causes: dict[tuple[str, str], list[tuple[Outcome, Exception]]] = {}
    for outcome, error in failed:
        causes.setdefault((type(error).__name__, str(error)), []).append((outcome, error))
    ranked = sorted(causes.items(), key=lambda cause: -len(cause[1]))
    for _, cases in ranked:
        outcome, error = cases[0]
        _note(error, f"{len(cases)} of {len(every)} {task} requests, the first: {outcome.request.describe()}")
    spelled = [f"{len(cases)} × {kind}: {message}" for (kind, message), cases in ranked[:NAMED_CAUSES]]
    more = [f"{len(ranked) - NAMED_CAUSES} further causes"] if len(ranked) > NAMED_CAUSES else []
    raise NotEnoughAnswersError(
        f"{task}: {answered} of {len(every)} requests were answered, {min_success:.0%} are needed "
        f"(dispatch.min_success). {'; '.join(spelled + more)}",
        [cases[0][1] for _, cases in ranked],
    )


def _note(error: Exception, note: str) -> None:
    # Asking twice must not say it twice.
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
