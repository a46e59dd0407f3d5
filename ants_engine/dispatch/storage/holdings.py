"""What a store holds, in numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ants_engine.dispatch.canonical import canonical, excerpt
from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.storage.entry import Entry
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.protocol import JSON, Answer


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
    quarantined: int = 0
    """Damaged rows that were moved aside."""

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
    async for entry, stored_at, size in store.records():
        request = entry.request
        if isinstance(entry.ending, Answer):
            found.answers[request.task] += 1
            found.prompt_tokens += entry.ending.prompt_tokens or 0
            found.completion_tokens += entry.ending.completion_tokens or 0
        else:
            found.failures[request.task] += 1
        found.templates[request.template] += 1
        found.models[model_of(entry, names)] += 1
        found.size += size
        found.oldest = stored_at if found.oldest is None else min(found.oldest, stored_at)
        found.newest = stored_at if found.newest is None else max(found.newest, stored_at)
    found.quarantined = await store.quarantined()
    return found


def model_names(recorded: Sequence[RecordedIdentity]) -> Mapping[str, str]:
    """Name each recorded model as the settings did, by its identity's canonical JSON."""
    return {canonical(dict(each.identity)): f"{each.backend} {each.model}".strip() for each in recorded}


def model_of(entry: Entry, names: Mapping[str, str]) -> str:
    """Name the model that an entry is of, in one short line."""
    spelled = canonical(dict(entry.request.identity))
    return names.get(spelled, excerpt(spelled, 80))


def is_model(entry: Entry, name: str, names: Mapping[str, str]) -> bool:
    """Tell whether an entry is of the model of this name: the settings' name for it, or a part of its identity."""
    known = model_of(entry, names)
    parts: list[JSON] = list(entry.request.identity.values())
    return name in {known, known.partition(" ")[2]} or name in parts
