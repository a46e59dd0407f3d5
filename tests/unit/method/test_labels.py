import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.answer import Rejection
from ants_engine.method.class_names import ClassNames
from ants_engine.method.labels import parse_labels, parse_numbered_labels, tidy_labels, whole_items

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
        "i. wolf\nii. coyote\niii. red fox",
        "I) wolf\nII) coyote\nIII) red fox",
        "#1 wolf\n#2 coyote\n#3 red fox",
        "#1: wolf\n#2: coyote\n#3: red fox",
        "1️⃣ wolf\n2️⃣ coyote\n3️⃣ red fox",
        "① wolf\n② coyote\n③ red fox",
        "１．wolf\n２．coyote\n３．red fox",
        "1) Name: wolf\n2) Name: coyote\n3) Name: red fox",
        "**1.** **wolf**: grey\n**2.** **coyote**: small\n**3.** **red fox**: red",
        "1\\. wolf\n2\\. coyote\n3\\. red fox",
        "1 wolf\n2 coyote\n3 red fox",
        "A) wolf\nB) coyote\nC) red fox",
        "Class 1: wolf\nClass 2: coyote\nClass 3: red fox",
        "First, wolf\nSecond, coyote\nThird, red fox",
        "Name: wolf\nReason: grey\n\nName: coyote\nReason: small\n\nName: red fox\nReason: red",
        "- [ ] wolf\n- [x] coyote\n- [ ] red fox",
        "🐺 wolf\n🐕 coyote\n🦊 red fox",
        "1. wolf 🐺\n2. 🐕 coyote\n3. red fox",
        "✅ wolf\n✅ coyote\n✅ red fox",
        "• wolf • coyote • red fox",
        "wolf / coyote / red fox",
        "- wolf\n  - grey fur\n  - howls\n- coyote\n  - small\n- red fox\n  - red",
        "1. wolf\n   a. grey\n   b. big\n2. coyote\n   a. small\n3. red fox",
        "**wolf**\n- grey fur\n- howls\n\n**coyote**\n- small\n\n**red fox**\n- red",
        "### 1. wolf\nGrey.\n### 2. coyote\nSmall.\n### 3. red fox\nRed.",
        "1. wolf\n\nWolves are grey.\n\n2. coyote\n\nThey are small.\n\n3. red fox\n\nIt is red.",
        '{"1": "wolf", "2": "coyote", "3": "red fox"}',
        '{"1": {"name": "wolf", "reason": "fur"}, "2": {"name": "coyote"}, "3": {"name": "red fox"}}',
        '{"wolf": "a large wild canine that howls at the moon", "coyote": "small", "red fox": "red"}',
        'Here you go:\n{"look_alikes": [{"id": "1", "name": "wolf"}'
        ', {"id": "2", "name": "coyote"}, {"id": "3", "name": "red fox"}]}',
        '{"name": "wolf"}\n{"name": "coyote"}\n{"name": "red fox"}',
        '[["wolf", "grey"], ["coyote", "small"], ["red fox", "red"]]',
        "['wolf', 'coyote', 'red fox']",
        "labels:\n  - wolf\n  - coyote\n  - red fox",
        "| # | Name |\n|---|---|\n| 1 | wolf |\n| 2 | coyote |\n| 3 | red fox |",
        "| Why | Name |\n|:--|:--|\n| grey | wolf |\n| small | coyote |\n| red | red fox |",
        "# | Name | Reason\n--|--|--\n1 | wolf | x\n2 | coyote | y\n3 | red fox | z",
        "<ol><li>wolf</li><li>coyote</li><li>red fox</li></ol>",
        "<table><tr><th>#</th><th>Name</th></tr><tr><td>1</td><td>wolf</td></tr>"
        "<tr><td>2</td><td>coyote</td></tr><tr><td>3</td><td>red fox</td></tr></table>",
        "\\begin{itemize}\n\\item wolf\n\\item coyote\n\\item red fox\n\\end{itemize}",
        "### Response:\n1. wolf\n2. coyote\n3. red fox",
        "<answer>1. wolf\n2. coyote\n3. red fox</answer>",
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


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("1. wolf\n2. coyote\n3. red f", ("wolf", "coyote")),
        ("1. wolf\n2. coyote\n", ("wolf", "coyote")),
        ("wolf, coyote, red f", ("wolf", "coyote")),
        ("1. wolf 2. coyote 3. red f", ("wolf", "coyote")),
        ("Sure! Here are five things\nwolf, coyote, re", ("wolf", "coyote")),
        ('["wolf", "coyote", "red f', ("wolf", "coyote")),
        ('{"1": "wolf", "2": "coyote", "3": "re', ("wolf", "coyote")),
        ('{"labels": ["wolf", "coyote", "re', ("wolf", "coyote")),
        ("| # | Name |\n|---|---|\n| 1 | wolf |\n| 2 | coyote |\n| 3 | re", ("wolf", "coyote")),
        ("<think>hm</think>\n1. wolf\n2. coyote\n3. red", ("wolf", "coyote")),
        ("wolf", ()),
        ("Sure! Here are five things:\n1. wo", ()),
        ("", ()),
    ],
)
def test_of_a_list_that_was_cut_off_the_whole_items_are_left(text, labels):
    whole = whole_items(text)
    assert text.startswith(whole)
    assert parse_labels(whole).labels == labels


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1. Hunting dog\n2. dogs", Rejection.ECHO),
        ("1. lion\n2. lions", Rejection.NAMES_ID_CLASS),
        ("1. lion\n2. 狐\n3. 狼", Rejection.NOT_LATIN),
        ("1. dog\n2. lion\n3. the grey one is here", Rejection.NAMES_ID_CLASS),
        ("1. lion\n2. it is a grey one", Rejection.RAMBLING),
    ],
)
def test_a_list_without_a_label_is_set_aside_for_what_most_of_it_is(text, reason):
    assert parse_labels(text, asked="dog", class_names=ClassNames(["dog", "lion"])).rejection is reason


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


@pytest.mark.parametrize(
    "answer",
    [
        "> 1. Wolf\n> 2. Coyote\n> 3. Jackal",
        "Wolf: similar body\nCoyote: similar ears\nJackal: similar tail",
        "Three things like a dog are a wolf, a coyote, and a jackal.",
        '{"answer": "Wolf, Coyote, Jackal"}',
        '{"answer": "1. Wolf\\n2. Coyote\\n3. Jackal"}',
    ],
)
def test_lists_that_stand_in_quotes_in_a_sentence_or_in_one_text(answer: str) -> None:
    assert [label.casefold() for label in parse_labels(answer).labels] == ["wolf", "coyote", "jackal"]


def test_commas_of_an_explanation_part_no_items() -> None:
    assert parse_labels("1. Wolf – a grey animal, with big ears").labels == ("Wolf",)
