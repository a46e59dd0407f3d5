"""Baselines by name."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ants_engine.baselines.adaneg import AdaNeg
from ants_engine.baselines.baseline import Baseline, TextSpace
from ants_engine.baselines.frozen import Energy, Eoe, MaxLogit, Mcm, NegLabel, NegLabelOneGroup
from ants_engine.errors import UsageError

_METHODS: dict[str, Callable[..., Baseline]] = {
    made.name: made for made in (Mcm, MaxLogit, Energy, NegLabel, NegLabelOneGroup, Eoe, AdaNeg)
}


def names() -> tuple[str, ...]:
    """Return every baseline's name."""
    return tuple(_METHODS)


def create(name: str, space: TextSpace, **options: Any) -> Baseline:
    """Make a baseline.

    Args:
        name: one of `names`.
        space: the texts that it scores with.
        options: of this method, as its class documents them.

    Raises:
        UsageError: no baseline or option of that name, an option that does not fit, or a text space without what this
            method needs.
    """
    if name not in _METHODS:
        raise UsageError(f"no baseline {name!r}{_nearest(name, _METHODS)} There are: {', '.join(_METHODS)}")
    known = [option for option in inspect.signature(_METHODS[name]).parameters if option != "space"]
    for option in options:
        if option not in known:
            raise UsageError(
                f"baseline {name}: no option {option!r}{_nearest(option, known)} It has: {', '.join(known) or 'none'}"
            )
    return _METHODS[name](space, **options)


def _nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else "."
