"""Baselines by name. Their modules, and torch with them, are imported by `create`."""

import difflib
import inspect
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ants_engine.errors import UsageError

if TYPE_CHECKING:
    from ants_engine.baselines.baseline import Baseline, TextSpace

_METHODS = {
    "mcm": "frozen:Mcm",
    "max-logit": "frozen:MaxLogit",
    "energy": "frozen:Energy",
    "neglabel": "frozen:NegLabel",
    "neglabel-1": "frozen:NegLabelOneGroup",
    "eoe": "frozen:Eoe",
    "adaneg": "adaneg:AdaNeg",
}
"""Name → module and class; the class has the same ``name``."""


def names() -> tuple[str, ...]:
    """Return every baseline's name."""
    return tuple(_METHODS)


def create(name: str, space: "TextSpace", **options: Any) -> "Baseline":
    """Create a baseline.

    Args:
        name: one of `names`.
        space: the texts that it scores with.
        options: of this method, as its class documents them.

    Raises:
        UsageError: an unknown baseline or option, an invalid option, or a text space that lacks what the method needs.
    """
    if name not in _METHODS:
        raise UsageError(f"no baseline {name!r}{_nearest(name, _METHODS)} There are: {', '.join(_METHODS)}")
    module, _, cls = _METHODS[name].partition(":")
    method = getattr(import_module(f"ants_engine.baselines.{module}"), cls)
    known = [option for option in inspect.signature(method).parameters if option != "space"]
    for option in options:
        if option not in known:
            raise UsageError(
                f"baseline {name}: no option {option!r}{_nearest(option, known)} It has: {', '.join(known) or 'none'}"
            )
    created: Baseline = method(space, **options)
    return created


def _nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else "."
