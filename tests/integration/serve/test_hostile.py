"""Bodies and connections that are meant to exhaust a server: it stays small, and others are served meanwhile."""

import gzip
import io
import socket
import time
from contextlib import ExitStack, suppress

import pytest
from PIL import Image

from tests.support.hostile_bodies import JSON, KINDS, MIB, post, watched
from tests.support.process import WAIT
from tests.support.served import BOUNDARY, Served, answer, form, head


@pytest.mark.parametrize("what", KINDS)
def test_a_body_costs_no_more_than_four_times_its_size_and_holds_up_nobody(server: Served, what: str) -> None:
    kind, make = KINDS[what]
    body = make(2 * MIB)
    before = server.resident()
    with watched(server) as cost:
        status = post(server, kind, body)
    assert status in {200, 400, 413, 422}
    assert cost.peak - before <= 4 * len(body) + 64 * MIB
    # a quarter on a machine of one's own, which `python -m benchmarks.serve_bodies` shows; tests share theirs
    assert cost.slowest < 1
    assert server.metric("ants_serve_held_bytes") == 0


def test_heads_that_announce_much_and_send_nothing_take_no_room(server: Served, jpegs: list[bytes]) -> None:
    with ExitStack() as open_ones:
        for _ in range(16):
            silent = open_ones.enter_context(server.connect())
            silent.sendall(head(32 * MIB) + form(b"x", end=False))
        deadline = time.monotonic() + WAIT
        # each part that came is charged
        while server.metric("ants_serve_held_bytes") < 16:
            assert time.monotonic() < deadline
        with server.client() as client:
            for picture in jpegs[:4]:
                assert client.post("/v1/score", files=[("pictures", ("x", picture))]).status_code == 200


def test_uploads_that_stall_give_way_when_there_is_no_room_left(server: Served, jpegs: list[bytes]) -> None:
    with ExitStack() as open_ones:
        stalled = [open_ones.enter_context(server.connect()) for _ in range(5)]
        for connection in stalled:
            connection.sendall(head(32 * MIB))
            # together all that may be held
            connection.sendall(form(bytes(31 * MIB), end=False)[:-2])
        with server.client() as client:
            deadline = time.monotonic() + WAIT
            while (found := client.post("/v1/score", files=[("pictures", ("x", bytes(8 * MIB)))])).status_code == 429:
                assert time.monotonic() < deadline
            assert found.status_code == 200
        statuses = [status for connection in stalled if (status := _answered(connection))]
    assert statuses
    assert set(statuses) <= {408, 429}


def test_connections_that_do_nothing_make_room_for_one_that_does(server: Served, jpegs: list[bytes]) -> None:
    with ExitStack() as open_ones:
        idle = []
        for number in range(560):
            connection = open_ones.enter_context(server.connect())
            idle.append(connection)
            if number % 2:
                # a body of which nothing comes
                connection.sendall(head(1000))
        with server.client() as client:
            assert client.post("/v1/score", files=[("pictures", ("x", jpegs[0]))]).status_code == 200
        # the first ones have waited longest
        with suppress(ConnectionError):
            assert answer(idle[0])[0] == 0


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
    ],
)
def test_a_body_whose_length_is_ambiguous_is_refused_and_nothing_after_it_is_answered(
    server: Served, framing: str
) -> None:
    smuggled = b"GET /v1/detector HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(
            f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n\r\n0\r\n\r\n".encode() + smuggled
        )
        _is_refused_for_good(connection)


def test_chunks_are_not_taken_in_http_1_0(server: Served) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /v1/score HTTP/1.0\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        _is_refused_for_good(connection)


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\nx\r\n",
        b"+1\r\nx\r\n",
        b"0x1\r\nx\r\n",
        b"1\nx\r\n",
        b"1\r\nxx\r\n",
        b"1" * 21 + b"\r\n",
        b"\r\n",
        b"1;" + b"a" * MIB,
    ],
)
def test_malformed_chunks_are_refused(server: Served, chunks: bytes) -> None:
    with server.connect() as connection:
        with suppress(ConnectionError):
            connection.sendall(head(None) + chunks)
        with suppress(ConnectionError):
            _is_refused_for_good(connection)
    assert "Traceback" not in server.log.read_text()


def test_a_body_in_chunks_is_taken_but_not_in_crumbs(server: Served, jpegs: list[bytes]) -> None:
    body = form(*jpegs[:16])
    assert len(body) > 40 * 1000
    for size, wanted in ((64, 200), (1 << 16, 200), (2, 400)):
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        with watched(server) as cost, server.connect() as connection:
            with suppress(ConnectionError):
                connection.sendall(
                    head(None) + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"
                )
            status, _, said = answer(connection)
        assert status == wanted, said
        assert cost.slowest < 1
    assert "chunks are too small" in said["error"]["message"]


def test_garbage_after_a_refusal_ends_the_connection_in_silence(server: Served) -> None:
    with server.connect() as connection:
        # refused while its body is still coming
        connection.sendall(head(None, "/v1/nothing") + b"1\r\nx\r\n")
        assert answer(connection)[0] == 404
        with suppress(ConnectionError):
            connection.sendall(b"no chunk at all\r\n")
            assert connection.recv(1) == b""
    assert "Traceback" not in server.log.read_text()


def test_json_in_other_encodings_is_refused_with_a_reason(server: Served) -> None:
    with server.client() as client:
        for encoding in ("utf-16", "utf-32", "utf-16-le"):
            found = client.post("/v1/score", content="{}".encode(encoding), headers={"Content-Type": JSON})
            assert (found.status_code, found.json()["error"]["type"]) == (400, "malformed")


def test_a_packed_body_is_refused_before_it_is_unpacked(server: Served) -> None:
    packed = gzip.compress(b'{"pictures":[]}')
    for kind in (JSON, f"multipart/form-data; boundary={BOUNDARY}"):
        with server.client() as client:
            found = client.post("/v1/score", content=packed, headers={"Content-Type": kind, "Content-Encoding": "gzip"})
        assert found.status_code == 415
        assert "Content-Encoding" in found.json()["error"]["message"]


def test_large_pictures_in_small_files_are_decoded_within_one_bound(server: Served) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (6000, 6000)).save(buffer, "PNG")
    before = server.resident()
    with watched(server) as cost:
        status = post(server, f"multipart/form-data; boundary={BOUNDARY}", form(*[buffer.getvalue()] * 4))
    assert status == 200
    # one of them: two at once take twice as much
    assert cost.peak - before < 12 * 6000 * 6000 + 64 * MIB
    assert cost.slowest < 1


def _answered(connection: socket.socket) -> int:
    """Give the status of an answer that has come; 0 where none has."""
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return 0
    finally:
        connection.settimeout(WAIT)
    return answer(connection)[0]


def _is_refused_for_good(connection: socket.socket) -> None:
    status, headers, said = answer(connection)
    assert (status, headers["connection"], said["error"]["type"]) == (400, "close", "malformed")
    assert connection.recv(1) == b""
