"""Upkeep of a store: count, select what to prune, verify, repair."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ants_engine.common.canonical_json import canonical, excerpt
from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage.entry import DamagedLineError, Entry, Failure, is_model_line, key_of, read_model_line
from ants_engine.dispatch.storage.index import Place
from ants_engine.dispatch.storage.journal import JOURNAL, Journal
from ants_engine.dispatch.storage.store import OWN, ResponseStore, require_store, translated
from ants_engine.errors import StoreCorruptedError
from ants_engine.protocol import Answer


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
    """As far as servers reported them."""
    completion_tokens: int = 0
    size: int = 0
    """Bytes of all entries."""
    oldest: float | None = None
    """Seconds since 1970."""
    newest: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        # asdict would take a Counter apart and count its items
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}


async def count(store: ResponseStore) -> Holdings:
    """Read a store through and count.

    Raises:
        StoreError: it cannot be read, or, if strict, is damaged.
    """
    found = Holdings()
    names = _model_names(await store.get_identities())
    async for entry in store.entries():
        request = entry.request
        if isinstance(entry.ending, Answer):
            found.answers[request.task] += 1
            found.prompt_tokens += entry.ending.prompt_tokens or 0
            found.completion_tokens += entry.ending.completion_tokens or 0
        else:
            found.failures[request.task] += 1
        found.templates[request.template] += 1
        found.models[_model_of(entry, names)] += 1
        found.size += len(entry.to_line())
        if entry.stored_at is not None:
            found.oldest = min(found.oldest or entry.stored_at, entry.stored_at)
            found.newest = max(found.newest or entry.stored_at, entry.stored_at)
    return found


def _model_names(recorded: Sequence[RecordedIdentity]) -> Mapping[str, str]:
    """Map the canonical JSON of each recorded identity to the model's name in the settings."""
    return {canonical(dict(each.identity)): f"{each.backend} {each.model}".strip() for each in recorded}


def _model_of(entry: Entry, names: Mapping[str, str]) -> str:
    identity = canonical(dict(entry.request.identity))
    return names.get(identity, excerpt(identity, 80))


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries that meet every condition given here."""

    before: float | None = None
    """Stored before this moment, in seconds since 1970."""
    task: str | None = None
    template: str | None = None
    """Its name, ``<task>/v<N>``."""
    model: str | None = None
    """As the settings or its identity name it."""
    failures: bool = False
    """Failures only."""

    @property
    def names_nothing(self) -> bool:
        """Whether there is no condition, so that every entry is selected."""
        return self == Selection()


async def select(store: ResponseStore, selection: Selection) -> AsyncIterator[Entry]:
    """Iterate over the selected entries.

    Raises:
        StoreError: the store cannot be read, or, if strict, is damaged.
    """
    names = _model_names(await store.get_identities())
    async for entry in store.entries():
        known = _model_of(entry, names)
        if (
            (selection.before is None or (entry.stored_at or 0.0) < selection.before)
            and selection.task in {None, entry.request.task}
            and selection.template in {None, entry.request.template}
            and selection.model in [None, known, known.partition(" ")[2], *entry.request.identity.values()]
            and (not selection.failures or isinstance(entry.ending, Failure))
        ):
            yield entry


@dataclass(frozen=True, slots=True)
class Damage:
    """One fault in a store's folder."""

    key: str
    """The entry's key; empty when it is not an entry."""
    task: str
    """The entry's task, if it can still be read."""
    reason: str


@dataclass(slots=True)
class Verification:
    """What `verify` found."""

    answers: int = 0
    """Sound ones."""
    failures: int = 0
    """Sound ones."""
    replaced: int = 0
    """Sound entries that a later one replaces."""
    damaged: list[Damage] = field(default_factory=list)


def verify(folder: Path) -> Verification:
    """Check every line of the journal, and what else is in the folder. Changes nothing; the store may be in use.

    Raises:
        StoreUnavailableError: there is no store, it cannot be read, or a later version wrote it.
    """
    folder = folder.absolute()
    found = Verification()
    with translated(folder):
        require_store(folder)
        for each in sorted(folder.iterdir()):
            if each.name not in OWN:
                found.damaged.append(Damage("", "", f"{excerpt(each.name)} does not belong in the folder"))
            elif each.is_symlink():
                found.damaged.append(Damage("", "", f"{each.name} is a link"))
        if not (folder / JOURNAL).exists():
            found.damaged.append(Damage("", "", "of an earlier version: 'ants store repair' carries it over"))
            return found
        journal = Journal(folder, strict=True, wait=0)
        try:
            journal.open()
            best, _ = _check(journal, found)
            found.answers = sum(answered for _, answered in best.values())
            found.failures = len(best) - found.answers
        except StoreCorruptedError as error:
            found.damaged.append(Damage("", "", str(error)))
        finally:
            journal.close()
    return found


@dataclass(frozen=True, slots=True)
class Repair:
    """What `repair` did."""

    answers: int
    """In the store now."""
    failures: int
    """In the store now."""
    moved: int
    """Damaged lines that were moved to ``damaged.jsonl``."""


def repair(folder: Path) -> Repair:
    """Rewrite the journal with the lines that verify; move damaged ones to ``damaged.jsonl`` beside it.

    Raises:
        StoreUnavailableError: there is no store, or the folder cannot be written.
    """
    folder = folder.absolute()
    with translated(folder):
        require_store(folder)
        # opening it for writing mends its first line, and carries an older store over
        journal = ResponseStore(folder).open_journal()
        try:
            with journal.locked():
                journal.refresh()
                best, damaged = _check(journal, Verification())
                if damaged:
                    # first: a kill in between leaves a damaged line in both files
                    journal.set_aside(damaged)
                    kept = {place for place, _ in best.values()}
                    journal.rewrite(lambda place, line: place in kept or (is_model_line(line) and place not in damaged))
        finally:
            journal.close()
    answers = sum(answered for _, answered in best.values())
    return Repair(answers, len(best) - answers, len(damaged))


def _check(journal: Journal, found: Verification) -> tuple[dict[str, tuple[Place, bool]], list[Place]]:
    """Return each key's last sound line with whether it is an answer, and the damaged lines."""
    best: dict[str, tuple[Place, bool]] = {}
    damaged: list[Place] = []
    for place, line in journal.lines():
        named = is_model_line(line)
        try:
            if named:
                read_model_line(line)
                continue
            entry = Entry.from_line(line)
        except DamagedLineError as error:
            reason = f"the name of a model: {error}" if named else str(error)
            found.damaged.append(Damage(key_of(line) or "", _task(line), reason))
            damaged.append(place)
            continue
        answered = isinstance(entry.ending, Answer)
        before = best.get(entry.request.key)
        found.replaced += before is not None
        if before is None or answered or not before[1]:
            best[entry.request.key] = place, answered
    return best, damaged


def _task(line: bytes) -> str:
    """Return which task a damaged entry belongs to, if that can be read."""
    try:
        task = json.loads(line)["request"]["task"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return task[:40] if isinstance(task, str) else ""
