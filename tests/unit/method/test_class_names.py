import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.class_names import ClassNames, names_class

NAMES = [
    "wolf",
    "great white shark",
    "bus",
    "news",
    "sea lion",
    "car (automobile)",
    "mouse",
    "T-shirt",
    "sandals",
    "cherry",
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("two wolves in snow", "wolf"),
        ("A Great White Shark jumps", "great white shark"),
        ("red buses", "bus"),
        ("the bus's door", "bus"),
        ("sea lions", "sea lion"),
        ("a sea-lion", "sea lion"),
        ("a sea_lion", "sea lion"),
        ("a parked car", "car (automobile)"),
        ("three mice", "mouse"),
        ("T-shirts on a line", "T-shirt"),
        ("one sandal", "sandals"),
        ("Cherries.", "cherry"),
        ("the wolf’s head", "wolf"),
        ("lions at sea", None),
        ("a wolfhound", None),
        ("a new cart", None),
        ("white shark", "great white shark"),
        ("busy street", None),
        ("", None),
    ],
)
def test_whole_words_singular_or_plural(text, found):
    index = ClassNames(NAMES).find(text)
    assert (None if index is None else NAMES[index]) == found
    assert names_class(text, NAMES) == (found is not None)


def test_the_longer_name_wins():
    names = ["lion", "sea lion", "sea lion pup"]
    assert ClassNames(names).find("a sea lion sleeps") == 1


def test_equals_takes_the_whole_text():
    names = ClassNames(NAMES)
    assert names.equals("Wolves")
    assert names.equals("car")
    assert not names.equals("grey wolf")
    assert not names.equals("")


def test_names_without_a_word_are_never_found():
    assert ClassNames(["!!!", ""]).find("!!! what") is None
    assert ClassNames([]).find("anything") is None


@given(st.lists(st.text(alphabet="abcs -", min_size=1, max_size=8), min_size=1, max_size=5), st.data())
def test_a_name_is_found_in_any_sentence_around_it(names, data):
    name = data.draw(st.sampled_from(names))
    if any(character.isalpha() for character in name):
        assert ClassNames(names).find(f"There is {name.upper()}, they say") is not None
        assert ClassNames(names).equals(name)


def test_a_thousand_names_are_prepared_once():
    names = ClassNames([f"thing number {row}" for row in range(1000)])
    started = time.process_time()
    for _ in range(1000):
        assert names.find("a short sentence about thing number 999 here") == 999
    assert time.process_time() - started < 1.0
