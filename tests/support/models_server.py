"""A chat server on loopback, in a thread, that also has a list of models; both answer as they are told."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Reply = tuple[int, Any]
"""Status, and what is sent as JSON; bytes as they are."""


def listing(*names: str) -> Reply:
    """List models as the OpenAI API does."""
    return 200, {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "x"} for name in names]}


def said(text: str) -> Reply:
    """Answer a question."""
    message = {"role": "assistant", "content": text}
    return 200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def failed(status: int, message: str) -> Reply:
    """Answer with an error."""
    return status, {"error": {"message": message, "type": "error", "code": None}}


class ModelsServer:
    """Answers ``GET /v1/models`` with ``models``, and questions with what ``chat`` makes of their body."""

    def __init__(self, models: Reply, chat: Callable[[dict[str, Any]], Reply] | Reply) -> None:
        self.asked: list[dict[str, Any]] = []
        """Bodies of the questions."""
        self.looked = 0
        """How often the list was asked for."""
        self.hang = threading.Event()
        """Clear it to have the list hang until it is set."""
        self.hang.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                outer.looked += 1
                outer.hang.wait(30)
                self._send(*(models if self.path == "/v1/models" else failed(404, "nothing is here")))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                self._send(*(chat(body) if callable(chat) else chat))

            def _send(self, status: int, content: Any) -> None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
