"""A web server of pictures, good and bad: a process of its own, which prints its port and counts what reached it."""

import io
import json
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from PIL import Image

COUNTS: Counter[str] = Counter()
HOSTS: list[str] = []


def png(number: int) -> bytes:
    """Return a small picture that differs by number."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").rotate(37 * number).resize((40, 30)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send what the path's first word says."""
        path = urlsplit(self.path).path
        if path == "/counts":
            self.reply(json.dumps({"paths": COUNTS, "hosts": HOSTS}).encode(), "application/json")
            return
        COUNTS[path] += 1
        HOSTS.append(self.headers["Host"])
        kind, _, rest = path.strip("/").partition("/")
        getattr(self, f"send_{kind}")(rest)

    def reply(self, body: bytes, kind: str = "image/png", status: int = 200, **fields: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **fields}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_picture(self, rest: str) -> None:
        """Send a good picture."""
        self.reply(png(int(rest.partition(".")[0])))

    def send_untyped(self, rest: str) -> None:
        """Send a good picture as bare bytes."""
        self.reply(png(0), "application/octet-stream")

    def send_status(self, rest: str) -> None:
        """Send an error."""
        self.reply(b"no", "text/plain", int(rest))

    def send_to(self, rest: str) -> None:
        """Redirect to what the query says."""
        self.reply(b"", status=302, Location=urlsplit(self.path).query)

    def send_round(self, rest: str) -> None:
        """Redirect so many times before a good picture."""
        left = int(rest)
        self.reply(b"", status=307, Location=f"/round/{left - 1}" if left > 1 else "/picture/0.png")

    def send_html(self, rest: str) -> None:
        """Send a page."""
        self.reply(b"<html>\x1b[2J</html>", "text/html; charset=utf-8")

    def send_packed(self, rest: str) -> None:
        """Say that it is compressed."""
        self.reply(png(0), Content_Encoding="gzip")

    def send_garbage(self, rest: str) -> None:
        """Send no HTTP at all."""
        self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
        self.close_connection = True

    def send_cut(self, rest: str) -> None:
        """End before all is sent."""
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(png(0)[:100])
        self.close_connection = True

    def send_large(self, rest: str) -> None:
        """Announce a terabyte."""
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(10**12))
        self.end_headers()
        self.close_connection = True

    def send_endless(self, rest: str) -> None:
        """Send for ever, at full speed."""
        self.drip(b"\0" * 65_536, 0.0)

    def send_slow(self, rest: str) -> None:
        """Send for ever, a few bytes at a time."""
        self.drip(b"\0" * 8, 0.05)

    def send_slowheaders(self, rest: str) -> None:
        """Never come to an end of the headers."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(400):
            self.wfile.write(f"X-{number}: x\r\n".encode())
            time.sleep(0.05)

    def drip(self, chunk: bytes, pause: float) -> None:
        """Send a body without length until the client goes."""
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.close_connection = True
        for _ in range(100_000):
            self.wfile.write(chunk)
            time.sleep(pause)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Takes a client that goes away for what it is."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(f"listening on {server.server_address[1]}", flush=True)
    server.serve_forever()
