"""Whether enough answers are usable, and whether they depend on what was asked."""

import pytest
import torch
from torch import Tensor

from ants_engine.errors import BackendTimeoutError, NotEnoughAnswersError, RefusedAnswerError
from ants_engine.learning.answers import ENOUGH_ALIKE, LATEST, Tally
from ants_engine.method.answer import Rejection
from ants_engine.protocol import Answer

WAVE = "A person riding a wave on a surfboard."
UNLIKE = torch.eye(64)
SCENE = torch.nn.functional.normalize(torch.ones(64, 64) + 0.01 * torch.eye(64), dim=1)


def heard(answers: list[str], features: Tensor | None = UNLIKE, task: str = "ens", classes: int = 1) -> Tally:
    tally = Tally(task, asked=len(answers))
    for row, text in enumerate(answers):
        feature = None if features is None else features[row % len(features)]
        tally.hear(Answer(text), f"class {row % classes}", feature)
    return tally


@pytest.mark.parametrize(
    "answers",
    [
        [WAVE] * ENOUGH_ALIKE,
        [WAVE] * 19 + ["A cat"],
        [WAVE, WAVE.upper(), f"Sure! {WAVE}", f"<think>hm</think>{WAVE}", f"{WAVE} It is day."] * 4,
    ],
)
def test_one_sentence_for_many_unlike_pictures_ends_a_build(answers: list[str]) -> None:
    with pytest.raises(NotEnoughAnswersError, match="the picture does not seem to reach the MLLM") as caught:
        heard(answers).check(0.8)
    assert "a person riding a wave" in str(caught.value)


def test_sentences_that_differ_in_the_class_that_was_named_alone_are_one() -> None:
    tally = heard([f"It is not class {row % 7}." for row in range(20)], classes=7)
    with pytest.raises(NotEnoughAnswersError, match="20 of 20 pictures got the same sentence"):
        tally.check(0.8)


def test_one_list_for_every_class_ends_a_build() -> None:
    tally = heard(["1. wolf\n2. dingo"] * 12, None, "vsnl")
    with pytest.raises(NotEnoughAnswersError, match="the class's name does not seem to reach the MLLM"):
        tally.check(0.8)


@pytest.mark.parametrize(
    ("answers", "features", "note"),
    [
        ([WAVE] * 7, UNLIKE, "7 of 7 pictures got the same sentence"),
        ([WAVE] * 31 + [f"A cat {row}" for row in range(14)], UNLIKE, "31 of 45 pictures got the same sentence"),
        ([WAVE] * 2, UNLIKE, None),
        ([WAVE] * 9 + [f"A cat {row}" for row in range(11)], UNLIKE, None),
        # frames of one scene rightly get one sentence
        ([WAVE] * 40, SCENE, None),
        ([f"A cat {row}" for row in range(40)], UNLIKE, None),
    ],
)
def test_below_that_a_note_names_the_share(answers: list[str], features: Tensor, note: str | None) -> None:
    tally = heard(answers, features)
    tally.check(0.8)
    assert [note in each for each in tally.notes()] == [True] if note else tally.notes() == []


def test_whoever_knows_better_can_go_on() -> None:
    tally = heard([WAVE] * 40)
    tally.check(0.0)
    assert len(tally.notes()) == 1


def test_questions_without_a_text_and_lists_that_were_cut_are_noted() -> None:
    tally = Tally("vsnl", asked=40, without_text=17)
    assert tally.notes() == ["vsnl: 17 of 40 classes have no look-alike"]
    assert Tally("vsnl", asked=40, without_text=3).notes() == []
    tally = Tally("vsnl", asked=2)
    tally.hear(Answer("1. wolf", "length"), "dog")
    assert tally.notes() == [
        "vsnl: 1 of 2 lists were cut off and read up to their last whole item; raise vsnl.max_new_tokens"
    ]


def test_failures_and_useless_answers_count_against_the_share_and_each_cause_is_named_once() -> None:
    tally = Tally("ens", asked=10)
    for row in range(2):
        tally.fail(RefusedAnswerError(f"the MLLM declined: no. {row}"))
    tally.check(0.8)
    tally.reject(Rejection.RAMBLING)
    tally.fail(BackendTimeoutError("no answer within 120 s"))
    with pytest.raises(
        NotEnoughAnswersError, match=r"6 of 10 answers can be used, 80% are needed.*2 × Refused"
    ) as caught:
        tally.check(0.8)
    assert len(caught.value.exceptions) == 3


def test_a_single_failure_does_not_end_a_run_of_several_questions() -> None:
    for asked, ends in ((2, False), (1, True)):
        tally = Tally("ens", asked=asked)
        tally.reject(Rejection.EMPTY)
        if ends:
            with pytest.raises(NotEnoughAnswersError):
                tally.check(1.0)
        else:
            tally.check(1.0)


def test_a_long_stream_is_compared_up_to_a_bound() -> None:
    tally = Tally("ens")
    for row in range(3 * LATEST):
        tally.hear(Answer(f"A cat {row}"), "dog", None)
        tally.fail(BackendTimeoutError(f"no. {row}"))
    assert len(tally._said) == LATEST
    assert len(tally._causes) <= 100
    assert tally.useless == 3 * LATEST
