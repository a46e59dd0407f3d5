"""Mode ``replay``: answers come from the store, or there is none. No model, no server, no socket."""

import asyncio

from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.nearest import explain_miss
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import RequestProgress
from ants_engine.dispatch.storage.entry import Failure
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import ReplayMissError
from ants_engine.protocol import Answer

EXPLAINED = 3
"""Misses that are explained; each explanation reads the whole store."""


class ReplayResponder:
    """Gives back what was recorded, failures included."""

    def __init__(self, store: ResponseStore) -> None:
        """Read from ``store``, which should be strict."""
        self._store = store
        self._explained = 0
        self._explaining = asyncio.Lock()

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Answer from the store.

        Raises:
            ReplayMissError: it was never recorded; the nearest recorded request is named.
            StoreError: the store is damaged or cannot be read.
            BackendError: the request failed when it was recorded, and did not succeed later.
        """
        entry = await self._store.get(request.key)
        trace.update(source="store")
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
    """Find the model that a replay stands for: the latest recorded under this name, or the backend's only one.

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
