import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.answer import Rejection, clean_sentence
from ants_engine.method.labels import tidy_labels


@pytest.mark.parametrize(
    "text",
    [
        "A cat on a mat.",
        "  A   cat\ton a mat  ",
        '"A cat on a mat."',
        "“A cat on a mat.”",
        "'A cat on a mat'",
        "**A cat** on a *mat*.",
        "Answer: A cat on a mat.",
        "**Description:** A cat on a mat",
        "Caption 1: A cat on a mat",
        "Sure! A cat on a mat.",
        "Sure! Here is a short description: A cat on a mat.",
        'Of course, here\'s a caption:\n\n"A cat on a mat."',
        "Sure!\nA cat on a mat",
        "1. A cat on a mat\n2. A dog",
        "- A cat on a mat.\n- A dog.",
        "# A cat on a mat",
        "A cat on a mat. It sleeps there all day.",
        "A cat on a mat! Look.",
        "A cat on a mat.\nIt sleeps.",
        "A cat on a mat.</s> A dog",
        "A cat on a mat<|im_end|>",
        "<think>Is it a dog?</think>A cat on a mat.",
        '{"caption": "A cat on a mat."}',
        "```\nA cat on a mat\n```",
        "(A cat on a mat)",
        "\x00A\u200b cat\x1b on a mat",
        "A cat on a mat. " + "And so on. " * 5000,
    ],
)
def test_sentences_as_they_come(text):
    assert clean_sentence(text, 12) == "A cat on a mat"


@pytest.mark.parametrize(
    "text",
    [
        "A St. Bernard lies in the snow",
        "A 3.5 inch disk",
        "Vitamin C. pills",
        "A sorry dog sits in the rain",
        "Sorry looking dog",
        "A sign: stop",
        "No parking sign",
        "Jeopardy! game show on a television",
        "A user at a desk",
        "Eine Katze auf einer Matte",
        "Une chatte à côté d'un œuf",
    ],
)
def test_sentences_left_as_they_are(text):
    assert clean_sentence(text, 12) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Rejection.EMPTY),
        (" \n ", Rejection.EMPTY),
        ("...", Rejection.EMPTY),
        ("42", Rejection.EMPTY),
        ("Answer:", Rejection.EMPTY),
        ("Sure", Rejection.EMPTY),
        ("<think>a cat", Rejection.EMPTY),
        ("I'm sorry, I can't describe this picture.", Rejection.REFUSAL),
        ("I am very sorry, but no.", Rejection.REFUSAL),
        ("Sorry, I can not do that", Rejection.REFUSAL),
        ("As an AI, I cannot see.", Rejection.REFUSAL),
        ("I cannot identify people.", Rejection.REFUSAL),
        ("I’m unable to view images.", Rejection.REFUSAL),
        ("Unfortunately, I don't see a picture.", Rejection.REFUSAL),
        ("There is no image attached.", Rejection.REFUSAL),
        ("Please provide the image.", Rejection.REFUSAL),
        ("Answer: I cannot tell.", Rejection.REFUSAL),
        ("N/A", Rejection.REFUSAL),
        ("Image", Rejection.EMPTY),
        ("The picture.", Rejection.EMPTY),
        ("Okay, the user wants a short sentence about it.", Rejection.RAMBLING),
        ("We need to describe the picture in few words.", Rejection.RAMBLING),
        ("iVBORw0KGgoAAAANSUhEUgAAACgAAAAoCAIAAAADnC86AAAAlElEQVR4nGM8el2EATfYr7gb", Rejection.RAMBLING),
        ("unknown", Rejection.REFUSAL),
        ("这是一只狗", Rejection.NOT_LATIN),
        ("Кошка на ковре", Rejection.NOT_LATIN),
        ("a dog dog dog dog dog dog dog dog", Rejection.RAMBLING),
        ("the cat and " * 10_000, Rejection.RAMBLING),
    ],
)
def test_answers_that_are_none(text, reason):
    assert clean_sentence(text, 12) is reason


def test_too_many_words_are_cut():
    assert clean_sentence("one two three, four five", 3) == "one two three"
    with pytest.raises(ValueError, match="max_words"):
        clean_sentence("a", 0)


@pytest.mark.parametrize(
    "unit", ["ok! ", "> ", "a", "a.", "! ", "# ", "(", '"', "Answer: ", "1. ", "<a", "a b c d e f "]
)
def test_a_huge_answer_costs_nothing(unit):
    started = time.process_time()
    clean_sentence(unit * (1_000_000 // len(unit)), 24)
    assert time.process_time() - started < 1.0


@given(st.text(max_size=300), st.integers(1, 10))
def test_any_text_gives_a_sentence_or_a_reason(text, max_words):
    sentence = clean_sentence(text, max_words)
    if isinstance(sentence, Rejection):
        return
    assert sentence == " ".join(sentence.split())
    assert 1 <= len(sentence.split()) <= max_words
    assert sentence.isprintable()


def test_sentences_of_the_reference_reader_are_tidied_and_unique_in_order():
    assert tidy_labels(["A Dog.", "A  cat.", "a dog", "a CAT", "", "A bird"]) == ["A Dog", "A cat", "A bird"]


@pytest.mark.parametrize(
    "answer",
    [
        "**Description**\n\nA red fox in snow.",
        '{"id": "1", "caption": "A red fox in snow"}',
        '[{"caption": "A red fox in snow."}]',
        "Sure thing! A red fox in snow.",
        "Great photo! A red fox in snow.",
        "Thank you for the image! A red fox in snow.",
        "| Description |\n|---|\n| A red fox in snow |",
        "Description (one sentence): A red fox in snow.",
        "Alt text: A red fox in snow.",
        "One-sentence summary: A red fox in snow.",
        "Here are a few options:\n\n**Option 1:** A red fox in snow.\n**Option 2:** A fox.",
    ],
)
def test_the_description_is_found_behind_what_dresses_it(answer: str) -> None:
    assert clean_sentence(answer, 77) == "A red fox in snow"
