"""What a server takes: its options, and the refusal of everything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The settings of a server. Times are in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes any free one."""
    token: str | None = None
    """Clients send it as ``Authorization: Bearer …``; required where other machines can connect."""
    hosts: tuple[str, ...] = ()
    """Names that clients may use for this server, besides those of the loopback."""
    batch_size: int = 32
    """Pictures of one CLIP call at most."""
    wait: float = 0.005
    """Time that a picture waits for others that are being decoded."""
    max_body: int = 32 << 20
    """Of one request."""
    max_held: int = 128 << 20
    """Of all requests in progress together."""
    max_pictures: int = 64
    """In one request."""
    max_waiting: int = 256
    """Pictures accepted and not answered yet."""
    max_pixels: int = 50_000_000
    """Of one picture; the detector's own setting where that is lower."""
    max_connections: int = 512
    header_timeout: float = 10.0
    """For a request line and headers, for the rest of a refused upload, and for the client to read an answer."""
    upload_timeout: float = 30.0
    """For one request's body, from its first byte to its last."""
    request_timeout: float = 60.0
    """From the body's last byte to the answer."""
    idle_timeout: int = 5
    """An open connection without a request is closed after it."""
    grace: int = 30
    """After a signal to stop, for accepted requests to be answered."""
    streams: int = 0
    """Named streams that may be open; 0: scoring is frozen."""
    streams_folder: Path | None = None
    """Where streams are saved and loaded from."""
    stream_timeout: float = 600.0
    """As ``request_timeout``, for a stream, which waits for the MLLM."""


class Refusal(Exception):  # noqa: N818  # an answer, not a defect
    """Ends a request with a status, a short name and a sentence with the remedy."""

    def __init__(self, status: int, kind: str, message: str, *, retry_after: int | None = None) -> None:
        """Describe the refusal.

        Args:
            status: HTTP status.
            kind: one word for programs, such as ``too_many_pictures``.
            message: for people.
            retry_after: seconds until a retry makes sense.
        """
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, dict[str, str]]:
        """The JSON body."""
        return {"error": {"type": self.kind, "message": self.message}}

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that the status requires."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers
