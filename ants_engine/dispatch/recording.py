"""Mode ``record``: looks into the store before asking, and keeps what was answered."""

from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import RequestProgress
from ants_engine.dispatch.responder import Responder
from ants_engine.dispatch.storage.claims import ClaimedElsewhereError, Claims
from ants_engine.dispatch.storage.entry import Entry, Failure
from ants_engine.dispatch.storage.patient_store import PatientStore
from ants_engine.errors import BackendError, TransientBackendError
from ants_engine.protocol import Answer


class LookupResponder:
    """Answers from the store if it can. It stands outside of the limit: who needs no slot waits for none.

    Where another process turns out to be asking the same, it waits for that one and looks again.
    """

    def __init__(self, inner: Responder, store: PatientStore, claims: Claims) -> None:
        """Look into ``store`` before asking ``inner``."""
        self._inner = inner
        self._store = store
        self._claims = claims

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Answer from the store, or ask. A recorded failure is no answer.

        Raises:
            StoreError: the store cannot be read.
            ANTSError: what ``inner`` raises.
        """
        try:
            while True:
                answer = await stored_answer(self._store, request, trace)
                if answer is not None:
                    return answer
                try:
                    return await self._inner.answer(request, trace)
                except ClaimedElsewhereError:
                    trace.update(phase="sharing")
                    await self._claims.freed(request.key)
                    trace.update(phase="waiting")
        finally:
            self._claims.release(request.key)


class ClaimResponder:
    """Asks only what no other process is asking, and what none has answered since it was last looked for.

    It stands within the limit, so that a process claims no more than it can ask.
    """

    def __init__(self, inner: Responder, store: PatientStore, claims: Claims) -> None:
        """Claim before ``inner`` is asked. `LookupResponder` gives free."""
        self._inner = inner
        self._store = store
        self._claims = claims

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Ask, unless another process does or did.

        Raises:
            ClaimedElsewhereError: another process is asking.
            ANTSError: what ``inner`` raises.
        """
        if not trace.attempts:
            if not self._claims.take(request.key):
                raise ClaimedElsewhereError
            # Alone with the store, nobody can have answered it since: the slot need not wait for another look.
            answer = None if self._claims.alone() else await stored_answer(self._store, request, trace)
            if answer is not None:
                return answer
        return await self._inner.answer(request, trace)


class KeepResponder:
    """Puts every answer on disk before anyone sees it, and every failure that trying again would not mend.

    It stands within the limit, so that no more answers are paid for and not yet on disk than there are slots.
    """

    def __init__(self, inner: Responder, store: PatientStore) -> None:
        """Keep what ``inner`` answers in ``store``."""
        self._inner = inner
        self._store = store

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Ask, and keep the answer.

        Raises:
            StoreError: the store cannot be written. From then on nothing more is asked: what is paid for and cannot
                be kept is lost.
            ANTSError: what ``inner`` raises.
        """
        self._store.check()
        try:
            answer = await self._inner.answer(request, trace)
        except BackendError as error:
            if not isinstance(error, TransientBackendError):
                # Before the slot is free: where every question would fail so, the caller hears of it before more go.
                await self._store.keep(Entry(request, Failure.of(error)))
                trace.kept = True
            raise
        trace.update(phase="storing")
        try:
            await self._store.keep(Entry(request, answer))
        finally:
            trace.update(phase="waiting")
        return answer


class KeepFailureResponder:
    """Keeps how a request failed in the end, so that a replay ends as the run did. ``record`` asks it again."""

    def __init__(self, inner: Responder, store: PatientStore) -> None:
        """Keep how ``inner`` fails in ``store``."""
        self._inner = inner
        self._store = store

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Ask, and keep the failure.

        Raises:
            ANTSError: what ``inner`` raises, or the store's error where that cannot be kept.
        """
        try:
            return await self._inner.answer(request, trace)
        except BackendError as error:
            if not trace.kept:
                await self._store.keep(Entry(request, Failure.of(error)))
            raise


async def stored_answer(store: PatientStore, request: Request, trace: RequestProgress) -> Answer | None:
    """Return the answer that the store holds, and note on the trace that it came from there."""
    entry = await store.get(request.key)
    if entry is None or isinstance(entry.ending, Failure):
        return None
    trace.update(source="store")
    return entry.ending
