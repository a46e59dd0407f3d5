"""Many clients at once, slow ones, huge ones, and those that go away."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from tests.integration.serve.conftest import TOKEN
from tests.support.process import WAIT
from tests.support.served import Served, answer, form, head

AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


def test_sixty_four_clients_get_the_bits_that_one_gets(server: Served, jpegs: list[bytes]) -> None:
    with server.client() as client:
        alone = {
            number: client.post("/v1/score", files=[("pictures", ("x", jpegs[number]))]).json()["results"][0]["score"]
            for number in range(0, 64, 5)
        }
    calls, pictures = server.metric("ants_serve_batch_pictures_count"), server.metric("ants_serve_batch_pictures_sum")

    async def one(client: httpx2.AsyncClient, first: int) -> list[Any]:
        found = []
        for turn in range(3):
            response = await client.post("/v1/score", files=[("pictures", ("x", jpegs[(first + turn) % 64]))])
            assert response.status_code == 200, response.text
            found += response.json()["results"]
        return found

    async def all_at_once() -> list[list[Any]]:
        limits = httpx2.Limits(max_connections=64, max_keepalive_connections=64)
        async with httpx2.AsyncClient(base_url=server.url, timeout=WAIT, trust_env=False, limits=limits) as client:
            return await asyncio.gather(*(one(client, first) for first in range(64)))

    found = asyncio.run(all_at_once())
    for first, results in enumerate(found):
        for turn, result in enumerate(results):
            wanted = alone.get((first + turn) % 64)
            if wanted is not None:
                assert result["score"] == wanted
    calls = server.metric("ants_serve_batch_pictures_count") - calls
    pictures = server.metric("ants_serve_batch_pictures_sum") - pictures
    assert pictures == 192
    # 64 at a time, and CLIP sees 32 together
    assert pictures / calls > 12


def test_beyond_the_queue_clients_are_asked_to_wait_and_then_served(strict: Served, jpegs: list[bytes]) -> None:
    refused = []

    def patient(number: int) -> int:
        with strict.client(headers=AUTHORISED) as client:
            deadline = time.monotonic() + WAIT
            while time.monotonic() < deadline:
                chosen = jpegs[4 * number : 4 * number + 4]
                response = client.post("/v1/score", files=[("pictures", ("x", picture)) for picture in chosen])
                if response.status_code != 429:
                    assert len(response.json()["results"]) == 4
                    return int(response.status_code)
                assert int(response.headers["Retry-After"]) >= 1
                assert response.json()["error"]["type"] == "too_busy"
                refused.append(number)
                # sooner than it was told, so that the test is quick
                time.sleep(0.05)
        return 0

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(patient, range(16))) == [200] * 16
    assert refused
    assert strict.metric("ants_serve_waiting_pictures", AUTHORISED) == 0


def test_a_slow_body_a_slow_head_and_a_silent_client_are_ended(strict: Served, jpegs: list[bytes]) -> None:
    body = form(jpegs[0])
    slow, dripping, silent = strict.connect(), strict.connect(), strict.connect()
    slow.sendall(head(len(body), **AUTHORISED) + body[:100])
    stop = threading.Event()
    whole = head(len(body), **AUTHORISED)
    dripped = 0

    def drip() -> None:
        nonlocal dripped
        for byte in whole:
            if stop.wait(0.05):
                return
            try:
                dripping.send(bytes([byte]))
            except OSError:
                return
            dripped += 1

    dripper = threading.Thread(target=drip)
    dripper.start()
    # others are served meanwhile
    with strict.client(headers=AUTHORISED) as client:
        assert client.post("/v1/score", files=[("pictures", ("x", jpegs[0]))]).status_code == 200
    status, _, said = answer(slow)
    assert (status, said["error"]["type"]) == (408, "too_slow")
    for connection in (dripping, silent):
        with suppress(ConnectionResetError):
            assert answer(connection)[0] == 0
    stop.set()
    dripper.join()
    assert dripped < len(whole), "ended before its head was whole"
    for connection in (slow, dripping, silent):
        connection.close()


@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_upload_is_refused_before_it_is_held(strict: Served, announced: bool) -> None:
    before = strict.resident()
    chunk = b"x" * (1 << 16)
    with strict.connect() as connection:
        connection.sendall(head(10 << 30 if announced else None, **AUTHORISED))
        sent = 0
        start = form(b"", end=False)[:-2]
        try:
            connection.sendall(start if announced else b"%x\r\n%s\r\n" % (len(start), start))
            while sent < 512 << 20:
                connection.sendall(chunk if announced else b"10000\r\n" + chunk + b"\r\n")
                sent += len(chunk)
                connection.setblocking(False)
                try:
                    if connection.recv(1, socket.MSG_PEEK):
                        break
                except BlockingIOError:
                    pass
                finally:
                    connection.settimeout(WAIT)
        except ConnectionError:
            pass
        status, _, said = answer(connection)
    assert (status, said["error"]["type"]) == (413, "too_large")
    assert sent < 64 << 20
    assert strict.resident() - before < 32 << 20


def test_memory_is_bounded_however_much_is_sent_at_once(server: Served) -> None:
    """Sixty-four uploads of 16 MiB each, a gigabyte in all, of which 128 MiB may be held."""
    before = server.resident()
    picture = b"\xff\xd8" + bytes(16 << 20)
    body = form(picture)
    peak = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], server.resident())

    def upload(_: int) -> int:
        with server.connect() as connection:
            with suppress(ConnectionError):
                connection.sendall(head(len(body)) + body)
            try:
                return answer(connection)[0]
            except ConnectionError:
                return 0

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(64) as threads:
        statuses = list(threads.map(upload, range(64)))
    done.set()
    watcher.join()
    assert set(statuses) <= {0, 200, 429}
    assert {200, 429} <= set(statuses)
    # bodies, a copy of each while it is decoded, and what the allocator keeps
    assert peak[0] - before < 450 << 20
    assert server.metric("ants_serve_held_bytes") == 0


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (form(b"x", end=False), "malformed", 400),
        (b"no multipart at all", "malformed", 400),
        (b"--" + b"x" * 1000, "malformed", 400),
        (form(b"x").replace(b'name="pictures"; ', b""), "malformed", 400),
        (form(b"x").replace(b'filename="0.jpg"', b""), "no_file", 422),
        (form(b"x").replace(b"pictures", b"other"), "no_file", 422),
        (form(), "no_pictures", 422),
        (form(*[b"x"] * 65), "too_many", 413),
        (form(b"x").replace(b"Content-Disposition", b"X-\x00\xff: "), "malformed", 400),
    ],
)
def test_malformed_multipart_is_refused_with_a_reason(server: Served, body: bytes, kind: str, status: int) -> None:
    with server.connect() as connection:
        connection.sendall(head(len(body)) + body)
        found, _, said = answer(connection)
    assert (found, said["error"]["type"]) == (status, kind), said


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b"hello", 415),
        ("multipart/form-data", b"x", 400),
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b'{"pictures": []}', 422),
        ("application/json", b'{"features": [["a"]]}', 422),
        ("application/json", b'{"urls": ["http://localhost/x.jpg"]}', 422),
        ("application/json", b'{"pictures": ["/etc/passwd"]}', 422),
    ],
)
def test_other_bodies_are_refused_with_a_reason(server: Served, kind: str, body: bytes, status: int) -> None:
    with server.client() as client:
        response = client.post("/v1/score", content=body, headers={"Content-Type": kind})
    assert response.status_code == status, response.text
    assert response.json()["error"]["message"]


def test_a_client_that_goes_away_leaves_nothing_behind(server: Served, jpegs: list[bytes]) -> None:
    body = form(*jpegs[:48])
    gone = server.metric("ants_serve_refused_total")
    for _ in range(4):
        with server.connect() as connection:
            connection.sendall(head(len(body)) + body)
    deadline = time.monotonic() + WAIT
    while server.metric("ants_serve_waiting_pictures") or server.metric("ants_serve_refused_total") < gone + 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.metric("ants_serve_held_bytes") == 0
