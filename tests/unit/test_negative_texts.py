import pytest

from ants_engine.class_list import ClassList
from ants_engine.config import EnsSettings, VsnlSettings
from ants_engine.negative_texts import look_alikes, sentences


def fits(text: str) -> bool:
    """A text context of eight words."""
    return len(text.split()) <= 8


CLASSES = ClassList.of(["tiger", "red fox"], "{}")


def test_sentences_keep_order_source_and_the_first_of_equals() -> None:
    answers = [("a.png", "A lighthouse at night."), ("b.png", "a LIGHTHOUSE at night"), ("c.png", "A bowl of soup\n")]
    found = sentences(answers, CLASSES, EnsSettings(), fits)
    assert (found.texts, found.sources) == (["A lighthouse at night", "A bowl of soup"], ["a.png", "c.png"])
    assert [item.reason for item in found.set_aside] == ["duplicate"]
    assert found.unusable == 0


@pytest.mark.parametrize(
    ("raw", "reason", "unusable"),
    [
        ("", "empty", 1),
        ("I'm sorry, I can't help with that.", "refusal", 1),
        ("一只猫坐在桌子上", "not_latin", 1),
        ("A Tiger in the grass", "names_id_class", 0),
        ("Two red foxes", "names_id_class", 0),
    ],
)
def test_answers_that_must_not_become_labels(raw: str, reason: str, unusable: int) -> None:
    found = sentences([("a.png", raw), ("b.png", "A lamp")], CLASSES, EnsSettings(), fits)
    assert found.texts == ["A lamp"]
    assert [item.reason for item in found.set_aside] == [reason]
    assert found.unusable == unusable


def test_an_endless_answer_is_bounded() -> None:
    found = sentences(
        [("a.png", "word" + "x" * 50_000), ("b.png", "different words every time " * 3)], CLASSES, EnsSettings(), fits
    )
    assert all(len(text) < 5_000 for text in found.texts)
    assert all(len(item.name) <= 60 for item in found.set_aside)


def test_id_names_may_be_kept() -> None:
    assert sentences([("a", "A tiger")], CLASSES, EnsSettings(drop_id_names=False), fits).texts == ["A tiger"]


def test_a_full_bank_keeps_the_first() -> None:
    found = sentences(
        [("a", "one lamp"), ("b", "two lamps"), ("c", "three lamps")], CLASSES, EnsSettings(bank_size=2), fits
    )
    assert found.texts == ["one lamp", "two lamps"]
    assert [item.reason for item in found.set_aside] == ["bank_full"]


def test_look_alikes_leave_out_id_classes_and_repeats() -> None:
    answers = [
        ("tiger", "1. leopard\n2. Red Fox\n3. jaguar"),
        ("red fox", "dingo, Leopard, coyote"),
        ("owl", "I cannot do that."),
    ]
    found = look_alikes(answers, CLASSES, VsnlSettings())
    assert found.texts == ["leopard", "jaguar", "dingo", "coyote"]
    assert found.sources == ["tiger", "tiger", "red fox", "red fox"]
    assert sorted(item.reason for item in found.set_aside) == ["duplicate", "names_id_class", "refusal"]
    assert found.unusable == 1


def test_a_sentence_is_cut_at_clips_context_before_equal_ones_are_found() -> None:
    answers = [
        ("a", "one two three four five six seven eight nine"),
        ("b", "one two three four five six seven eight ten"),
    ]
    found = sentences(answers, CLASSES, EnsSettings(), fits)
    assert found.texts == ["one two three four five six seven eight"]
    assert [item.reason for item in found.set_aside] == ["duplicate"]
