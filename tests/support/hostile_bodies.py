"""Bodies that cost a careless server far more memory or time than they have bytes, and what they cost a running one."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.served import BOUNDARY, Served, answer, form

JSON = "application/json"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
MIB = 1 << 20


def _filled(start: str | bytes, unit: str | bytes, end: str | bytes = "") -> Callable[[int], bytes]:
    """Return a maker of bodies of a size: a start, as many units as there is room for, and an end."""
    head, each, tail = (part.encode() if isinstance(part, str) else part for part in (start, unit, end))
    return lambda size: head + each * ((size - len(head) - len(tail)) // len(each)) + tail


def _keys(size: int) -> bytes:
    keys = ",".join(f'"{number:09d}":0' for number in range(size // 14))
    return f"{{{keys}}}".encode()


def _longest_features(size: int) -> bytes:
    """64 rows of 8,192 numbers, as long as fits."""
    digits = max(1, size // (64 * 8192) - 4)
    row = "[" + ",".join([f"0.{'1' * digits}"] * 8192) + "]"
    return f'{{"features":[{",".join([row] * 64)}]}}'.encode()


def _many_pictures(size: int) -> bytes:
    picture = '{"base64":"' + "A" * (4 * (size // 64 // 4 - 8)) + '"}'
    return f'{{"pictures":[{",".join([picture] * 64)}]}}'.encode()


def _part(content: str = "", headers: str = "") -> str:
    disposition = 'Content-Disposition: form-data; name="pictures"; filename="a"'
    return f"--{BOUNDARY}\r\n{disposition}\r\n{headers}\r\n{content}"


_END = f"\r\n--{BOUNDARY}--\r\n"

KINDS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "pictures that are numbers": (JSON, _filled('{"pictures":[', "0,", "0]}")),
    "pictures that are empty objects": (JSON, _filled('{"pictures":[', "{},", "{}]}")),
    "unknown keys": (JSON, _keys),
    "the same key again and again": (JSON, _filled('{"pictures":[],', '"pictures":[],', '"names":[]}')),
    "arrays in arrays": (JSON, _filled('{"features":', "[")),
    "objects in objects": (JSON, _filled("", '{"pictures":')),
    "a row of zeros": (JSON, _filled('{"features":[[', "0,", "0]]}")),
    "rows of one number": (JSON, _filled('{"features":[', "[0],", "[0]]}")),
    "as many long numbers as are taken": (JSON, _longest_features),
    "one number of many digits": (JSON, _filled('{"features":[[', "7", "]]}")),
    "names without end": (JSON, _filled('{"names":[', '"",', '""]}')),
    "one long name": (JSON, _filled('{"names":["', "é", '"]}')),
    "white space": (JSON, _filled("", " ", "{}")),
    "base64": (JSON, _filled('{"pictures":[{"base64":"', "AAAA", '"}]}')),
    "base64 in lines": (JSON, _filled('{"pictures":[{"base64":"', "A" * 76 + r"\n", '"}]}')),
    "a data URI in percent signs": (JSON, _filled('{"pictures":[{"base64":"data:;base64,', "%41", '"}]}')),
    "escaped slashes": (JSON, _filled('{"pictures":[{"base64":"', r"A\/A\/", '"}]}')),
    "escaped characters": (JSON, _filled('{"pictures":[{"base64":"', r"\u0041", '"}]}')),
    "surrogates": (JSON, _filled('{"pictures":[{"base64":"', r"\ud83d", '"}]}')),
    "bytes that are no UTF-8": (JSON, _filled('{"pictures":[{"base64":"', b"\xff", '"}]}')),
    "padding": (JSON, _filled('{"pictures":[{"base64":"', "=", '"}]}')),
    "sixty-four pictures in base64": (JSON, _many_pictures),
    "a file of noise": (FORM, lambda size: form(random.Random(0).randbytes(size - 200))),
    "a file of CR": (FORM, _filled(_part(), "\r", _END)),
    "a file of near boundaries": (FORM, _filled(_part(), f"\r\n--{BOUNDARY[:-1]}", _END)),
    "a file of boundaries with a tail": (FORM, _filled(_part(), f"\r\n--{BOUNDARY}x", _END)),
    "a raw picture": (FORM, lambda size: form(_ppm(size - 200))),
    "empty files": (FORM, _filled("", _part() + "\r\n", _END[2:])),
    "form fields": (
        FORM,
        _filled("", f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n', _END[2:]),
    ),
    "part headers without end": (FORM, _filled(_part()[:-2], "a: b\r\n", _END)),
    "one long part header": (FORM, _filled(_part()[:-2] + "a: ", "b", _END)),
    "a form without a boundary": (FORM, _filled("", "\r\n")),
}
"""By what they hold: the content type, and a function of the size in bytes."""


def _ppm(size: int) -> bytes:
    side = int((size / 3) ** 0.5)
    return f"P6 {side} {side} 255\n".encode() + bytes(side * side * 3)


def post(server: Served, kind: str, body: bytes) -> int:
    """Send a body whole, whatever is answered meanwhile; return the status."""
    with server.connect(120) as connection:
        head = (
            f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with suppress(ConnectionError):
            connection.sendall(head.encode() + body)
        return answer(connection)[0]


@dataclass
class Cost:
    """What a server spent."""

    peak: int = 0
    """Bytes of resident memory, at most."""
    slowest: float = 0.0
    """Seconds in which ``/healthz`` was answered, at worst."""
    asked: int = 0
    """How often it was."""


@contextmanager
def watched(server: Served) -> Iterator[Cost]:
    """Watch a server during the block; the figures are there after it (Linux)."""
    cost = Cost()
    done = threading.Event()
    process = Path(f"/proc/{server.process.pid}")
    # from here on the peak counts anew
    (process / "clear_refs").write_text("5")

    def ask() -> None:
        with server.connect(120) as connection:
            while not done.is_set():
                started = time.perf_counter()
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                status = answer(connection)[0]
                cost.slowest = max(cost.slowest, time.perf_counter() - started)
                assert status == 200
                cost.asked += 1
                done.wait(0.005)

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask)
        try:
            yield cost
        finally:
            done.set()
        asking.result()
    cost.peak = server.peak()
