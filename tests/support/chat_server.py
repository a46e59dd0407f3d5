"""A server that speaks the chat completions API and behaves as the question's first word says. Run as a program.

``GET /seen`` lists the first words of the questions that have come in.
"""

import asyncio
import json
import socket
import struct
from typing import Any

HANG = 30.0


class HangupError(Exception):
    """Cut the connection with a reset, after these bytes."""

    def __init__(self, sent: bytes = b"") -> None:
        super().__init__("reset")
        self.sent = sent


seen: list[str] = []


def question(body: dict[str, Any]) -> str:
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")


def completion(text: str | None, *, finish: str = "stop", **message: object) -> bytes:
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
    return json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()


def response(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + body


async def respond(headers: dict[str, str], raw: bytes) -> bytes:
    body = json.loads(raw)
    word = question(body).split()[0]
    seen.append(word)
    echo = json.dumps({"body": body, "authorization": headers.get("authorization")})
    right = completion("a red ball")
    if word == "slow":
        await asyncio.sleep(0.2)
    if word == "hang":
        await asyncio.sleep(HANG)
    if word == "reset":
        raise HangupError
    if word == "cut":
        raise HangupError(response(200, right)[:-20])
    return {
        "echo": lambda: response(200, completion(echo)),
        "429": lambda: response(429, error("slow down"), {"Retry-After": "1m30s"}),
        "429-bare": lambda: response(429, error("slow down")),
        "429-quota": lambda: response(429, error("you have spent it all", "insufficient_quota")),
        "500": lambda: response(500, error("oops")),
        "503-html": lambda: response(503, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
        "400-echo": lambda: response(400, error(f"cannot take {echo}")),
        "401": lambda: response(401, error(f"Incorrect API key provided: {headers.get('authorization')}")),
        "404": lambda: response(404, error("The model `tiny` does not exist", "model_not_found")),
        "422": lambda: response(422, json.dumps({"detail": "Unexpected fields"}).encode()),
        "307": lambda: response(307, b"", {"Location": "/v1/elsewhere"}),
        "filtered": lambda: response(400, error("not this", "content_filter")),
        "invalid-json": lambda: response(200, b'{"choices": [{"mess'),
        "text": lambda: response(200, b"hello", {"Content-Type": "text/plain"}),
        "wrong-list": lambda: response(200, b"[1, 2]"),
        "wrong-shape": lambda: response(200, b'{"choices": [{"message": {"content": {"a": 1}}}]}'),
        "no-message": lambda: response(200, b'{"choices": [{}]}'),
        "no-choices": lambda: response(200, b'{"choices": []}'),
        "none": lambda: response(200, completion(None)),
        "refusal": lambda: response(200, completion(None, refusal="I'd rather not")),
        "filter-stop": lambda: response(200, completion("a r", finish="content_filter")),
        "length": lambda: response(200, completion("a red", finish="length")),
    }.get(word, lambda: response(200, right))()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            request, *lines = head.decode().rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if request.startswith("GET /seen"):
                writer.write(response(200, json.dumps(seen).encode()))
            else:
                writer.write(await respond(headers, body))
            await writer.drain()
    except HangupError as hangup:
        writer.write(hangup.sent)
        await writer.drain()
        # Linger zero makes the close a reset.
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**24)
    print("listening on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
