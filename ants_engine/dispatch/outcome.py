"""How a request ended: an answer, or an error beside the answers."""

from dataclasses import dataclass

from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import Source
from ants_engine.protocol import Answer


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
