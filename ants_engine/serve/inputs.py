"""Bodies become items: multipart files, or JSON with base64 pictures or CLIP features."""

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ants_engine.serve.item import LONGEST_NAME, Item, item_name
from ants_engine.serve.options import ServeOptions
from ants_engine.serve.refusal import Refusal

WIDEST_FEATURE = 8192
FIELD = "pictures"
_INLINE = 1 << 16
"""Bytes of JSON that are read on the loop; more would hold up other requests."""

Name = Annotated[str, Field(max_length=LONGEST_NAME)]


class EncodedPicture(BaseModel):
    """One picture file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    base64: str = Field(description="The file's content in base64.")
    name: Name | None = Field(default=None, description="What the answer calls it; its position when left out.")


class PicturesBody(BaseModel):
    """Pictures in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pictures: list[EncodedPicture] = Field(min_length=1)


class FeaturesBody(BaseModel):
    """CLIP image features, of the detector's own CLIP."""

    model_config = ConfigDict(extra="forbid", strict=True)

    features: list[Annotated[list[float], Field(min_length=1, max_length=WIDEST_FEATURE)]] = Field(
        min_length=1, description="A row of D numbers per picture; normalised by the server."
    )
    names: list[Name] | None = Field(default=None, description="What the answer calls them; positions when left out.")


BODIES = (PicturesBody, FeaturesBody)
_JSON: TypeAdapter[PicturesBody | FeaturesBody] = TypeAdapter(PicturesBody | FeaturesBody)


async def read_items(
    headers: Headers, chunks: AsyncGenerator[bytes, None], options: ServeOptions, parsing: Executor
) -> list[Item]:
    """Read a body as its content type says.

    Args:
        headers: of the request.
        chunks: its body.
        options: how many items are taken.
        parsing: one thread, so that one large document at a time is unfolded in memory.

    Returns:
        At least one item, in the order sent.

    Raises:
        Refusal: 400 malformed, 413 too many, 415 another kind of body, 422 not what is described.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(headers, chunks, options)
    if kind != "application/json":
        raise Refusal(415, "wrong_kind", "send multipart/form-data with files, or application/json")
    body = bytearray()
    async for chunk in chunks:
        body += chunk
    if len(body) <= _INLINE:
        return _from_json(body, options)
    return await asyncio.get_running_loop().run_in_executor(parsing, _from_json, body, options)


class _FormParser(MultiPartParser):
    """Starlette's parser; files stay in memory, which `Upload` bounds, and an end that is missing is noticed."""

    spool_max_size = 1 << 62

    def __init__(self, headers: Headers, chunks: AsyncGenerator[bytes, None], most: int) -> None:
        super().__init__(headers, chunks, max_files=most, max_fields=most, max_part_size=1 << 16)
        self.most = most
        self.parts = 0
        self.ended = False

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self.parts += 1
        if self.parts > self.most:
            raise _too_many(self.most)

    def on_end(self) -> None:
        super().on_end()
        self.ended = True


async def _from_form(headers: Headers, chunks: AsyncGenerator[bytes, None], options: ServeOptions) -> list[Item]:
    parser = _FormParser(headers, chunks, options.max_pictures)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, "malformed", f"the multipart body is malformed: {error.message}") from None
    except (ValueError, LookupError) as error:
        raise Refusal(400, "malformed", f"the multipart body is malformed ({type(error).__name__})") from None
    items: list[Item] = []
    try:
        if not parser.ended:
            raise Refusal(400, "malformed", "the multipart body is cut off: its last boundary is missing")
        for field, value in form.multi_items():
            if field != FIELD or not isinstance(value, UploadFile):
                raise Refusal(422, "no_file", f"send each picture as a file in a part called {FIELD}")
            items.append(Item(item_name(value.filename, len(items)), data=await value.read()))
    finally:
        await form.close()
    if not items:
        raise Refusal(422, "no_pictures", "there is no picture in the request")
    return items


def _from_json(body: bytes | bytearray, options: ServeOptions) -> list[Item]:
    try:
        found = _JSON.validate_json(body)
    except ValidationError as error:
        raise _unfit(error) from None
    rows: list[Any] = found.pictures if isinstance(found, PicturesBody) else found.features
    if len(rows) > options.max_pictures:
        raise _too_many(options.max_pictures)
    if isinstance(found, PicturesBody):
        return [_decoded(picture, index) for index, picture in enumerate(found.pictures)]
    names = found.names or []
    return [
        Item(item_name(names[index] if index < len(names) else None, index), feature=tuple(row))
        for index, row in enumerate(found.features)
    ]


def _decoded(picture: EncodedPicture, index: int) -> Item:
    name = item_name(picture.name, index)
    try:
        return Item(name, data=base64.b64decode(picture.base64, validate=True))
    except (binascii.Error, ValueError):
        return Item(name, error="is not base64")


def _too_many(most: int) -> Refusal:
    return Refusal(413, "too_many", f"a request may hold {most} pictures; send the others in another one")


def _unfit(error: ValidationError) -> Refusal:
    """Say what does not fit, without repeating what was sent."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return Refusal(400, "malformed", f"the body is no JSON: {found[0]['msg']}")
    # both forms complain; the one that was meant complains least
    forms = {body.__name__: [item for item in found if item["loc"][:1] == (body.__name__,)] for body in BODIES}
    least = min(forms.values(), key=lambda items: len(items) or len(found)) or found
    said = "; ".join(f"{'.'.join(map(str, item['loc'][1:])) or 'body'}: {item['msg']}" for item in least[:3])
    return Refusal(422, "unfit", f"the body is not as described: {said}")
