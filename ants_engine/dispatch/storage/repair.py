"""Puts a store in order: what is damaged is moved aside, what can be read and verifies is kept."""

from dataclasses import dataclass
from pathlib import Path

from ants_engine.dispatch.storage.salvage import Salvage
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.protocol import Answer


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done."""

    answers: int
    """In the store now."""
    failures: int
    """In the store now."""
    faults: list[str]
    """What was wrong with the database's structure."""
    salvages: list[Salvage]
    """Databases that were moved aside, with what was saved from each."""
    moved: int
    """Damaged rows that were moved aside."""
    restored: int
    """Rows that had been moved aside earlier, verify after all, and were put back."""
    quarantined: int
    """Damaged rows that are kept aside in the database."""


async def repair(folder: Path) -> Repair:
    """Repair a store. Nothing that is damaged is deleted.

    Raises:
        StoreUnavailableError: the folder cannot be used, or a later version wrote to it.
        StoreCorruptedError: it was doctored.
    """
    async with ResponseStore(folder) as store:
        faults = await store.mend()
        before = await store.quarantined()
        await store.get_identities()
        async for _ in store.entries():
            # Reading an entry is what finds it damaged, and moves it aside.
            continue
        moved = await store.quarantined() - before
        restored = await store.restore()
        endings = [isinstance(entry.ending, Answer) async for entry in store.entries()]
        return Repair(
            answers=sum(endings),
            failures=len(endings) - sum(endings),
            faults=faults,
            salvages=store.salvages,
            moved=moved,
            restored=restored,
            quarantined=await store.quarantined(),
        )
