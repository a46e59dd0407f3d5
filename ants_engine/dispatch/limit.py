"""Bounds how many requests are with the backend at once."""

import asyncio
from typing import Protocol

from ants_engine.dispatch.request import Request
from ants_engine.dispatch.responder import Responder
from ants_engine.dispatch.trace import Trace
from ants_engine.errors import BackendError
from ants_engine.protocol import Answer


class Gate(Protocol):
    """Decides when the next request may pass. A gate that adapts learns from how requests ended."""

    async def enter(self) -> None:
        """Wait for a slot; first come, first served."""
        ...

    def leave(self, error: BackendError | None) -> None:
        """Give the slot back, and say how the request ended."""
        ...


class FixedGate:
    """A fixed number of slots."""

    def __init__(self, slots: int) -> None:
        """Let so many requests pass at once."""
        self._slots = asyncio.Semaphore(slots)

    async def enter(self) -> None:
        """Wait for a slot."""
        await self._slots.acquire()

    def leave(self, error: BackendError | None) -> None:
        """Give the slot back."""
        self._slots.release()


class LimitResponder:
    """Lets a request through when the gate does. It keeps its slot while it pauses between tries.

    So a server that refuses is not asked by others meanwhile, and a request that is tried again does not queue anew.
    """

    def __init__(self, inner: Responder, gate: Gate) -> None:
        """Put ``gate`` before ``inner``."""
        self._inner = inner
        self._gate = gate

    async def answer(self, request: Request, trace: Trace) -> Answer:
        """Answer when there is a slot.

        Raises:
            ANTSError: what ``inner`` raises.
        """
        await self._gate.enter()
        failure: BackendError | None = None
        try:
            return await self._inner.answer(request, trace)
        except BackendError as error:
            failure = error
            raise
        finally:
            self._gate.leave(failure)
