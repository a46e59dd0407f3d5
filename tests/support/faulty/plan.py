"""What becomes of each attempt at each question: a pure function of a seed, so that a client can know it beforehand."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

Ending: TypeAlias = Literal["right", "transient", "rate limit", "final", "unusable"]

KINDS: Mapping[str, Ending] = {
    "right": "right",
    "slow": "right",
    "wrong-type": "right",
    "cookie": "right",
    "429-bare": "rate limit",
    "429-seconds": "rate limit",
    "429-date": "rate limit",
    "429-duration": "rate limit",
    "429-ms": "rate limit",
    "500": "transient",
    "502": "transient",
    "503": "transient",
    "503-seconds": "transient",
    "503-html": "transient",
    "503-large": "transient",
    "503-gzip": "transient",
    "408": "transient",
    "reset": "transient",
    "cut": "transient",
    "short": "transient",
    "hang": "transient",
    "drip": "transient",
    "endless-interim": "transient",
    "500-echo": "transient",
    "429-quota": "final",
    "400": "final",
    "400-echo": "final",
    "401": "final",
    "403": "final",
    "404": "final",
    "413": "final",
    "422": "final",
    "307": "final",
    "invalid-json": "final",
    "text": "final",
    "html": "final",
    "wrong-list": "final",
    "wrong-shape": "final",
    "null": "final",
    "no-message": "final",
    "bare-message": "final",
    "no-choices": "final",
    "nested": "final",
    "long-number": "final",
    "answer-echo": "final",
    "gzip": "final",
    "bomb": "final",
    "large": "final",
    "endless": "final",
    "endless-headers": "final",
    "none": "unusable",
    "blank": "unusable",
    "refusal": "unusable",
    "filter-stop": "unusable",
    "filtered": "unusable",
    "length": "unusable",
    "refusal-text": "unusable",
}
"""Every way in which the server answers, and how an attempt that meets it ends."""

FAULTS: tuple[str, ...] = tuple(kind for kind, ending in KINDS.items() if ending != "right")
"""What a faulty attempt is one of, unless told otherwise."""
DOOMS: tuple[str, ...] = ("400", "404", "422")
"""What a doomed question is answered with, every time."""


def kinds_named(names: Sequence[str]) -> tuple[str, ...]:
    """Spell out kinds: a name of `KINDS`, or an ending, which stands for all its kinds. None at all is `FAULTS`.

    Raises:
        ValueError: there is no such kind or ending.
    """
    chosen: list[str] = []
    for name in names:
        found = [kind for kind, ending in KINDS.items() if name in {kind, ending}]
        if not found:
            raise ValueError(f"no kind or ending is called {name!r}")
        chosen += found
    return tuple(dict.fromkeys(chosen)) or FAULTS


def plan(
    seed: int, share: float, question: str, attempt: int, *, doomed: float = 0.0, kinds: Sequence[str] = FAULTS
) -> str:
    """Decide how an attempt is answered.

    Args:
        seed: another seed, another plan.
        share: of the attempts, how many are faulty; [0, 1].
        question: as `question_of` names it.
        attempt: 1 for the first time that this question comes in.
        doomed: of the questions, how many never succeed; [0, 1].
        kinds: what a faulty attempt is one of.

    Returns:
        A name of `KINDS`.
    """
    if doomed:
        fate, which = _draw(seed, question, 0)
        if fate < doomed:
            return DOOMS[int(which * len(DOOMS))]
    fault, which = _draw(seed, question, attempt)
    return kinds[int(which * len(kinds))] if fault < share else "right"


def fate(
    seed: int, share: float, question: str, attempts: int, *, doomed: float = 0.0, kinds: Sequence[str] = FAULTS
) -> tuple[Ending, int]:
    """Say how a question ends for a client that asks again after what may pass, ``attempts`` times at most.

    Returns:
        How the last attempt ends, and which attempt that is.
    """
    ending: Ending = "transient"
    for attempt in range(1, attempts + 1):
        ending = KINDS[plan(seed, share, question, attempt, doomed=doomed, kinds=kinds)]
        if ending not in {"transient", "rate limit"}:
            return ending, attempt
    return ending, attempts


def question_of(prompt: str, picture: bytes | None = None) -> str:
    """Name a question: its text, and when a picture is shown, that picture's file, shortened to a digest."""
    return prompt if picture is None else f"{prompt} [{hashlib.sha256(picture).hexdigest()[:16]}]"


def right_answer(question: str) -> str:
    """Answer a question: another question, another answer."""
    digest = hashlib.sha256(question.encode()).hexdigest()
    colour = ("red", "green", "blue", "grey")[int(digest[0], 16) % 4]
    return f"a {colour} ball {digest[:12]}"


def _draw(seed: int, question: str, number: int) -> tuple[float, float]:
    digest = hashlib.sha256(f"{seed}\0{number}\0{question}".encode()).digest()
    # 53 bits each: as many as a float in [0, 1) holds
    return tuple(int.from_bytes(digest[at : at + 8], "big") / 2**64 * (1 - 2**-53) for at in (0, 8))  # type: ignore[return-value]
