"""HTTP/1.1 as bytes: what comes in, and what goes out whole."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class NotHTTPError(Exception):
    """What comes in is something else, such as a TLS handshake."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def prompt(self) -> str:
        """The question's text."""
        content = self._content()
        return content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")

    @property
    def picture(self) -> str | None:
        """The picture's data URL, if one is shown."""
        content = self._content()
        if isinstance(content, str):
            return None
        return next((part["image_url"]["url"] for part in content if part["type"] == "image_url"), None)

    @property
    def authorization(self) -> str:
        """What an error that repeats the request would show."""
        return self.headers.get("authorization", "")

    def _content(self) -> Any:
        return json.loads(self.body)["messages"][0]["content"]


async def read(reader: asyncio.StreamReader) -> Incoming:
    """Read a request.

    Raises:
        IncompleteReadError: the client hung up.
        NotHTTPError: it does not begin with the name of a method.
    """
    first = await reader.readexactly(1)
    if not first.isalpha():
        raise NotHTTPError
    head = first + await reader.readuntil(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    method, target, _ = line.split(" ")
    # a client that takes this server for its proxy writes the whole address
    path = "/" + target.partition("://")[2].partition("/")[2] if "://" in target else target
    return Incoming(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def head(status: int, headers: Mapping[str, str], reason: str = "Status") -> bytes:
    """Spell a response's head."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1")


def response(status: int, body: bytes, headers: Mapping[str, str] | None = None, reason: str = "Status") -> bytes:
    """Spell a whole response; JSON unless the headers say otherwise."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} | dict(headers or {})
    return head(status, fields, reason) + body


def completion(text: str | None, *, finish: str = "stop", **message: object) -> bytes:
    """Spell an answer as the chat completions API does."""
    return json.dumps(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "tiny",
            "choices": [
                {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }
    ).encode()


def error(message: str, code: str | None = None) -> bytes:
    """Spell an error as OpenAI does."""
    return json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()
