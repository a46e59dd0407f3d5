"""What a server takes: its options, and the refusal of everything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Everything about a server that is not the detector's. Times are in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes any free one."""
    token: str | None = None
    """What clients have to send as ``Authorization: Bearer …``; needed where others than this machine can connect."""
    hosts: tuple[str, ...] = ()
    """Names under which clients reach this server, beside the loopback's."""
    batch_size: int = 32
    """Pictures that CLIP sees together, at most."""
    wait: float = 0.005
    """How long a picture waits for others that are being decoded."""
    max_body: int = 32 << 20
    """Of one request."""
    max_held: int = 128 << 20
    """Of all requests that are being read or answered."""
    max_pictures: int = 64
    """In one request."""
    max_waiting: int = 256
    """Pictures that have been accepted and not answered."""
    max_pixels: int = 50_000_000
    """Of one picture; the detector's own setting where that is lower."""
    max_connections: int = 512
    header_timeout: float = 10.0
    """For a request line and headers, for the rest of a refused upload, and for reading an answer."""
    upload_timeout: float = 30.0
    """For one request's body, from its first byte to its last."""
    request_timeout: float = 60.0
    """From the body's last byte to the answer."""
    idle_timeout: int = 5
    """A connection may stay open without a request."""
    grace: int = 30
    """After a signal to stop: for what has been accepted to be answered."""
    streams: int = 0
    """Named streams that may be open; 0: none, scoring is frozen."""
    streams_folder: Path | None = None
    """Where streams are saved, and found again."""
    stream_timeout: float = 600.0
    """As ``request_timeout``, for a stream, which waits for the MLLM."""


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
