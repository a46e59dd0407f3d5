"""What every layer between a request and its answer looks like from outside."""

from typing import Protocol

from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import RequestProgress
from ants_engine.protocol import Answer


class Responder(Protocol):
    """Answers requests: a backend's adapter, or a wrapper around another responder."""

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Answer one request, and note on ``trace`` what happens meanwhile.

        Raises:
            ANTSError: there is no answer; the class says why.
        """
        ...
