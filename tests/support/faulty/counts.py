"""What has reached the server."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Arrival:
    """A question that has come in."""

    question: str
    attempt: int
    """How often it has come in by then."""
    era: int
    """How often the counts had been set back by then."""


class Counts:
    """Counts attempts by question, by ending and by second."""

    def __init__(self) -> None:
        self.era = self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Forget all but what is in flight; how that ends is not counted either."""
        self.era += 1
        self.total = 0
        self.max_in_flight = self.in_flight
        self.endings: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.successes: Counter[str] = Counter()
        self.seconds: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self.began: float | None = None
        self.last: dict[str, Any] | None = None

    def arrive(self, question: str) -> Arrival:
        """Count a question in."""
        if self.began is None:
            self.began = time.monotonic()
        self.total += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.attempts[question] += 1
        self.seconds[self._second()]["arrived"] += 1
        return Arrival(question, self.attempts[question], self.era)

    def leave(self, arrival: Arrival, ending: str, *, success: bool) -> None:
        """Count how an attempt ended."""
        self.in_flight -= 1
        if arrival.era != self.era:
            return
        self.endings[ending] += 1
        self.successes[arrival.question] += success
        self.seconds[self._second()][ending] += 1

    def as_json(self) -> dict[str, Any]:
        """Spell everything as JSON; ``seconds`` counts from the first question on."""
        return {
            "total": self.total,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "by_ending": dict(self.endings),
            "questions": {
                question: {"attempts": attempts, "successes": self.successes[question]}
                for question, attempts in self.attempts.items()
            },
            "seconds": [{"second": second, **counts} for second, counts in sorted(self.seconds.items())],
        }

    def _second(self) -> int:
        return 0 if self.began is None else int(time.monotonic() - self.began)
