"""Mode ``replay``: answers come from the store alone; a miss names the nearest recorded request."""

import asyncio
import difflib
import heapq
from collections.abc import AsyncIterable
from typing import Any

from ants_engine.common.canonical_json import canonical, excerpt
from ants_engine.dispatch.request import RecordedIdentity, Request, RequestProgress
from ants_engine.dispatch.storage.entry import Entry, Failure
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import ReplayMissError
from ants_engine.protocol import Answer

EXPLAINED = 3
"""Misses that are explained: each explanation reads the whole store."""


class ReplayResponder:
    """Returns what was recorded, failures included."""

    def __init__(self, store: ResponseStore) -> None:
        """Read from ``store``, which should be strict."""
        self._store = store
        self._explained = 0
        self._explaining = asyncio.Lock()

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Answer from the store.

        Raises:
            ReplayMissError: it was never recorded; the nearest recorded request is named.
            StoreError: the store is damaged or cannot be read.
            BackendError: the request failed when it was recorded, and did not succeed later.
        """
        entry = await self._store.get(request.key)
        progress.update(source="store")
        if entry is None:
            raise ReplayMissError(
                f"never recorded: {request.describe()}; {await self._explain(request)}. "
                f"Run once in mode record to ask it (store: {self._store.folder})"
            )
        if isinstance(entry.ending, Failure):
            raise entry.ending.error()
        return entry.ending

    async def _explain(self, request: Request) -> str:
        async with self._explaining:
            if self._explained >= EXPLAINED:
                return f"the first {EXPLAINED} misses are explained"
            self._explained += 1
            return await explain_miss(request, self._store.entries())


async def recorded_identity(store: ResponseStore, backend: str, model: str) -> RecordedIdentity:
    """Return the model to replay: the latest recorded under this name, or the backend's only one.

    Raises:
        ReplayMissError: there is none, or several and none of that name.
        StoreError: the store is damaged or cannot be read.
    """
    recorded = await store.get_identities()
    own = [each for each in recorded if each.backend == backend]
    named = [each for each in own if each.model == model]
    if named:
        return named[-1]
    if len(own) == 1:
        return own[0]
    listed = "; ".join(each.describe() for each in recorded[:10]) or "nothing"
    raise ReplayMissError(
        f"the store {store.folder} does not say which model mllm.backend {backend}, mllm.model "
        f"{model or '(default)'} is. Recorded: {listed}. Name one of these, or run once in mode record"
    )


_FIELDS = ("template", "model", "decoding", "picture", "prompt")
_CANDIDATES = 32
"""Prompts are compared for this many requests, those with most equal fields."""
_COMPARED = 400
"""Characters of a prompt that are compared."""


async def explain_miss(request: Request, recorded: AsyncIterable[Entry]) -> str:
    """Name the nearest recorded request and what differs."""
    asked = request.payload()
    best: list[tuple[int, str, Request]] = []
    picture_known = False
    async for entry in recorded:
        parts = entry.request.payload()
        picture_known = picture_known or parts["picture"] == asked["picture"]
        equal = sum(parts[name] == asked[name] for name in _FIELDS) + 10 * (parts["task"] == asked["task"])
        ranked = (equal, entry.request.key, entry.request)
        if len(best) < _CANDIDATES:
            heapq.heappush(best, ranked)
        elif ranked[:2] > best[0][:2]:
            heapq.heapreplace(best, ranked)
    if not best:
        return "the store is empty"
    equal, _, _ = max(best, key=lambda each: each[0])
    near = [each for each in best if each[0] == equal]
    _, _, nearest = max(near, key=lambda each: (_similarity(each[2].prompt, request.prompt), each[1]))
    differences = _differences(nearest.payload(), asked, picture_known=picture_known)
    return f"nearest recorded: {nearest.key[:12]}… ({nearest.describe()}), in which {'; '.join(differences)}"


def _similarity(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one[:_COMPARED], other[:_COMPARED], autojunk=False).ratio()


def _differences(recorded: dict[str, Any], asked: dict[str, Any], *, picture_known: bool) -> list[str]:
    found = []
    if recorded["task"] != asked["task"]:
        found.append(f"the task differs: {excerpt(recorded['task'])}, now {excerpt(asked['task'])}")
    found += _template(recorded["template"], asked["template"])
    if recorded["prompt"] != asked["prompt"]:
        found.append(f"the prompt differs: {_around(recorded['prompt'], asked['prompt'])}")
    if recorded["picture"] != asked["picture"]:
        was = "no picture" if recorded["picture"] is None else f"picture {recorded['picture'][:12]}…"
        now = "none" if asked["picture"] is None else f"{asked['picture'][:12]}…"
        never = "" if picture_known or asked["picture"] is None else ", which was never shown to the MLLM"
        found.append(f"the picture differs: {was}, now {now}{never}")
    found += _members("model identity", recorded["model"], asked["model"])
    found += _members("decoding", recorded["decoding"], asked["decoding"])
    return found


def _template(recorded: dict[str, str], asked: dict[str, str]) -> list[str]:
    if recorded["ref"] != asked["ref"]:
        return [f"the template differs: {excerpt(recorded['ref'])}, now {excerpt(asked['ref'])}"]
    if recorded["sha256"] != asked["sha256"]:
        return [f"template {asked['ref']} differs: sha256 {recorded['sha256'][:12]}…, now {asked['sha256'][:12]}…"]
    return []


def _members(what: str, recorded: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    missing = object()
    names = [
        name
        for name in sorted(recorded.keys() | asked.keys())
        if recorded.get(name, missing) != asked.get(name, missing)
    ]
    return [f"the {what} differs in {name}: {_value(recorded, name)}, now {_value(asked, name)}" for name in names[:5]]


def _value(parts: dict[str, Any], name: str) -> str:
    if name not in parts:
        return "absent"
    text = canonical(parts[name])
    return text if len(text) <= 40 else text[:24] + "…"


def _around(recorded: str, asked: str) -> str:
    same = next((at for at, (one, other) in enumerate(zip(recorded, asked, strict=False)) if one != other), None)
    start = max(0, (min(len(recorded), len(asked)) if same is None else same) - 20)
    # back to the start of the word, unless it is very long
    start = max(start - 20, asked.rfind(" ", 0, start) + 1)
    return f"{excerpt(recorded[start:], 60)}, now {excerpt(asked[start:], 60)}"
