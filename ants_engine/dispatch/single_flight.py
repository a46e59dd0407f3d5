"""One upstream call per distinct request, however many ask."""

import asyncio
from dataclasses import dataclass, field

from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import RequestProgress
from ants_engine.dispatch.responder import Responder
from ants_engine.protocol import Answer

UNDER_WAY = ("asking", "storing")
"""Phases in which an answer may have been paid for."""


@dataclass(eq=False, slots=True)
class _Flight:
    task: asyncio.Task[Answer]
    trace: RequestProgress
    passengers: list[RequestProgress] = field(default_factory=list)


class SingleFlight:
    """Lets equal requests that are asked at the same time share one answer.

    It stands outside of the store: inside, a request could miss the store just before another's answer is put there,
    and find that one's flight landed just after.
    """

    def __init__(self, inner: Responder, *, finish_detached: bool = False) -> None:
        """Wrap ``inner``.

        Args:
            inner: what is asked.
            finish_detached: a call that is with the backend goes on when nobody waits for it any more, so that its
                answer is kept; see `land`.
        """
        self._inner = inner
        self._finish_detached = finish_detached
        self._flights: dict[str, _Flight] = {}

    @property
    def under_way(self) -> int:
        """Calls that have not ended."""
        return len(self._flights)

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Answer, together with whoever asks the same.

        One who is cancelled leaves the others alone; when the last one leaves, the call is cancelled, unless it may
        land alone.

        Raises:
            ANTSError: what ``inner`` raises, for all who wait.
        """
        flight = self._flights.get(request.key) or self._take_off(request)
        flight.passengers.append(trace)
        flight.trace.abandoned = False
        trace.follow(flight.trace)
        try:
            # Unlike awaiting the task itself, this leaves it alone when the one who waits is cancelled.
            await asyncio.wait([flight.task])
        finally:
            # By identity: several passengers may look alike.
            flight.passengers[:] = [each for each in flight.passengers if each is not trace]
            if not flight.passengers and not flight.task.done():
                await self._abandon(request.key, flight)
        return flight.task.result()

    async def land(self, grace: float) -> int:
        """Wait for the calls that nobody waits for, at most ``grace`` seconds, then end them; return how many it ended.

        A cancellation meanwhile ends them at once.
        """
        tasks = [flight.task for flight in self._flights.values()]
        if not tasks:
            return 0
        late: set[asyncio.Task[Answer]] = set(tasks)
        try:
            _, late = await asyncio.wait(tasks, timeout=grace)
        finally:
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        return len(late)

    async def _abandon(self, key: str, flight: _Flight) -> None:
        if self._finish_detached and flight.trace.phase in UNDER_WAY:
            flight.trace.abandoned = True
            return
        self._forget(key, flight)
        flight.task.cancel()
        await asyncio.wait([flight.task])

    def _take_off(self, request: Request) -> _Flight:
        passengers: list[RequestProgress] = []

        def tell(trace: RequestProgress) -> None:
            for passenger in passengers:
                passenger.follow(trace)

        trace = RequestProgress(tell)
        task = asyncio.get_running_loop().create_task(self._inner.answer(request, trace))
        flight = _Flight(task, trace, passengers)
        self._flights[request.key] = flight
        task.add_done_callback(lambda _: self._land(request.key, flight))
        return flight

    def _land(self, key: str, flight: _Flight) -> None:
        self._forget(key, flight)
        if not flight.task.cancelled():
            # Marks an error as seen: when everybody has left, nobody will look at it.
            flight.task.exception()

    def _forget(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
