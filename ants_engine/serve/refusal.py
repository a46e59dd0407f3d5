"""A request that is not answered with a result, and what the client is told."""

from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818  # it is an answer, and no defect
    """Ends a request with a status, a short name and a sentence that says what to do."""

    def __init__(self, status: int, kind: str, message: str, *, retry_after: int | None = None) -> None:
        """Say why.

        Args:
            status: HTTP status.
            kind: one word for programs, such as ``too_many_pictures``.
            message: for people.
            retry_after: seconds after which it is worth trying again.
        """
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, dict[str, str]]:
        """The answer's JSON."""
        return {"error": {"type": self.kind, "message": self.message}}

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's own headers."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers
