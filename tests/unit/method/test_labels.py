import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.answer import Rejection
from ants_engine.method.class_names import ClassNames
from ants_engine.method.labels import parse_labels, parse_numbered_labels, tidy_labels

THREE = ("wolf", "coyote", "red fox")


@pytest.mark.parametrize(
    "text",
    [
        "1. wolf\n2. coyote\n3. red fox",
        "1) wolf\n2) coyote\n3) red fox\n",
        "1: wolf\n2- coyote\n 3. red fox.",
        "(1) wolf\n(2) coyote\n(3) red fox",
        "- wolf\n- coyote\n- red fox",
        "* wolf\n• coyote\n– red fox",
        "wolf\ncoyote\nred fox",
        "wolf, coyote, red fox",
        "wolf, coyote, and red fox.",
        "wolf, coyote and red fox",
        "wolf; coyote; red fox",
        "1. wolf 2. coyote 3. red fox",
        "1) wolf, 2) coyote, 3) red fox",
        "1. wolf, coyote, red fox",
        "Sure! Here are three: wolf, coyote, red fox.",
        "Sure! Here are three:\n\n1. wolf\n2. coyote\n3. red fox\n\nLet me know if you need more!",
        "Here are three classes that look like a dog:\nwolf\ncoyote\nred fox",
        "1. **wolf**\n2. **coyote**: smaller\n3. **red fox** (Vulpes vulpes)",
        "**1.** wolf\n**2.** coyote\n**3.** red fox",
        "1. wolf - a wild canine\n2. coyote – smaller\n3. red fox, with a bushy tail",
        "1. wolf\n   - a wild canine\n2. coyote\n   - smaller\n3. red fox\n   - red",
        "1. \"wolf\"\n2. “coyote”\n3. 'red fox'",
        "1. A wolf\n2. a coyote\n3. the red fox",
        "1. `wolf`\n2. coyote because it barks\n3. red_fox",
        '["wolf", "coyote", "red fox"]',
        '```json\n["wolf", "coyote", "red fox"]\n```',
        '{"labels": ["wolf", "coyote", "red fox"]}',
        '[{"name": "wolf"}, {"name": "coyote"}, {"name": "red fox"}]',
        '["wolf", "coyote", "red fox", "ja',
        "<think>1. dog, no.</think>\n1. wolf\n2. coyote\n3. red fox",
        "1. wolf<br>\r\n2. coyote<br>\r\n3. red fox<|im_end|>",
        "1.\u200b wolf\n2.\x07 coyote\n3.\u00a0red  fox",
    ],
)
def test_lists_as_they_come(text):
    parsed = parse_labels(text)
    assert parsed.labels == THREE
    assert parsed.rejection is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Rejection.EMPTY),
        (" \n\t ", Rejection.EMPTY),
        ("1.\n2.\n", Rejection.EMPTY),
        ("1. 5\n2. 7", Rejection.EMPTY),
        ("I'm sorry, but I can't help with that.", Rejection.REFUSAL),
        ("I’m sorry, I cannot list those.", Rejection.REFUSAL),
        ("As an AI language model, I do not see pictures, birds, dogs.", Rejection.REFUSAL),
        ("None", Rejection.REFUSAL),
        ("1. n/a\n2. none", Rejection.REFUSAL),
        ("1. 狼\n2. 狐", Rejection.NOT_LATIN),
        ("волк, лиса, койот", Rejection.NOT_LATIN),
        ("A wolf looks a lot like a dog because both have fur.", Rejection.RAMBLING),
        ("x" * 50_000, Rejection.RAMBLING),
        ("the wild and rather grey animal howling at night in woods", Rejection.RAMBLING),
    ],
)
def test_answers_that_are_none(text, reason):
    parsed = parse_labels(text)
    assert parsed.labels == ()
    assert parsed.rejection == reason


def test_a_list_behind_a_refusal_counts():
    assert parse_labels("I'm sorry, I can't see the picture. But:\n1. wolf\n2. coyote").labels == ("wolf", "coyote")


def test_items_set_aside_are_named():
    parsed = parse_labels(
        "1. dog\n2. wolves\n3. Wolf\n4. wolf\n5. sea lion\n6. 狐\n7. lions\n8. Hunting Dogs",
        limit=9,
        asked="dog",
        class_names=ClassNames(["dog", "lion"]),
    )
    assert parsed.labels == ("wolves", "Wolf", "sea lion")
    assert parsed.rejected == (
        ("dog", Rejection.NAMES_ID_CLASS),
        ("wolf", Rejection.DUPLICATE),
        ("狐", Rejection.NOT_LATIN),
        ("lions", Rejection.NAMES_ID_CLASS),
        ("Hunting Dogs", Rejection.NAMES_ID_CLASS),
    )
    assert parsed.rejection is None


def test_names_with_points():
    assert parse_labels("- St. Bernard\n- Mr. Potato Head\n- T-shirt").labels == (
        "St. Bernard",
        "Mr. Potato Head",
        "T-shirt",
    )


def test_names_that_look_like_prose_or_two():
    assert parse_labels("road signs, warning labels, black and white marbles").labels == (
        "road signs",
        "warning labels",
        "black and white marbles",
    )
    assert parse_labels("greyhound (note: also a dog), cheetah, sailfish").labels == (
        "greyhound",
        "cheetah",
        "sailfish",
    )


def test_limit():
    assert len(parse_labels("\n".join(f"{row}. thing {'abcdefghij'[row]}" for row in range(1, 10))).labels) == 5
    for bad in ({"limit": 0}, {"max_words": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            parse_labels("wolf", **bad)


@pytest.mark.parametrize(
    "unit", ["wolf, ", "1. ", "[", '"a', "(", "> ", "ok! ", "a", "**", "<", "<a", "\n", "- - ", "&", "1. a 2. ", "!["]
)
def test_a_huge_answer_costs_nothing(unit):
    started = time.process_time()
    parse_labels(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 1.0


@given(st.text(max_size=300))
def test_any_text_gives_labels_or_a_reason(text):
    parsed = parse_labels(text)
    assert bool(parsed.labels) == (parsed.rejection is None)
    folded = [label.casefold() for label in parsed.labels]
    assert len(set(folded)) == len(folded) <= 5
    assert all(label == " ".join(label.split()) and 1 <= len(label.split()) <= 6 for label in parsed.labels)


def test_the_reference_reads_numbered_lines_only():
    assert parse_numbered_labels("1. wolf\n- fox\nlynx\n2) **jackal**.\n3: WOLF") == ["wolf", "**jackal**"]
    assert parse_numbered_labels("1. a\n2. b", limit=1) == ["a"]


def test_tidy_labels():
    assert tidy_labels(["  A  cat. ", "a CAT", "", " . ", "dog..."]) == ["A cat", "dog"]
