"""A server that speaks the OpenAI chat completions API, and fails in every way that we know of.

Run it as ``python -m tests.integration.faulty_server [options]`` from the repository's root; once it can be reached it
prints ``listening on PORT``. It answers as the question's first word says (a name of `KINDS`; anything else is answered
right), or, with ``--faulty``, as `plan` says, so that `fate` tells beforehand what becomes of a question.
``GET /counts`` tells what has reached it, ``GET /last`` gives the last question's headers and body, ``POST /reset``
sets all that back. After ``POST /hold`` no question is answered until ``POST /release``.
"""

import argparse
import asyncio
import base64
import json
import random
import ssl
import sys
from pathlib import Path

from tests.support.faulty import streams
from tests.support.faulty.certificate import make_certificate
from tests.support.faulty.counts import Counts
from tests.support.faulty.http import Incoming, NotHTTPError, error, read, response
from tests.support.faulty.plan import FAULTS, KINDS, fate, kinds_named, plan, question_of, right_answer
from tests.support.faulty.rate import TokenBucket
from tests.support.faulty.replies import Asked, right, slow_down, whole

__all__ = ["FAULTS", "KINDS", "fate", "kinds_named", "plan", "question_of", "right_answer"]


class FaultyServer:
    """Answers connections; one for each process."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._kinds = kinds_named(options.kinds)
        self._counts = Counts()
        self._jitter = random.Random(options.seed)
        self._bucket = None if options.rate is None else TokenBucket(options.rate, options.burst)
        self._answering = 0
        self._free = asyncio.Event()
        self._free.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer whatever comes over one connection."""
        try:
            while True:
                incoming = await read(reader)
                if incoming.path.endswith("/chat/completions") and incoming.method == "POST":
                    await self._answer(incoming, reader, writer)
                else:
                    writer.write(self._control(incoming))
                    await writer.drain()
        except NotHTTPError:
            writer.write(response(400, error("this is not HTTP")))
        except (streams.HungUpError, asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    def _control(self, incoming: Incoming) -> bytes:
        if incoming.path == "/counts":
            return response(200, json.dumps(self._counts.as_json()).encode())
        if incoming.path == "/last":
            return response(200, json.dumps(self._counts.last).encode())
        if incoming.path == "/reset":
            self._counts.reset()
            return response(200, b"{}")
        if incoming.path == "/hold":
            self._free.clear()
            return response(200, b"{}")
        if incoming.path == "/release":
            self._free.set()
            return response(200, b"{}")
        self._counts.endings["stray"] += 1
        return response(404, error("nothing is here"))

    async def _answer(self, incoming: Incoming, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown = incoming.picture
        picture = None if shown is None else base64.b64decode(shown.partition(",")[2])
        question = question_of(incoming.prompt, picture)
        self._counts.last = {"headers": incoming.headers, "body": json.loads(incoming.body)}
        arrival = self._counts.arrive(question)
        ending, success = "abandoned", False
        try:
            turned_away = self._turned_away()
            if turned_away is not None:
                ending, reply = turned_away
                writer.write(reply)
                await writer.drain()
                return
            self._answering += 1
            try:
                kind = self._kind(incoming.prompt, question, arrival.attempt)
                await self._pause(kind)
                await self._free.wait()
                asked = Asked(incoming, right_answer(question), self._options.retry_after or 1.0)
                # a fault has happened as soon as it begins; a right answer counts once it is out
                ending = kind if KINDS[kind] != "right" else ending
                await self._send(kind, asked, reader, writer)
                ending, success = kind, KINDS[kind] == "right"
            finally:
                self._answering -= 1
        finally:
            self._counts.leave(arrival, ending, success=success)

    def _turned_away(self) -> tuple[str, bytes] | None:
        wish = self._options.retry_after
        wait = None if wish is None else f"{wish:g}"
        limit = self._options.concurrency_limit
        if limit is not None and self._answering >= limit:
            headers = {} if wait is None else {"Retry-After": wait}
            return "busy", response(self._options.busy_status, error("overloaded"), headers)
        if self._bucket is not None and not self._bucket.take():
            return "rate", slow_down(wait, status=self._options.rate_status)
        return None

    def _kind(self, prompt: str, question: str, attempt: int) -> str:
        options = self._options
        if options.faulty or options.doomed:
            return plan(options.seed, options.faulty, question, attempt, doomed=options.doomed, kinds=self._kinds)
        word = prompt.partition(" ")[0]
        return word if word in KINDS else "right"

    async def _pause(self, kind: str) -> None:
        pause = self._options.latency + self._options.jitter * self._jitter.random()
        pause += self._options.slow if kind == "slow" else 0.0
        if pause:
            await asyncio.sleep(pause)

    async def _send(self, kind: str, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if kind == "hang":
            await streams.hang(reader, self._options.hang)
        elif kind == "reset":
            await streams.reset(writer)
        elif kind == "cut":
            await streams.reset(writer, right(asked)[:-20])
        elif kind == "short":
            await streams.short(writer, right(asked)[:-20])
        elif kind == "drip":
            await streams.drip(writer, right(asked), self._options.drip)
        elif kind == "endless":
            await streams.endless(writer)
        elif kind == "endless-headers":
            await streams.endless_headers(writer)
        elif kind == "endless-interim":
            await streams.endless_interim(writer)
        elif kind == "bomb":
            await streams.bomb(writer)
        else:
            writer.write(whole(kind, asked))
            await writer.drain()


def _options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faulty_server", description=__doc__, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--faulty", type=float, default=0.0, help="share of the attempts that are faulty, by the seed")
    parser.add_argument("--doomed", type=float, default=0.0, help="share of the questions that never succeed")
    parser.add_argument("--kinds", nargs="*", default=[], help="kinds or endings that faults are taken from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--jitter", type=float, default=0.0, help="up to so many seconds more")
    parser.add_argument("--rate", type=float, help="requests a second")
    parser.add_argument("--burst", type=float, default=5.0, help="requests at once after a pause, with --rate")
    parser.add_argument("--retry-after", type=float, help="seconds to ask for; without it only where the kind says so")
    parser.add_argument("--rate-status", type=int, default=429, help="what is said above the rate; nginx says 503")
    parser.add_argument("--concurrency-limit", type=int, help="questions at once")
    parser.add_argument("--busy-status", type=int, default=503, help="what is said above that; LiteLLM says 429")
    parser.add_argument("--slow", type=float, default=0.2, help="seconds of a slow answer")
    parser.add_argument("--hang", type=float, default=30.0, help="seconds of silence before it hangs up")
    parser.add_argument("--drip", type=float, default=1.0, help="seconds between the bytes of a dripping answer")
    parser.add_argument("--tls", type=Path, metavar="FOLDER", help="speak TLS; certificate and ca.pem go there")
    return parser.parse_args(arguments)


async def main(options: argparse.Namespace) -> None:
    """Serve until the process is ended.

    Raises:
        FileNotFoundError: ``--tls`` needs the ``openssl`` program.
    """
    context = None
    if options.tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*make_certificate(options.tls))
    server = await asyncio.start_server(
        FaultyServer(options).serve, "127.0.0.1", options.port, limit=2**24, backlog=2048, ssl=context
    )
    print("listening on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(_options(sys.argv[1:])))
