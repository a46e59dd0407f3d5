import base64
import textwrap

import pytest

from ants_engine.backends._scrub import LIMIT, redact, repeats_request, scrub

PICTURE = base64.b64encode(bytes(range(256)) * 4).decode()


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("all is well", "all is well"),
        (f"cannot read data:image/png;base64,{PICTURE} here", "cannot read [data] here"),
        ("see DATA:text/html,<b>x</b>", "see [data]<b>x</b>"),
        (f'{{"url": "data:image/png;base64,{PICTURE}"}}', '{"url": "[data]"}'),
        (f"raw {PICTURE}", "raw [data]"),
        ("escaped " + PICTURE.replace("/", "\\/"), "escaped [data]"),
        ("in an address " + PICTURE.replace("/", "%2F").replace("+", "%2B"), "in an address [data]"),
        (r'{"url": "data:image\/png;base64,iVBORw0KGgo\/AAA="}', '{"url": "[data]"}'),
        ("in lines\n" + "\n".join(textwrap.wrap(PICTURE, 76)[:-1]), "in lines " + " ".join(["[data]"] * 17)),
        ("key very-secret is wrong", "key [key] is wrong"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer [key]"),
        ("Incorrect API key provided: sk-proj*****1234", "Incorrect API key provided: sk-[key]"),
        ("two\nlines\x1b[31m", "two lines [31m"),
        ("x " * LIMIT, ("x " * LIMIT)[:LIMIT] + "…"),
    ],
)
def test_nothing_private_is_left(text, scrubbed):
    assert scrub(text, "very-secret") == scrubbed


def test_without_a_secret_nothing_is_replaced_by_it():
    assert scrub("plain") == "plain"


def test_a_cut_picture_leaves_nothing_behind():
    assert scrub("data:image/png;base64," + "QUJD" * 1_000_000) == "[data]"


def test_a_key_that_a_cut_would_halve_is_found():
    text = "data:image/png;base64," + "A" * (1_000_000 - 26) + " very-secret"
    assert scrub(text, "very-secret").startswith("[data]")
    assert "very" not in scrub(text, "very-secret")


def test_redacting_keeps_the_rest_as_it_is():
    text = "two\nlines " + "word " * LIMIT
    assert redact(text, "very-secret") == text


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("a red ball", False),
        ("Bearer a-key-that-is-long-enough", True),
        ("a-key", False),
        ("data:image/png;base64,AAAA", True),
        (r"data:image\/png;base64,AAAA", True),
        ("a chart of data: images, base64 and all", False),
    ],
)
def test_an_answer_that_repeats_the_request_is_known(text, repeats):
    assert repeats_request(text, "a-key-that-is-long-enough") is repeats
    assert not repeats_request("my-key is ollama", "ollama")
