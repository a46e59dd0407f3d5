"""A pull parser for JSON: the caller knows which value has to come next.

No tree of objects is built, so memory does not depend on the document's shape. The first value that does not fit ends
it. Each step handles a bounded piece, so that the interpreter lock is released in between.
"""

import json
import re
from array import array
from collections.abc import Collection, Iterator
from itertools import count

from ants_engine.serve.options import Refusal

PIECE = 1 << 16
"""Bytes of one step."""
LONGEST_KEY = 64
_LONGEST_ESCAPE = 12
"""Bytes of one character at most: two ``\\uXXXX``."""
_SPACE = re.compile(rb"[ \t\r\n]*+")
_TEXT = re.compile(rb'(?:[^"\\]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_NUMBERS = re.compile(rb"[-+.0-9eENaInfity, \t\r\n]*+")
_BOM = b"\xef\xbb\xbf"


class JSONReader:
    """A position in a document. Each method reads a value of one type there, or raises `Refusal`.

    A ``place`` names the value in errors, such as ``pictures.0.name``; empty: the document. Status 400 means that the
    document is no JSON, 422 that it is not as described.
    """

    def __init__(self, body: bytes | bytearray) -> None:
        """Begin before the first value of a UTF-8 document; a byte order mark is skipped."""
        self._body = body
        self._at = len(_BOM) if body.startswith(_BOM) else 0

    def peek(self) -> str:
        """Return the next character that is no white space; empty at the end."""
        while True:
            found = _SPACE.match(self._body, self._at, self._at + PIECE)
            assert found is not None  # noqa: S101  # the pattern matches the empty string
            at, self._at = self._at, found.end()
            if self._at - at < PIECE:
                return chr(self._body[self._at]) if self._at < len(self._body) else ""

    def members(self, place: str, keys: Collection[str]) -> Iterator[str]:
        """Yield an object's keys, each of them when its value is next.

        Args:
            place: of the object.
            keys: that it may have, each of them once.
        """
        self._open("{", place, "an object")
        seen: set[str] = set()
        if self._take("}"):
            return
        while True:
            if self.peek() != '"':
                raise self._malformed()
            key = self.text(place, LONGEST_KEY)
            if key not in keys:
                raise unfit(place, f"{key!r} is not among its keys, which are {', '.join(keys)}")
            if key in seen:
                raise unfit(place, f"{key} is given twice")
            seen.add(key)
            self._need(":")
            yield key
            if self._take("}"):
                return
            self._need(",")

    def elements(self, place: str) -> Iterator[int]:
        """Yield the positions of an array's elements, each of them when its element is next."""
        self._open("[", place, "an array")
        if self._take("]"):
            return
        for index in count():
            yield index
            if self._take("]"):
                return
            self._need(",")

    def null(self) -> bool:
        """Read a null, if it is one."""
        found = self.peek() == "n" and self._body.startswith(b"null", self._at)
        self._at += 4 * found
        return found

    def text(self, place: str, longest: int) -> str:
        """Return a string of ``longest`` characters at most."""
        self._open('"', place, "a string")
        start, most = self._at, longest * _LONGEST_ESCAPE
        raw = self._run(most + _LONGEST_ESCAPE)
        too_long = unfit(place, f"a string may have {longest} characters")
        if len(raw) > most:
            raise too_long
        self._need('"', skip=False)
        try:
            value = json.loads(f'"{raw.decode()}"')
            # half a surrogate pair is no character
            value.encode()
        except ValueError:
            raise self._malformed(start) from None
        if len(value) > longest:
            raise too_long
        return str(value)

    def text_pieces(self, place: str) -> Iterator[bytes]:
        """Yield a string in pieces, in ASCII, other characters as ``?``; line breaks may stand in it as they are."""
        self._open('"', place, "a string")
        while raw := self._run(PIECE):
            if b"\\" in raw:
                # byte by byte: a piece may end within a character
                unescaped = json.loads(f'"{raw.decode("latin-1")}"', strict=False)
                yield unescaped.encode("ascii", "replace")
            else:
                yield raw
        self._need('"', skip=False)

    def numbers(self, place: str, most: int) -> "array[float]":
        """Return an array of 1 to ``most`` numbers in float32; what is beyond its range is infinite."""
        self._open("[", place, "an array of numbers")
        row = array("f")
        while True:
            if self.peek() == "]" and not row:
                raise unfit(place, "at least one number is needed")
            start = self._at
            found = _NUMBERS.match(self._body, start, start + PIECE)
            assert found is not None  # noqa: S101  # the pattern matches the empty string
            raw, end = found[0], found.end()
            closed = self._body.startswith(b"]", end)
            if closed:
                self._at = end
            else:
                # up to the last comma: what follows may be cut, or no number
                raw, comma, _ = raw.rpartition(b",")
                self._at = end if end == len(self._body) else start + len(raw) + len(comma)
                if end - start < PIECE:
                    raise self._unexpected(place, "a number")
                if not comma:
                    raise unfit(place, f"a number may have {PIECE:,} characters")
            try:
                numbers = json.loads(b"[" + raw + b"]", parse_int=float)
            except ValueError:
                raise self._malformed(start) from None
            if not numbers:
                raise self._malformed(start)
            row.fromlist(numbers)
            if len(row) > most:
                raise unfit(place, f"an array may have {most:,} numbers")
            if closed:
                self._at += 1
                return row

    def end(self) -> None:
        """Check that nothing follows."""
        if self.peek():
            raise self._malformed()

    def _run(self, most: int) -> bytes:
        """Read at most ``most`` bytes of a string's content, without splitting an escape."""
        found = _TEXT.match(self._body, self._at, self._at + most)
        assert found is not None  # noqa: S101  # the pattern matches the empty string
        self._at = found.end()
        return found[0]

    def _take(self, character: str) -> bool:
        found = self.peek() == character
        self._at += found
        return found

    def _need(self, character: str, *, skip: bool = True) -> None:
        """Read a character; ``skip`` is whether white space may stand before it."""
        if skip:
            self.peek()
        if not self._body.startswith(character.encode(), self._at):
            raise self._malformed()
        self._at += 1

    def _open(self, character: str, place: str, what: str) -> None:
        if not self._take(character):
            raise self._unexpected(place, what)

    def _unexpected(self, place: str, what: str) -> Refusal:
        """Return the refusal for a value of another type, or for no value at all."""
        if self.peek() and self.peek() in '"{[-0123456789tfnNI':
            return unfit(place, f"{what} is expected")
        return self._malformed()

    def _malformed(self, at: int | None = None) -> Refusal:
        where = self._at if at is None else at
        if where >= len(self._body):
            return Refusal(400, "malformed", "the body is no JSON: it ends too early")
        return Refusal(400, "malformed", f"the body is no JSON: it breaks off at byte {where:,}")


def unfit(place: str, message: str) -> Refusal:
    """Return a refusal of a document that is not as described."""
    return Refusal(422, "unfit", f"the body is not as described: {place}{': ' if place else ''}{message}")
