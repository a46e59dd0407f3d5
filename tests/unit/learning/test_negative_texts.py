from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch

from ants_engine.detector.class_list import ClassList
from ants_engine.dispatch.prompt_template import TemplateLibrary
from ants_engine.dispatch.request import Outcome
from ants_engine.errors import EmptyAnswerError, RefusedAnswerError, TruncatedAnswerError
from ants_engine.learning.answers import AnswerReader, NegativeTexts, Tally, judge_verdict, look_alikes
from ants_engine.learning.report import BuildReport, SetAside
from ants_engine.learning.state import Candidate
from ants_engine.method.verify import VerdictReader
from ants_engine.protocol import Answer
from ants_engine.settings.config import EnsSettings, VsnlSettings
from ants_engine.settings.loader import load_settings
from tests.support.verdict_wordings import EVERY, NAMES
from tests.unit.dispatch.fakes import make_request


@dataclass
class Read:
    """What became of answers about pictures."""

    texts: list[str]
    sources: list[str]
    set_aside: list[SetAside]
    tally: Tally

    @property
    def unusable(self) -> int:
        return self.tally.useless

    def notes(self, answers: int) -> list[str]:
        assert answers >= self.tally.answered
        return [note for note in self.tally.notes() if "they name the class" in note]


def sentences(
    answers: Sequence[tuple[str, str]], classes: ClassList, settings: EnsSettings, fits: Callable[[str], bool]
) -> Read:
    """Read ENS answers, given as (picture name, raw answer), as builds and streams do, and keep each text once."""
    report, tally, kept = BuildReport(), Tally("ens"), NegativeTexts()
    reader = AnswerReader(
        classes, load_settings(environment={}).model_copy(update={"ens": settings}), fits, report, {"ens": tally}
    )
    for number, (name, raw) in enumerate(answers):
        outcome = Outcome(make_request(), Answer(raw), None, "backend", 1, 0.0)
        caption = reader.caption(Candidate(number, name, 0, None), outcome, torch.eye(64)[number])
        if caption.text is not None:
            kept.keep(caption.text, caption.source, settings.bank_size)
    return Read(kept.texts, kept.sources, [*report.set_aside, *kept.set_aside], tally)


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


IMAGENET = ClassList.of(["lion, king of beasts, Panthera leo", "bald eagle, American eagle", "elephant/mammoth"], "{}")


def test_no_name_of_a_class_becomes_a_negative_and_other_kinds_do() -> None:
    said = ["A lion in the grass", "The king of beasts", "An eagle on a branch", "A golden eagle", "A sea lion asleep"]
    found = sentences([(str(i), text) for i, text in enumerate(said)], IMAGENET, EnsSettings(), fits)
    # a text that holds a class's whole name is set aside wherever the name stands
    assert found.texts == ["A golden eagle"]
    listed = "1. Lion\n2. eagle\n3. golden eagle\n4. sea lion\n5. Panthera leo\n6. mammoth\n7. tiger"
    labels = look_alikes([(IMAGENET.names[1], listed)], IMAGENET, VsnlSettings(labels_per_class=9))
    assert labels.texts == ["golden eagle", "sea lion", "tiger"]


def test_look_alikes_that_hold_an_alias_of_the_class_asked_for_are_kinds_of_it() -> None:
    listed = "1. mountain lion\n2. brown eagle\n3. leopard"
    lions = look_alikes([(IMAGENET.names[0], listed)], IMAGENET, VsnlSettings())
    assert lions.texts == ["brown eagle", "leopard"]


def test_a_sentence_that_begins_with_an_article_is_kept_beside_classes_of_one_letter() -> None:
    signs = ClassList.of([*"ABCI"], "{}")
    found = sentences([("a", "A dog on a sofa"), ("b", "The letter A")], signs, EnsSettings(), fits)
    assert found.texts == ["A dog on a sofa"]


def test_a_name_that_eats_the_answers_is_noted() -> None:
    common = ClassList.of(["man", "tiger"], "{}")
    answers = [(str(i), f"A man with a number {i} dog") for i in range(9)] + [("x", "A tiger"), ("y", "A lamp")]
    (note,) = sentences(answers, common, EnsSettings(), fits).notes(len(answers))
    assert note.startswith("9 of 11 sentences were set aside because they name the class 'man'")
    assert sentences(answers[:3], common, EnsSettings(), fits).notes(3) == []
    assert sentences(answers[7:], common, EnsSettings(), fits).notes(40) == []


ASKED = TemplateLibrary().load("ens/v3").render(max_words=8, class_name="great white shark")


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "No",
        "Yes. N/A",
        "Yes, the picture does show a great white shark.",
        "Great white shark",
        "A great white shark.",
        "I don't see a great white shark. It is a whale.",
        "I'm sorry, but this is not a great white shark.",
        "A whale in the sea",
        "yes or no",
    ],
)
def test_a_yes_a_no_and_a_description_are_kept_as_they_came(text: str) -> None:
    assert judge_verdict(text, ASKED, False) == text


def test_behind_the_question_repeated_stands_the_answer() -> None:
    assert judge_verdict(f"{ASKED}\nNo. A whale", ASKED, False) == "No. A whale"


@pytest.mark.parametrize(
    ("text", "cut", "error"),
    [
        (ASKED, False, EmptyAnswerError),
        ("Does the picture show a great white shark?", False, EmptyAnswerError),
        ("yes. If not, describe what you see in one short", False, EmptyAnswerError),
        ("", False, EmptyAnswerError),
        ("I'm sorry, I can't help with that.", False, RefusedAnswerError),
        ("Yes, please provide the image.", False, RefusedAnswerError),
        ("No, I cannot see any picture.", True, RefusedAnswerError),
        ("A whale in the", True, TruncatedAnswerError),
        ("No, a wha", True, TruncatedAnswerError),
        ("yes or n", True, TruncatedAnswerError),
    ],
)
def test_what_is_no_answer_is_an_error(text: str, cut: bool, error: type[Exception]) -> None:
    assert judge_verdict(text, ASKED, cut) is error


def test_a_yes_is_whole_where_the_rest_was_cut_off() -> None:
    assert judge_verdict("Yes, the picture shows a gre", ASKED, True) == "Yes, the picture shows a gre"


@pytest.mark.parametrize("text", EVERY)
def test_what_counts_as_a_verdict_is_kept(text: str) -> None:
    prompt = TemplateLibrary().load("ens/v3").render(max_words=8, class_name="lion")
    reader = VerdictReader(NAMES, 24)
    verdict, kept = reader.read(text, 0), judge_verdict(text, prompt, False)
    if isinstance(kept, str):
        assert reader.read(kept, 0) == verdict
    else:
        assert verdict.is_id is None
