"""Bodies of requests: read within their limits, and parsed into items."""

import asyncio
import binascii
import contextlib
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Annotated, Any, Self
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.types import Receive

from ants_engine.serve.json_reader import PIECE, JSONReader, unfit
from ants_engine.serve.options import Refusal, ServeOptions

LONGEST_NAME = 255
STEP = 1 << 16
"""Bytes that a body has to send every `PATIENCE` seconds; a slower one is ended when the budget is used up."""
PATIENCE = 1.0
WIDEST_FEATURE = 8192
FIELD = "pictures"
_INLINE = 1 << 16
"""Bytes of a body that is parsed on the loop; more would delay other requests."""
_LONGEST_TYPE = 1000
"""Characters of a Content-Type that are parsed; the time grows with their square."""
_SPACES = b" \t\r\n\v\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")
"""From the URL-safe alphabet of base64 to the standard one."""
_EXTENDED = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']{0,20}'([^;\s]+)", re.IGNORECASE)
"""A file name in the form of RFC 5987, which RFC 7578 forbids in forms and some clients send all the same."""
_NOT_BASE64 = (
    "is not base64: the standard and the URL-safe alphabet are taken, with or without padding and line breaks, "
    "also as a data URI (data:image/jpeg;base64,…)"
)

Name = Annotated[str, Field(max_length=LONGEST_NAME)]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to score, as sent: exactly one of ``data``, ``feature`` and ``error`` is given."""

    name: str
    data: bytes | None = None
    """A picture file's content."""
    feature: NDArray[np.float32] | None = None
    """(D,) as sent, not checked."""
    error: str | None = None
    """Why the item cannot be used."""


def item_name(given: str | None, index: int) -> str:
    """Return an item's name: the given one, cut, or its position."""
    return (given or "").strip()[:LONGEST_NAME] or f"#{index}"


class ByteBudget:
    """Bounds the bytes of all bodies in memory."""

    def __init__(self, limit: int) -> None:
        """Start with none."""
        self._limit = limit
        self.held = 0
        """Bytes in memory now."""
        self.reading: set[Upload] = set()
        """Uploads in progress."""

    def take(self, count: int) -> None:
        """Reserve bytes, if need be by ending uploads that are too slow, the slowest first.

        Raises:
            Refusal: 429, the budget is used up.
        """
        while self.held + count > self._limit:
            slowest = min(self.reading, key=lambda upload: upload.moved, default=None)
            if slowest is None or asyncio.get_running_loop().time() - slowest.moved < PATIENCE:
                raise Refusal(429, "too_busy", "too many uploads at once; try again", retry_after=1)
            slowest.give_way()
        self.held += count

    def give_back(self, count: int) -> None:
        """Release bytes."""
        self.held -= count


class Upload:
    """One body. An async context manager: its part of the budget is released at the end.

    Bytes are charged as they arrive; a Content-Length alone reserves nothing.
    """

    def __init__(self, headers: Mapping[str, str], receive: Receive, options: ServeOptions, budget: ByteBudget) -> None:
        """Prepare; nothing is read yet."""
        self._receive = receive
        self._options = options
        self._budget = budget
        self._held = 0
        self._announced = headers.get("content-length", "")
        self._waiting: asyncio.Timeout | None = None
        self._gives_way = False
        self.moved = 0.0
        """The loop's time at which the last `STEP` bytes were complete."""

    async def __aenter__(self) -> Self:
        if self._announced.isdigit() and int(self._announced) > self._options.max_body:
            raise self._too_large()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives.

        Raises:
            Refusal: 413 too large, 408 too slow, 429 no budget, 400 incomplete.
        """
        loop = asyncio.get_running_loop()
        self.moved = loop.time()
        deadline = self.moved + self._options.upload_timeout
        read = step = 0
        self._budget.reading.add(self)
        try:
            while True:
                message = await self._next(deadline)
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "broken_off", "the body was broken off")
                chunk: bytes = message.get("body", b"")
                read += len(chunk)
                if read > self._options.max_body:
                    raise self._too_large()
                if read - step >= STEP:
                    step, self.moved = read, loop.time()
                self._budget.take(len(chunk))
                self._held += len(chunk)
                if chunk:
                    yield chunk
                if not message.get("more_body", False):
                    return
        finally:
            self._budget.reading.discard(self)

    def give_way(self) -> None:
        """End it in favour of faster uploads; its bytes are released at once."""
        self._let_go()
        self._gives_way = True
        if self._waiting is not None:
            self._waiting.reschedule(0)

    async def _next(self, deadline: float) -> Any:
        message = None
        # the slowest upload may be this one
        if not self._gives_way:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline) as self._waiting:
                    message = await self._receive()
            self._waiting = None
        if self._gives_way:
            raise Refusal(408, "too_slow", "the body came too slowly while others had no room", retry_after=1)
        if message is None:
            limit = self._options.upload_timeout
            raise Refusal(408, "too_slow", f"the body did not arrive within {limit:g} s")
        return message

    def _let_go(self) -> None:
        self._budget.reading.discard(self)
        self._budget.give_back(self._held)
        self._held = 0

    def _too_large(self) -> Refusal:
        return Refusal(
            413, "too_large", f"a request may have {self._options.max_body:,} bytes; send fewer pictures at once"
        )


class EncodedPicture(BaseModel):
    """One picture file."""

    model_config = ConfigDict(extra="forbid")

    base64: str = Field(
        description="The file's content in base64, standard or URL-safe, with or without line breaks and padding; "
        "also as a data URI (data:image/jpeg;base64,…)."
    )
    name: Name | None = Field(default=None, description="Its name in the answer; its position when left out.")


class PicturesBody(BaseModel):
    """Pictures in JSON."""

    model_config = ConfigDict(extra="forbid")

    pictures: list[EncodedPicture] = Field(min_length=1)


class FeaturesBody(BaseModel):
    """CLIP image features, of the detector's own CLIP."""

    model_config = ConfigDict(extra="forbid")

    features: list[Annotated[list[float], Field(min_length=1, max_length=WIDEST_FEATURE)]] = Field(
        min_length=1, description="A row of D numbers per picture; normalised by the server."
    )
    names: list[Name] | None = Field(
        default=None, description="Names in the answer, of the first of them; positions for others."
    )


BODIES = (PicturesBody, FeaturesBody)
"""The JSON forms in OpenAPI; `_from_json` reads them without building one."""


async def read_items(
    headers: Headers, chunks: AsyncGenerator[bytes, None], options: ServeOptions, parsing: Executor
) -> list[Item]:
    """Read a body by its content type. Memory is at most four times the body's size.

    Args:
        headers: of the request.
        chunks: its body.
        options: the limit of items.
        parsing: for bodies that are too large to be parsed on the loop.

    Returns:
        At least one item, in the order sent.

    Raises:
        Refusal: 400 malformed, 413 too many, 415 wrong content type, 422 not as described.
    """
    kind, parameters = parse_options_header(headers.get("content-type", "")[:_LONGEST_TYPE])
    if kind not in {b"multipart/form-data", b"application/json"}:
        raise Refusal(415, "wrong_kind", "send multipart/form-data with files, or application/json")
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        raise Refusal(415, "wrong_kind", "send the body as it is, without Content-Encoding: nothing is unpacked here")
    body = bytearray()
    async for chunk in chunks:
        body += chunk

    def parse() -> list[Item]:
        if kind == b"application/json":
            return _from_json(body, options.max_pictures)
        return _Form(options.max_pictures).read(body, parameters.get(b"boundary", b""))

    if len(body) <= _INLINE:
        return parse()
    return await asyncio.get_running_loop().run_in_executor(parsing, parse)


class _Form:
    """A multipart body, read by python-multipart."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: list[Item] = []
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._name: str | None = None
        self._data = bytearray()
        self._ended = False

    def read(self, body: bytearray, boundary: bytes) -> list[Item]:
        """Return the parts as items; ``body`` is emptied, so that nothing is in memory twice."""
        if not boundary:
            raise _malformed_form("the Content-Type names no boundary")
        try:
            # not kept in self: the reference cycle would keep the pictures until the next garbage collection
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_begin,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._on_header,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
                    "on_part_end": self._on_part,
                    "on_end": self._on_end,
                },
            )
            while body:
                piece = bytes(body[:PIECE])
                del body[:PIECE]
                parser.write(piece)
        except FormParserError as error:
            raise _malformed_form(str(error)) from None
        if not self._ended:
            raise _malformed_form("it is cut off, its last boundary is missing")
        if not self._items:
            raise Refusal(422, "no_pictures", "there is no picture in the request")
        return self._items

    def _on_begin(self) -> None:
        if len(self._items) == self._most:
            raise _too_many(self._most)
        self._disposition = b""

    def _on_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise _malformed_form("a part has no Content-Disposition with a name")
        if b"filename" not in options and (extended := _EXTENDED.search(self._disposition)):
            options[b"filename"] = unquote_to_bytes(extended[1])
        if options[b"name"] != FIELD.encode() or b"filename" not in options:
            raise Refusal(422, "no_file", f"send each picture as a file in a part called {FIELD}")
        self._name = options[b"filename"].decode("utf-8", "replace")

    def _on_part(self) -> None:
        self._items.append(Item(item_name(self._name, len(self._items)), data=bytes(self._data)))
        self._data = bytearray()

    def _on_end(self) -> None:
        self._ended = True


def _from_json(body: bytearray, most: int) -> list[Item]:
    """Read one of `BODIES`; its first key decides which."""
    reader = JSONReader(body)
    if reader.peek() not in {"{", ""}:
        raise Refusal(400, "malformed", "the body is no JSON object")
    items: list[Item] | None = None
    names: list[str] = []
    form: str | None = None
    for key in reader.members("", ("pictures", "features", "names")):
        # names belong to features
        wanted = "pictures" if key == "pictures" else "features"
        if form not in {None, wanted}:
            raise unfit("", f"{key} does not go with {form}; send {{pictures}}, or {{features, names}}")
        form = wanted
        if key == "pictures":
            items = [_picture(reader, index) for index in _elements(reader, key, most)]
        elif key == "features":
            items = [
                Item("", feature=np.frombuffer(reader.numbers(f"{key}.{index}", WIDEST_FEATURE), np.float32))
                for index in _elements(reader, key, most)
            ]
        elif not reader.null():
            names = [reader.text(f"{key}.{index}", LONGEST_NAME) for index in _elements(reader, key, most)]
    reader.end()
    if items is None:
        raise unfit("", "pictures or features are missing")
    if not items:
        raise unfit(form or "body", "at least one is needed")
    if form == "pictures":
        return items
    if len(names) > len(items):
        raise unfit("names", f"there are {len(names)} for {len(items)} features")
    return [
        Item(item_name(names[index] if index < len(names) else None, index), feature=item.feature)
        for index, item in enumerate(items)
    ]


def _elements(reader: JSONReader, place: str, most: int) -> Iterator[int]:
    for index in reader.elements(place):
        if index == most:
            raise _too_many(most)
        yield index


def _picture(reader: JSONReader, index: int) -> Item:
    """Read an `EncodedPicture`."""
    place = f"pictures.{index}"
    name: str | None = None
    data: bytes | None = None
    error: str | None = None
    for key in reader.members(place, ("base64", "name")):
        if key == "base64":
            data, error = _decoded(reader.text_pieces(f"{place}.base64"))
        elif not reader.null():
            name = reader.text(f"{place}.name", LONGEST_NAME)
    if data is None and error is None:
        raise unfit(place, "base64 is missing")
    return Item(item_name(name, index), data=data, error=error)


def _decoded(pieces: Iterator[bytes]) -> tuple[bytes, None] | tuple[None, str]:
    """Decode base64; return the content, or the problem. All pieces are consumed."""
    content = bytearray()
    try:
        for piece in _content(_without_prefix(pieces)):
            content += piece
        return bytes(content), None
    except ValueError as error:
        problem = _NOT_BASE64 if isinstance(error, binascii.Error) else str(error)
    for _ in pieces:
        pass
    return None, problem


def _content(pieces: Iterator[bytes]) -> Iterator[bytes]:
    left = b""
    padding = b""
    for piece in pieces:
        text, equals, rest = piece.translate(_STANDARD, _SPACES).partition(b"=")
        if (padding and text) or rest.strip(b"=") or len(padding + equals + rest) > 2:
            raise binascii.Error
        padding += equals + rest
        text = left + text
        whole = len(text) & ~3
        left = text[whole:]
        yield binascii.a2b_base64(text[:whole], strict_mode=True)
    yield binascii.a2b_base64(left + b"=" * (-len(left) % 4), strict_mode=True)


def _without_prefix(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield base64 as it is; of a data URI the data, with its percent signs decoded.

    Raises:
        ValueError: a data URI of something else; its message follows a picture's name.
    """
    first = next((text for piece in pieces if (text := piece.lstrip(_SPACES))), b"")
    is_uri = first[:5].lower() == b"data:"
    if is_uri:
        media, _, first = first.partition(b",")
        if media.rpartition(b";")[2].strip(_SPACES).lower() != b"base64":
            raise ValueError("is a data URI without base64: data:image/jpeg;base64,… is taken")
    cut = b""
    # no `yield from`, which would close the pieces together with this one
    for piece in chain((first,), pieces):
        text = cut + piece
        # an escape may be cut at the end of a piece
        percent = text.rfind(b"%", -2) if is_uri else -1
        cut = b"" if percent < 0 else text[percent:]
        whole = text.removesuffix(cut)
        yield unquote_to_bytes(whole) if is_uri else whole
    yield cut


def _too_many(most: int) -> Refusal:
    return Refusal(413, "too_many", f"a request may hold {most} pictures; send the others in another one")


def _malformed_form(reason: str) -> Refusal:
    return Refusal(400, "malformed", f"the multipart body is malformed: {reason}")
