import base64

import pytest

from ants_engine.backends._scrub import LIMIT, scrub

PICTURE = base64.b64encode(bytes(range(256)) * 4).decode()


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("all is well", "all is well"),
        (f"cannot read data:image/png;base64,{PICTURE} here", "cannot read [data] here"),
        ("see DATA:text/html,<b>x</b>", "see [data]<b>x</b>"),
        (f'{{"url": "data:image/png;base64,{PICTURE}"}}', '{"url": "[data]"}'),
        (f"raw {PICTURE}", "raw [data]"),
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
