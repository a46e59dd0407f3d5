"""What a request is taken to cost in tokens before it is asked."""

from ants_engine.dispatch.request import Request

CHARACTERS_PER_TOKEN = 3
"""Fewer than in English prose: an estimate should be too high rather than too low."""
PICTURE_TOKENS = 1500
"""For a picture, until an answer has said how many it was."""
OVERHEAD_TOKENS = 50
"""For what a chat template adds."""


class TokenEstimate:
    """Learns from answers what a prompt of each task costs: the most that it was so far."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._prompts: dict[str, int] = {}

    def prompt(self, request: Request) -> int:
        """Foresee the prompt's tokens."""
        known = self._prompts.get(request.task)
        if known is not None:
            return known
        picture = 0 if request.picture_sha256 is None else PICTURE_TOKENS
        return OVERHEAD_TOKENS + picture + len(request.prompt) // CHARACTERS_PER_TOKEN

    def of(self, request: Request) -> int:
        """Foresee what a request costs at most: its prompt, and an answer as long as it may be."""
        return self.prompt(request) + request.decoding.max_new_tokens

    def learn(self, request: Request, usage: tuple[int | None, int | None]) -> int | None:
        """Take in what a request has cost; return the sum if it is known."""
        prompt, completion = usage
        if prompt is not None:
            self._prompts[request.task] = max(prompt, self._prompts.get(request.task, 0))
        return None if prompt is None or completion is None else prompt + completion
