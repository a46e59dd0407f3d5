"""Errors of task groups, unwrapped so that callers can catch them by type."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ants_engine.errors import ANTSError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Replace a task group's exception group by its cause, where there is a single one."""
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
    """Return the first error of a group whose errors are all `ANTSError` or all of one type; otherwise None."""
    leaves = list(_leaves(group))
    if len({type(leaf) for leaf in leaves}) > 1 and not all(isinstance(leaf, ANTSError) for leaf in leaves):
        return None
    for other in dict.fromkeys(f"{type(leaf).__name__}: {leaf}" for leaf in leaves[1:6]):
        if other != f"{type(leaves[0]).__name__}: {leaves[0]}":
            leaves[0].add_note(f"at the same time: {other}")
    return leaves[0]


def _leaves(error: BaseException) -> Iterable[BaseException]:
    # an `ANTSError` that is a group is not taken apart
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, ANTSError):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
