"""Gets the backend ready before the first question, outside every time limit, and only if there is a question."""

import asyncio

from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import RequestProgress
from ants_engine.dispatch.responder import Responder
from ants_engine.errors import ANTSError, FinalBackendError
from ants_engine.protocol import Answer, Backend


class ReadyResponder:
    """Loads the backend once. A download of gigabytes must not count as an attempt, nor happen for a warm store."""

    def __init__(self, inner: Responder, backend: Backend) -> None:
        """Load ``backend`` before ``inner`` is asked."""
        self._inner = inner
        self._backend = backend
        self._turn = asyncio.Lock()
        self._ready = False
        self._failure: ANTSError | None = None

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Answer when the backend is ready.

        Raises:
            UsageError: the backend cannot be loaded; the same for every request.
            FinalBackendError: loading raised something that is none of our errors, which is chained.
            ANTSError: what ``inner`` raises.
        """
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            if not self._ready:
                await self._load()
        return await self._inner.answer(request, trace)

    async def _load(self) -> None:
        try:
            await self._backend.load()
        except ANTSError as error:
            self._failure = error
            raise
        except Exception as error:
            name = type(self._backend).__name__
            self._failure = FinalBackendError(f"the backend {name} cannot be loaded: {type(error).__name__}")
            raise self._failure from error
        self._ready = True
