"""Which entries of a store may go, and letting them go."""

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from ants_engine.dispatch.storage.entry import Failure
from ants_engine.dispatch.storage.holdings import is_model, model_names
from ants_engine.dispatch.storage.store import Record, ResponseStore
from ants_engine.errors import StoreUnavailableError

_LOG = logging.getLogger("ants_engine.dispatch")
_TOGETHER = 500
"""Entries that are deleted in one transaction."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries to which all that is said here applies."""

    before: float | None = None
    """Stored before this moment, in seconds since 1970."""
    task: str | None = None
    template: str | None = None
    """Its name, ``<task>/v<N>``."""
    model: str | None = None
    """As the settings name it, or as its identity does."""
    failures: bool = False
    """Failures only."""

    @property
    def names_nothing(self) -> bool:
        """Tell whether nothing is said, so that everything would go."""
        return self == Selection()


async def select(store: ResponseStore, selection: Selection) -> AsyncIterator[Record]:
    """Go through the entries that a selection is about.

    Raises:
        StoreError: the store cannot be read, or, if strict, is damaged.
    """
    names = model_names(await store.get_identities())
    async for record in store.records():
        entry = record.entry
        if (
            (selection.before is None or record.stored_at < selection.before)
            and selection.task in {None, entry.request.task}
            and selection.template in {None, entry.request.template}
            and (selection.model is None or is_model(entry, selection.model, names))
            and (not selection.failures or isinstance(entry.ending, Failure))
        ):
            yield record


async def remove(store: ResponseStore, keys: Sequence[str]) -> int:
    """Delete entries for good, and give their room back to the disk. A kill in between leaves a sound store.

    Returns:
        How many were there.

    Raises:
        StoreError: the store cannot be written.
    """
    removed = 0
    for start in range(0, len(keys), _TOGETHER):
        removed += await store.remove(keys[start : start + _TOGETHER])
    if removed:
        try:
            await store.compact()
        except StoreUnavailableError as error:
            # They are gone and overwritten; only the file keeps its size.
            _LOG.warning("%s; the entries are removed, but the file was not made smaller", error)
    return removed
