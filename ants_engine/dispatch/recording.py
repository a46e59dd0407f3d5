"""Mode ``record``: looks into the store before asking, and keeps what was answered."""

from ants_engine.dispatch.entry import Failure
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.responder import Responder
from ants_engine.dispatch.store import ResponseStore
from ants_engine.dispatch.trace import Trace
from ants_engine.errors import BackendError, StoreError
from ants_engine.protocol import Answer


class LookupResponder:
    """Answers from the store if it can. It stands outside of the limit: who needs no slot waits for none."""

    def __init__(self, inner: Responder, store: ResponseStore) -> None:
        """Look into ``store`` before asking ``inner``."""
        self._inner = inner
        self._store = store

    async def answer(self, request: Request, trace: Trace) -> Answer:
        """Answer from the store, or ask. A recorded failure is no answer.

        Raises:
            StoreError: the store cannot be read.
            ANTSError: what ``inner`` raises.
        """
        entry = await self._store.get(request.key)
        if entry is not None and not isinstance(entry.ending, Failure):
            trace.update(source="store")
            return entry.ending
        return await self._inner.answer(request, trace)


class KeepResponder:
    """Puts every answer on disk before anyone sees it, and every failure for replay to end as the run did.

    It stands within the limit, so that no more answers are paid for and not yet on disk than there are slots.
    """

    def __init__(self, inner: Responder, store: ResponseStore) -> None:
        """Keep what ``inner`` answers in ``store``."""
        self._inner = inner
        self._store = store
        self._broken: StoreError | None = None

    async def answer(self, request: Request, trace: Trace) -> Answer:
        """Ask, and keep how it ended.

        Raises:
            StoreError: the store cannot be written. From then on nothing more is asked: what is paid for and cannot
                be kept is lost.
            ANTSError: what ``inner`` raises.
        """
        if self._broken is not None:
            # A fresh one each time: a raised error collects the frames that it passes.
            raise type(self._broken)(str(self._broken)) from self._broken
        try:
            answer = await self._inner.answer(request, trace)
        except BackendError as error:
            await self._keep(request, error)
            raise
        await self._keep(request, answer)
        return answer

    async def _keep(self, request: Request, ending: Answer | BackendError) -> None:
        try:
            if isinstance(ending, Answer):
                await self._store.put(request, ending)
            else:
                await self._store.put_failure(request, ending)
        except StoreError as error:
            self._broken = error
            raise
