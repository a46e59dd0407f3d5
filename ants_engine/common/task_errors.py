"""Errors out of task groups, as a caller wants to catch them: by type."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ants_engine.errors import ANTSError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise what is behind a task group's errors as itself, where it is one thing."""
    try:
        yield
    except ANTSError:
        raise
    except BaseExceptionGroup as group:
        cause = _sole_cause(group)
        if cause is None:
            raise
        raise cause from None


def _sole_cause(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the first error of a task group in which all are ours or of one type, so that it can be caught by type."""
    leaves = list(_leaves(group))
    if len({type(leaf) for leaf in leaves}) > 1 and not all(isinstance(leaf, ANTSError) for leaf in leaves):
        return None
    for other in dict.fromkeys(f"{type(leaf).__name__}: {leaf}" for leaf in leaves[1:6]):
        if other != f"{type(leaves[0]).__name__}: {leaves[0]}":
            leaves[0].add_note(f"at the same time: {other}")
    return leaves[0]


def _leaves(error: BaseException) -> Iterable[BaseException]:
    # an error of ours that is a group means itself, not its parts
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, ANTSError):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
