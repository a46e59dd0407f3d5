"""Keys: the same request has the same key everywhere, any other has another."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.dispatch.prompt_template import TemplateLibrary
from ants_engine.dispatch.request import LazyPicture, Request
from ants_engine.errors import ImageUnreadableError, TemplateError
from ants_engine.protocol import Decoding, Picture
from tests.unit.dispatch.fakes import IDENTITY, PICTURE, make_request

SHA256 = st.text("0123456789abcdef", min_size=64, max_size=64)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    LEAVES | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
REQUESTS = st.fixed_dictionaries(
    {
        "task": st.sampled_from(["ens", "vsnl"]),
        "template": st.sampled_from(["ens/v1", "vsnl/v2"]),
        "template_sha256": SHA256,
        "prompt": st.text(max_size=40),
        "identity": st.dictionaries(st.text(max_size=8), JSON, min_size=1, max_size=4),
        "decoding": st.builds(Decoding, st.integers(1, 4096), st.floats(0, 2)),
        "picture_sha256": st.none() | SHA256,
    }
)

# What was once written must be found again by every later version with this schema.
PINNED = (
    '{"decoding":{"max_new_tokens":16,"temperature":0.0},"model":{"architecture":"tiny","weights_sha256":"CD"},'
    '"picture":null,"prompt":"Name 5 things.","schema":1,"task":"vsnl","template":{"ref":"vsnl/v1","sha256":"EF"}}'
)
PINNED = PINNED.replace("CD", "cd" * 32).replace("EF", "ef" * 32)


@given(REQUESTS)
def test_the_key_follows_from_the_parts_alone(parts: dict[str, Any]) -> None:
    request = Request(**parts)
    reversed_identity = dict(reversed(parts["identity"].items()))
    again = Request(**(parts | {"identity": reversed_identity}), picture=PICTURE, label="holiday.png")
    assert again.key == request.key
    assert again == request
    assert hash(again) == hash(request)
    assert Request.from_payload(request.payload()) == request
    assert Request.from_payload(json.loads(request.text)).text == request.text


@given(REQUESTS, REQUESTS)
def test_any_other_part_makes_another_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    request = Request(**one)
    for name, value in other.items():
        changed = Request(**(one | {name: value}))
        assert (changed.key == request.key) == (changed.payload() == request.payload())
        assert (changed == request) == (changed.key == request.key)


def test_every_field_that_decides_the_answer_is_in_the_key() -> None:
    base = make_request()
    changes: dict[str, Any] = {
        "task": "ens",
        "template": "vsnl/v2",
        "template_sha256": "00" * 32,
        "prompt": "Name 6 things.",
        "identity": IDENTITY | {"weights_sha256": "00" * 32},
        "picture_sha256": "12" * 32,
    }
    for name in ("max_new_tokens", "temperature"):
        changes[f"decoding.{name}"] = dataclasses.replace(base.decoding, **{name: 17})
    keys = {make_request(**{name.partition(".")[0]: value}).key for name, value in changes.items()}
    assert len(keys | {base.key}) == len(changes) + 1
    covered = {name.partition(".")[0] for name in changes} | {"picture", "label", "judge", "key", "text"}
    assert {field.name for field in dataclasses.fields(Request)} == covered
    assert {field.name for field in dataclasses.fields(Decoding)} == {"max_new_tokens", "temperature"}


def test_one_temperature_has_one_key() -> None:
    keys = {make_request(decoding=Decoding(16, temperature)).key for temperature in (0, 0.0, -0.0, False)}
    assert len(keys) == 1


def test_the_key_is_the_same_in_another_process() -> None:
    code = (
        "from tests.unit.dispatch.fakes import make_request\n"
        "print(make_request('naïve 猫 $x', identity={'b': 0.1, 'a': [1e22, None]}).key)"
    )
    run = subprocess.run([sys.executable, "-R", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == make_request("naïve 猫 $x", identity={"a": [1e22, None], "b": 0.1}).key


def test_a_key_given_out_once_stays() -> None:
    assert make_request().text == PINNED
    assert make_request().key == hashlib.sha256(PINNED.encode()).hexdigest()


def test_a_mapping_that_changes_later_changes_nothing() -> None:
    identity = dict(IDENTITY)
    request = make_request(identity=identity)
    before = request.key, request.payload()
    identity["weights_sha256"] = "00"
    assert (request.key, request.payload()) == before


def test_no_picture_bytes_in_text_or_repr() -> None:
    picture = Picture(b"PRIVATE", "image/png", "ab" * 32, 1, 1)
    request = make_request(picture=picture, picture_sha256=picture.sha256, label="a\x1b[31m.png")
    for text in (request.text, repr(request), request.describe(), str(request)):
        assert "PRIVATE" not in text
        assert "\x1b" not in text
    assert request.describe() == 'vsnl/v1, picture abababababab… ("a\\u001b[31m.png"), "Name 5 things."'
    assert "label" not in request.payload()


@pytest.mark.parametrize("identity", [{"a": object()}, {"a": float("nan")}, {"a": b"x"}])
def test_an_identity_must_be_json(identity: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        make_request(identity=identity)


def test_a_prompt_must_be_text_that_can_be_sent() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        make_request("half \ud800")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": True},
        {"extra": 1},
        {"picture": "short"},
        {"picture": "A" * 64},
        {"decoding": {"max_new_tokens": 16, "temperature": 0}},
        {"decoding": {"max_new_tokens": 16.0, "temperature": 0.0}},
        {"template": {"ref": "x"}},
        {"model": []},
        {"prompt": None},
    ],
)
def test_parts_of_another_form_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="request"):
        Request.from_payload(make_request().payload() | change)
    with pytest.raises(ValueError, match="request"):
        Request.from_payload(None)


def test_a_template_says_whether_a_picture_is_shown() -> None:
    library = TemplateLibrary()
    ens, vsnl = library.load("ens/v1"), library.load("vsnl/v1")
    request = Request.of(ens, "p", identity=IDENTITY, decoding=Decoding(8), picture=PICTURE)
    assert request.picture_sha256 == PICTURE.sha256
    assert (request.task, request.template, request.template_sha256) == ("ens", "ens/v1", ens.sha256)
    with pytest.raises(TemplateError, match="ens/v1 takes a picture, and none was given"):
        Request.of(ens, "p", identity=IDENTITY, decoding=Decoding(8))
    with pytest.raises(TemplateError, match="vsnl/v1 takes no picture"):
        Request.of(vsnl, "p", identity=IDENTITY, decoding=Decoding(8), picture=PICTURE)


async def test_a_lazy_picture_is_read_when_asked_and_must_be_the_same() -> None:
    async def load() -> Picture:
        return PICTURE

    same = make_request(picture=LazyPicture(PICTURE.sha256, load), picture_sha256=PICTURE.sha256)
    assert await same.fetch_picture() is PICTURE
    other = make_request(picture=LazyPicture("00" * 32, load), picture_sha256="00" * 32, label="cat.png")
    with pytest.raises(ImageUnreadableError, match=r"cat.png: changed since it was first read"):
        await other.fetch_picture()
    with pytest.raises(ImageUnreadableError, match="carries its digest only"):
        await make_request(picture_sha256="00" * 32).fetch_picture()
    assert await make_request().fetch_picture() is None
