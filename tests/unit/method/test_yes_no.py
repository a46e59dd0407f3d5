import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.yes_no import read_kind, read_yes_no, split_yes_no


@pytest.mark.parametrize(
    ("text", "said", "rest"),
    [
        ("yes", True, ""),
        ("No.", False, ""),
        ("**No.** A wolf", False, "A wolf"),
        ("Yes - a lion", True, "a lion"),
        ("No → a wolf", False, "a wolf"),
        ("No (it's a wolf)", False, "it's a wolf"),
        ("Answer: no, a wolf", False, "a wolf"),
        ("The correct answer is yes.", True, ""),
        ("Well, no. A wolf", False, "A wolf"),
        ("Is it a lion? No. A wolf", False, "A wolf"),
        ("Q: Is it a lion?\nA: no", False, ""),
        ("I would say yes.", True, ""),
        ("Yes. Yes. Yes.", True, ""),
        ("yes yes yes", True, ""),
        ("A wolf in the snow. So the answer is no.", False, "A wolf in the snow"),
        ("It has a mane. Therefore, the answer is yes, a lion.", True, "It has a mane."),
        ('{"answer": true, "text": "a lion"}', True, "a lion"),
        ('{"no": "a wolf"}', False, "a wolf"),
        ('{"answer": "no', False, ""),
        ("ＹＥＳ", True, ""),
        ("はい、ライオンです", True, "ライオンです"),
        ("Nein. Ein Wolf", False, "Ein Wolf"),
        ("لا، ذئب", False, "ذئب"),
        ("No parking sign on a wall", None, "No parking sign on a wall"),
        ("Non-fiction books", None, "Non-fiction books"),
        ("No. 5 perfume", None, "No. 5 perfume"),
        ("Yesterday", None, "Yesterday"),
        ("Noodles, cooked", None, "Noodles, cooked"),
        ("N/A", None, "N/A"),
        ("True love, a film poster", None, "True love, a film poster"),
        ("Right hand of a child", None, "Right hand of a child"),
        ("A sign that says no parking", None, "A sign that says no parking"),
        ("It is a lion", None, "It is a lion"),
        ("", None, ""),
    ],
)
def test_the_word_that_decides_and_what_is_left(text: str, said: bool | None, rest: str) -> None:
    found = split_yes_no(text)
    assert (found.said, found.both, found.rest) == (said, False, rest)


@pytest.mark.parametrize("text", ["yes or no", "yes/no", "Yes and no.", "Yes. No.", "no\nyes", "no, yes", "yes no"])
def test_both_is_neither(text: str) -> None:
    assert (split_yes_no(text).said, split_yes_no(text).both) == (None, True)
    assert read_yes_no(text) is None


def test_a_refusal_takes_it_back_and_a_placeholder_does_not() -> None:
    assert read_yes_no("Yes, please provide the image.") is None
    assert read_yes_no("No, I cannot see any picture.") is None
    assert read_yes_no("No. N/A") is False
    assert read_yes_no("A wolf") is None


@pytest.mark.parametrize(
    ("text", "kin"),
    [
        ("yes", True),
        ("No.", False),
        ("Yes, a poodle is a kind of dog.", True),
        ("No, they are different animals.", False),
        ("Both are the same.", True),
        ("Either way, yes.", True),
        ("Neither.", False),
        ("Neither is a kind of the other.", False),
        ("A poodle is a kind of dog.", True),
        ('"poodle" is a breed of "dog"', True),
        ("A poodle is not a type of dog.", False),
        ("They aren't kinds of each other", None),
        ("A poodle is a kind of animal, and that is all", None),
        ("The thing is a kind of the class.", None),
        ("None of them is", False),
        ('{"answer": "no"}', False),
        ("<think>A dog is an animal.</think>Yes", True),
        ("Oui", True),
        ("yes or no", None),
        ("I'm sorry, I can't answer that.", None),
        ("Yes, please provide more information.", None),
        ("A dog on a beach", None),
        ("", None),
    ],
)
def test_one_kind_or_not(text: str, kin: bool | None) -> None:
    assert read_kind(text, "a poodle", "dog") is kin


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    found = split_yes_no(text)
    assert found.said is None or not found.both
    assert read_kind(text, "a poodle", text[:9]) in {True, False, None}


@pytest.mark.parametrize("unit", ["yes ", "no, ", "yes or ", "answer: ", "{", "[", " ", "A: ", "? ", '"', "(1) "])
def test_a_huge_answer_costs_nothing(unit: str) -> None:
    started = time.process_time()
    read_kind(unit * (200_000 // len(unit)), "a poodle", "dog")
    assert time.process_time() - started < 1.0
