"""What a store holds in numbers, which entries may go, what is damaged, and putting it in order."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ants_engine.common.canonical_json import canonical, excerpt
from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage.entry import (
    DamagedLineError,
    Entry,
    Failure,
    is_model_line,
    key_of,
    read_model_line,
)
from ants_engine.dispatch.storage.index import Place
from ants_engine.dispatch.storage.journal import JOURNAL, Journal
from ants_engine.dispatch.storage.store import OWN, ResponseStore, holds_store, translated
from ants_engine.errors import StoreCorruptedError, StoreUnavailableError
from ants_engine.protocol import JSON, Answer

_WAIT = 60
"""Seconds that another process may hold the store."""


@dataclass(slots=True)
class Holdings:
    """Counts of one store."""

    answers: Counter[str] = field(default_factory=Counter)
    """By task."""
    failures: Counter[str] = field(default_factory=Counter)
    """By task."""
    templates: Counter[str] = field(default_factory=Counter)
    """Entries by template."""
    models: Counter[str] = field(default_factory=Counter)
    """Entries by model."""
    prompt_tokens: int = 0
    """As far as the servers told."""
    completion_tokens: int = 0
    size: int = 0
    """Bytes of all entries."""
    oldest: float | None = None
    """Seconds since 1970."""
    newest: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Give all of it as JSON."""
        # asdict would take a Counter apart and count its items.
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}


async def count(store: ResponseStore) -> Holdings:
    """Read a store through and count.

    Raises:
        StoreError: it cannot be read, or, if strict, is damaged.
    """
    found = Holdings()
    names = model_names(await store.get_identities())
    async for entry in store.entries():
        request = entry.request
        if isinstance(entry.ending, Answer):
            found.answers[request.task] += 1
            found.prompt_tokens += entry.ending.prompt_tokens or 0
            found.completion_tokens += entry.ending.completion_tokens or 0
        else:
            found.failures[request.task] += 1
        found.templates[request.template] += 1
        found.models[model_of(entry, names)] += 1
        found.size += len(entry.to_line())
        if entry.stored_at is not None:
            found.oldest = min(found.oldest or entry.stored_at, entry.stored_at)
            found.newest = max(found.newest or entry.stored_at, entry.stored_at)
    return found


def model_names(recorded: Sequence[RecordedIdentity]) -> Mapping[str, str]:
    """Name each recorded model as the settings did, by its identity's canonical JSON."""
    return {canonical(dict(each.identity)): f"{each.backend} {each.model}".strip() for each in recorded}


def model_of(entry: Entry, names: Mapping[str, str]) -> str:
    """Name the model that an entry is of, in one short line."""
    spelled = canonical(dict(entry.request.identity))
    return names.get(spelled, excerpt(spelled, 80))


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


async def select(store: ResponseStore, selection: Selection) -> AsyncIterator[Entry]:
    """Go through the entries that a selection is about.

    Raises:
        StoreError: the store cannot be read, or, if strict, is damaged.
    """
    names = model_names(await store.get_identities())
    async for entry in store.entries():
        known = model_of(entry, names)
        parts: list[JSON] = list(entry.request.identity.values())
        is_model = selection.model in {None, known, known.partition(" ")[2]} or selection.model in parts
        if (
            (selection.before is None or (entry.stored_at or 0.0) < selection.before)
            and selection.task in {None, entry.request.task}
            and selection.template in {None, entry.request.template}
            and is_model
            and (not selection.failures or isinstance(entry.ending, Failure))
        ):
            yield entry


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong."""

    key: str
    """The entry's key; empty where it is no entry."""
    task: str
    """The entry's task, where that can still be read."""
    reason: str


@dataclass(slots=True)
class Verification:
    """What was found."""

    answers: int = 0
    """Sound ones."""
    failures: int = 0
    """Sound ones."""
    replaced: int = 0
    """Sound entries that a later one replaces."""
    damaged: list[Damage] = field(default_factory=list)


def verify(folder: Path) -> Verification:
    """Check every line of the journal, and what else is in the folder. Nothing is changed, and it may be in use.

    Raises:
        StoreUnavailableError: there is no store, it cannot be read, or a later version made it.
    """
    folder = folder.absolute()
    found = Verification()
    with translated(folder):
        if not holds_store(folder):
            raise StoreUnavailableError(f"{folder}: no response store is there; name the one that was recorded")
        for each in sorted(folder.iterdir()):
            if each.name not in OWN:
                found.damaged.append(Damage("", "", f"{excerpt(each.name)} does not belong in the folder"))
            elif each.is_symlink():
                found.damaged.append(Damage("", "", f"{each.name} is a link"))
        if not (folder / JOURNAL).exists():
            found.damaged.append(Damage("", "", "of an earlier version: 'ants cache repair' carries it over"))
            return found
        journal = Journal(folder, strict=True, wait=_WAIT)
        try:
            journal.open()
        except StoreCorruptedError as error:
            found.damaged.append(Damage("", "", str(error)))
            return found
        try:
            best = _best(journal, found, [])
        finally:
            journal.close()
    found.answers = sum(answered for _, answered in best.values())
    found.failures = len(best) - found.answers
    return found


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done."""

    answers: int
    """In the store now."""
    failures: int
    """In the store now."""
    moved: int
    """Damaged lines that were moved to ``damaged.jsonl``."""


def repair(folder: Path) -> Repair:
    """Write the journal anew with what verifies; what is damaged goes to ``damaged.jsonl`` beside it.

    Raises:
        StoreUnavailableError: there is no store, or the folder cannot be written.
    """
    folder = folder.absolute()
    found = Verification()
    with translated(folder):
        if not holds_store(folder):
            raise StoreUnavailableError(f"{folder}: no response store is there; name the one that was recorded")
        # to open it for writing mends its first line, and carries an older store over
        journal = ResponseStore(folder).open_journal()
        try:
            with journal.locked():
                journal.refresh()
                damaged: list[Place] = []
                best = _best(journal, found, damaged)
                if damaged:
                    # first what would be lost: a kill in between leaves it in both
                    journal.set_aside(damaged)
                    kept = {place for place, _ in best.values()}
                    gone = set(damaged)
                    journal.rewrite(lambda place, line: place in kept or (is_model_line(line) and place not in gone))
        finally:
            journal.close()
    answers = sum(answered for _, answered in best.values())
    return Repair(answers, len(best) - answers, len(found.damaged))


def _best(journal: Journal, found: Verification, damaged: list[Place]) -> dict[str, tuple[Place, bool]]:
    """Return where each key's last sound line is, and whether it is an answer; note what is damaged."""
    best: dict[str, tuple[Place, bool]] = {}
    for place, line in journal.lines():
        try:
            if is_model_line(line):
                read_model_line(line)
                continue
            entry = Entry.from_line(line)
        except DamagedLineError as error:
            what = "the name of a model: " if is_model_line(line) else ""
            found.damaged.append(Damage(key_of(line) or "", _task(line), f"{what}{error}"))
            damaged.append(place)
            continue
        answered = isinstance(entry.ending, Answer)
        before = best.get(entry.request.key)
        found.replaced += before is not None
        if before is None or answered or not before[1]:
            best[entry.request.key] = place, answered
    return best


def _task(line: bytes) -> str:
    """Say which task a damaged entry belonged to, if that can be read."""
    try:
        task = json.loads(line)["request"]["task"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return task[:40] if isinstance(task, str) else ""
