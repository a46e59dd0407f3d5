"""Bodies as clients write them, and as nobody should."""

import base64
import json
import random
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from starlette.datastructures import Headers

from ants_engine.serve.inputs import Item, read_items
from ants_engine.serve.options import Refusal, ServeOptions
from tests.support.served import BOUNDARY, form

CONTENT = random.Random(0).randbytes(200_001)
CODED = base64.b64encode(CONTENT).decode()
FORM = f"multipart/form-data; boundary={BOUNDARY}"


async def items(body: bytes, kind: str = "application/json", most: int = 4) -> list[Item]:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    with ThreadPoolExecutor(1) as parsing:
        return await read_items(Headers({"content-type": kind}), chunks(), ServeOptions(max_pictures=most), parsing)


async def refusal(body: bytes, kind: str = "application/json") -> Refusal:
    with pytest.raises(Refusal) as refused:
        await items(body, kind)
    return refused.value


def pictures(*coded: str, **options: Any) -> bytes:
    return json.dumps({"pictures": [{"base64": text} for text in coded]}, **options).encode()


@pytest.mark.parametrize(
    "text",
    [
        CODED,
        CODED.rstrip("="),
        CODED.replace("+", "-").replace("/", "_"),
        base64.encodebytes(CONTENT).decode(),
        base64.encodebytes(CONTENT).decode().replace("\n", "\r\n"),
        f"data:image/jpeg;base64,{CODED}",
        f"\n DATA:image/jpeg;name=one.jpg; Base64 ,{CODED}\n",
        "data:;base64," + CODED.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
    ],
)
async def test_base64_is_taken_as_clients_write_it(text: str) -> None:
    found = await items(pictures(text, "QQ"))
    assert (found[0].error, found[0].data) == (None, CONTENT)
    assert (found[1].name, found[1].data) == ("#1", b"A")


async def test_base64_is_taken_in_any_escapes_and_with_bare_line_breaks() -> None:
    escaped = CODED.replace("/", r"\/").replace("+", r"\u002B").replace("\n", r"\n")
    bare = base64.encodebytes(CONTENT).decode()
    for text in (escaped, bare):
        (found,) = await items(f'{{"pictures": [{{"base64": "{text}", "name": "a"}}]}}'.encode())
        assert (found.name, found.data) == ("a", CONTENT)


@pytest.mark.parametrize("size", range(9))
async def test_base64_of_any_length_is_whole(size: int) -> None:
    for content in (CONTENT[:size], CONTENT[: 3 * (1 << 14) - 4 + size]):
        for text in (base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode().rstrip("=")):
            assert (await items(pictures(text)))[0].data == content


@pytest.mark.parametrize(
    "text",
    [
        "%%%",
        "A",
        "QQ=A",
        "QQ===",
        "QQ==QQ==",
        "=" * 200_000,
        "é" * 70_000,
        "😀",
        f"{CODED}!{CODED}",
        "http://localhost/one.jpg",
        "data:image/png;base64,%4",
    ],
)
async def test_what_is_no_base64_fails_alone_and_its_error_says_what_is_taken(text: str) -> None:
    for options in ({}, {"ensure_ascii": False}):
        one, other = await items(pictures(text, CODED, **options))
        assert one.data is None
        assert one.error is not None
        assert one.error.startswith("is not base64: ")
        assert "data:image/jpeg;base64," in one.error
        assert other.data == CONTENT


async def test_a_data_uri_without_base64_is_told_so() -> None:
    for text in ("data:image/png,%89PNG", "data:", "data:text/plain;charset=utf-8,base64"):
        one, other = await items(pictures(text, "QQ"))
        assert one.error is not None
        assert "without base64" in one.error
        assert other.data == b"A"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("", 400, "ends too early"),
        ("{", 400, "ends too early"),
        ('{"pictures":[{"base64":"QQ', 400, "ends too early"),
        ('{"features":[[1', 400, "ends too early"),
        ("null", 400, "no JSON object"),
        ("[" * 100_000, 400, "no JSON object"),
        ("{'pictures':[]}", 400, "byte 1"),
        ("{1:2}", 400, "byte 1"),
        ('{"pictures" []}', 400, "byte 12"),
        ('{"pictures":[{"base64":"\\x"}]}', 400, "byte 24"),
        ('{"features":[[1,]]}', 400, "byte 14"),
        ('{"features":[[1 2]]}', 400, "byte 14"),
        ('{"features":[[1],]}', 400, "byte 17"),
        ('{"features":[[1]]} x', 400, "byte 19"),
        ('{"features":[[1]],"names":["\\ud800"]}', 400, "byte 28"),
        ('{"features":[[1]],"names":["\n"]}', 400, "byte 28"),
        ("{}", 422, "pictures or features are missing"),
        ('{"names":["a"]}', 422, "pictures or features are missing"),
        ('{"picture":[]}', 422, "'picture' is not among its keys, which are pictures, features, names"),
        (f'{{"{"a" * 10_000}":1}}', 422, "64 characters"),
        ('{"pictures":null}', 422, "pictures: an array"),
        ('{"pictures":[]}', 422, "pictures: at least one"),
        ('{"pictures":[0,0]}', 422, "pictures.0: an object"),
        ('{"pictures":[{}]}', 422, "pictures.0: base64 is missing"),
        ('{"pictures":[{"base64":null}]}', 422, "pictures.0.base64: a string"),
        ('{"pictures":[{"base64":"","path":"/etc/passwd"}]}', 422, "pictures.0: 'path' is not among its keys"),
        ('{"pictures":[{"base64":"","base64":""}]}', 422, "base64 is given twice"),
        ('{"features":[[1]],"features":[[1]]}', 422, "features is given twice"),
        ('{"pictures":[{"base64":""}],"features":[[1]]}', 422, "features does not go with pictures"),
        ('{"names":["a"],"pictures":[]}', 422, "pictures does not go with features"),
        ('{"features":[]}', 422, "features: at least one"),
        ('{"features":[[]]}', 422, "features.0: at least one number"),
        ('{"features":[[1],["a"]]}', 422, "features.1: a number"),
        ('{"features":[[true]]}', 422, "features.0: a number"),
        ('{"features":[[1,[1]]]}', 422, "features.0: a number"),
        (f'{{"features":[[{"1," * 9000}1]]}}', 422, "8,192 numbers"),
        (f'{{"features":[[{"1" * 70_000}]]}}', 422, "65,536 characters"),
        ('{"features":[[1]],"names":[1]}', 422, "names.0: a string"),
        ('{"names":["a","b"],"features":[[1]]}', 422, "names: there are 2 for 1 features"),
        (f'{{"features":[[1]],"names":["{"a" * 256}"]}}', 422, "names.0: a string may have 255 characters"),
        ('{"pictures":[%s0]}' % ('{"base64":""},' * 4), 413, "4 pictures"),
        ('{"features":[[1],[1],[1],[1],[', 413, "4 pictures"),
        ('{"names":["","","","",', 413, "4 pictures"),
    ],
)
async def test_a_document_ends_at_the_first_thing_that_does_not_fit(body: str, status: int, words: str) -> None:
    refused = await refusal(body.encode())
    assert (refused.status, words in refused.message) == (status, True), refused.message


async def test_features_are_read_as_python_writes_them() -> None:
    body = "\ufeff" + '{"features":[[1,NaN,-Infinity,1e999,-2.5e-3,%s]], "names":null}' % ("9" * 5000)
    (found,) = await items(body.encode())
    assert found.feature is not None
    assert found.feature.dtype == np.float32
    np.testing.assert_array_equal(found.feature, np.float32([1, np.nan, -np.inf, np.inf, -2.5e-3, np.inf]))


async def test_features_and_names_are_those_that_json_reads() -> None:
    for seed in range(300):
        draw = random.Random(seed)
        rows = [[draw.choice([1, -2.5, 1e10, 0.1]) for _ in range(draw.randint(1, 9))] for _ in range(4)]
        names = ["".join(draw.choices('aé"\\\n😀/\x7f', k=draw.randint(1, 9))) for _ in rows]
        members = [("features", rows), ("names", names)]
        draw.shuffle(members)
        text = json.dumps(dict(members), ensure_ascii=draw.random() < 0.5, indent=draw.choice([None, 1])).encode()
        for number, item in enumerate(await items(text)):
            np.testing.assert_array_equal(item.feature, np.float32(rows[number]))
            assert item.name == (names[number].strip() or f"#{number}")
        damaged = bytearray(text)
        damaged[draw.randrange(len(text))] = draw.randrange(256)
        try:
            await items(bytes(damaged))
        except Refusal:
            continue
        json.loads(damaged)


async def test_files_are_read_whole_whatever_is_in_them() -> None:
    boundary = BOUNDARY.encode()
    contents = [CONTENT, b"", b"\r" * 100_000, b"\r\n--" + boundary + b"x", b"\r\n--" + boundary[:-1], b"--\r\n"]
    found = await items(form(*contents), FORM, most=6)
    assert [(item.name, item.data) for item in found] == [(f"{n}.jpg", data) for n, data in enumerate(contents)]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("filename*=utf-8''caf%C3%A9.jpg", "café.jpg"),
        ("Filename* = UTF-8'fr'%E2%82%AC%20rates", "€ rates"),
        ("filename=\"a\"; filename*=UTF-8''b", "a"),
        ("filename*=UTF-8''%ff", "\ufffd"),
    ],
)
async def test_a_files_name_may_be_given_in_the_extended_form_alone(given: str, name: str) -> None:
    body = form(b"x").replace(b'filename="0.jpg"', given.encode())
    assert [(one.name, one.data) for one in await items(body, FORM)] == [(name, b"x")]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (form(b"x", end=False), 400, "malformed"),
        (b"", 400, "malformed"),
        (b"\r\n" * 100_000, 400, "malformed"),
        (form(b"x").replace(b"filename", b"X: " + b"y" * 10_000 + b"\r\nfilename"), 400, "malformed"),
        (form(b"x").replace(b"\r\n\r\n", b"\r\nX: y" * 100 + b"\r\n\r\n"), 400, "malformed"),
        (form(*[b"x"] * 5), 413, "too_many"),
    ],
)
async def test_a_form_ends_at_the_first_thing_that_does_not_fit(body: bytes, status: int, kind: str) -> None:
    refused = await refusal(body, FORM)
    assert (refused.status, refused.kind) == (status, kind)
    for wrong in ("multipart/form-data", f"multipart/form-data; boundary={'b' * 300}"):
        assert (await refusal(form(b"x"), wrong)).status == 400
