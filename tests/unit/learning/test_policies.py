"""What the two policies ask, batch by batch, and what they make of the answers: on scores written down by hand."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from ants_engine.clip.image_ref import file_ref
from ants_engine.detector.detector import EncodedBatch
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.learning.policy import (
    Abilities,
    PaperPolicy,
    ReferencePolicy,
    choose_policy,
    count_classes,
    looks_for_classes,
    recompose,
)
from ants_engine.learning.state import AdaptationState, Candidate, Caption, EnsUpdate, VsnlUpdate
from ants_engine.method.masses import IdMass
from ants_engine.settings.config import Settings, VsnlSettings
from ants_engine.settings.loader import load_settings
from tests.unit.detector.detectors import DIM, small_detector, unit_rows

BOTH = Abilities(pictures=True, words=True)


def settings(preset: str = "paper", **stages: Any) -> Settings:
    return load_settings(environment={}, preset=preset, **stages)


def cold(chosen: Settings) -> AdaptationState:
    return AdaptationState.cold(small_detector(), chosen)


def observe(
    policy: Any, state: AdaptationState, scores: list[float], predicted: list[int], abilities: Abilities = BOTH
) -> tuple[AdaptationState, list[Any]]:
    """Show a policy one batch; the updates are pending then, as the loop has them."""
    count = len(scores)
    initial = torch.tensor(scores, dtype=torch.float32)
    logits = torch.zeros(count, 3)
    look = EncodedBatch(
        unit_rows(count, state.pictures),
        logits,
        torch.tensor(predicted, dtype=torch.int64),
        initial,
        IdMass.of(logits),
    )
    candidates = [
        Candidate(state.pictures + row, f"p{state.pictures + row}", predicted[row], file_ref(row, f"{row}.png"))
        if score < state.gamma
        else None
        for row, score in enumerate(scores)
    ]
    state, updates = policy.observe(count_classes(state, look), look, candidates, abilities)
    return replace(
        state, pending=(*state.pending, *updates), batch=state.batch + 1, pictures=state.pictures + count
    ), updates


def shown(policy: Any, state: AdaptationState, scores: list[float], features: torch.Tensor) -> tuple[Any, list[Any]]:
    """As `observe`, with given features (n, D)."""
    count, logits = len(scores), torch.zeros(len(scores), 3)
    initial, predicted = torch.tensor(scores, dtype=torch.float32), torch.zeros(len(scores), dtype=torch.int64)
    look = EncodedBatch(features, logits, predicted, initial, IdMass.of(logits))
    names = range(state.pictures, state.pictures + count)
    candidates = [Candidate(name, f"p{name}", 0, file_ref(name, f"{name}.png")) for name in names]
    state, updates = policy.observe(count_classes(state, look), look, candidates, BOTH)
    return replace(
        state, pending=(*state.pending, *updates), batch=state.batch + 1, pictures=state.pictures + count
    ), updates


def asked(updates: list[Any]) -> list[list[int]]:
    return [[item.id for item in update.asked] for update in updates if isinstance(update, EnsUpdate)]


def test_presets_have_their_policies() -> None:
    assert isinstance(choose_policy(settings()), PaperPolicy)
    assert isinstance(choose_policy(settings("reference")), ReferencePolicy)


def test_classes_are_counted_with_who_came_first() -> None:
    state = cold(settings())
    for predicted in ([2, 2, 0], [0, 1, 2]):
        state, _ = observe(PaperPolicy(settings()), state, [1.0] * 3, predicted)
    assert state.class_counts.tolist() == [2, 1, 3]
    assert state.first_seen.tolist() == [2, 4, 0]
    assert state.looked == 6
    assert state.feature_sum.dtype == torch.float64
    torch.testing.assert_close(state.feature_sum, (unit_rows(3, 0).double() + unit_rows(3, 3).double()).sum(dim=0))


def test_when_classes_are_looked_for() -> None:
    state = cold(settings())
    timetable = VsnlSettings(start_batch=3, interval=4)
    batches = [batch + 1 for batch in range(14) if looks_for_classes(replace(state, batch=batch), timetable)]
    assert batches == [3, 7, 11]


def test_rows_of_known_texts_are_used_again() -> None:
    found = recompose([("b", "1"), ("x", "2"), ("a", "3")], ["a", "b"])
    assert (found.texts, found.sources, found.rows) == (("b", "x", "a"), ("1", "2", "3"), (1, None, 0))


# ---- paper -----------------------------------------------------------------------------------------------------------


def test_the_paper_mines_the_whole_history_again() -> None:
    chosen = settings(mining={"gamma": 0.9, "eta": 0.5}, vsnl={"start_batch": 99})
    policy, state = PaperPolicy(chosen), cold(chosen)
    state, updates = observe(policy, state, [0.95, 0.5, 0.8], [0, 0, 0])
    assert asked(updates) == [[1]]
    state, updates = observe(policy, state, [0.1, 0.2, 0.99], [0, 0, 0])
    # of four candidates the two lowest; the first one is none of them any more
    assert [update.members for update in updates] == [(3, 4)]
    assert asked(updates) == [[3, 4]]
    torch.testing.assert_close(updates[0].features, unit_rows(3, 3)[:2])
    state, updates = observe(policy, state, [0.99, 1.0], [0, 0])
    assert updates == [], "no new candidate, nothing to mine"
    state, updates = observe(policy, state, [0.89], [0])
    # of five candidates three: the first one is back, and under way already
    assert [update.members for update in updates] == [(3, 4, 1)]
    assert asked(updates) == [[]]
    assert state.ens_updates == 2


def test_a_near_duplicate_is_a_negative_image_but_not_described() -> None:
    chosen = settings(mining={"gamma": 0.9, "eta": 1.0, "same_picture": 0.99}, vsnl={"start_batch": 99})
    policy, state = PaperPolicy(chosen), cold(chosen)
    features = unit_rows(3, 0)
    # the second batch shows the first one's pictures again, and one more
    first = shown(policy, state, [0.5, 0.4], features[:2])
    assert asked(first[1]) == [[1, 0]]
    state, updates = shown(policy, first[0], [0.3, 0.2, 0.1], features)
    assert [update.members for update in updates] == [(4, 3, 2, 1, 0)]
    assert asked(updates) == [[4]]
    torch.testing.assert_close(updates[0].features, features[[2, 1, 0, 1, 0]])
    # they are let go of for good: what is left to describe are the three
    assert [key for key, item in state.candidates.items.items() if item.ref is not None] == [0, 1, 4]
    again, updates = shown(policy, state, [0.05], features[1:2])
    assert asked(updates) == [[]]
    assert again.ens_updates == 2, "nothing was asked for"


def test_a_candidate_that_moves_none_of_the_negative_images_asks_for_nothing() -> None:
    chosen = settings(mining={"eta": 0.5}, vsnl={"start_batch": 99})
    policy, state = PaperPolicy(chosen), cold(chosen)
    state, _ = observe(policy, state, [0.5], [0])
    state, updates = observe(policy, state, [0.6], [0])
    assert (updates, state.members, len(state.candidates)) == ([], (0,), 2)


def test_the_papers_bank_is_what_the_negative_images_are() -> None:
    chosen = settings(ens={"bank_size": 3})
    said = {0: "a lamp", 1: "A Lamp", 2: None, 3: "a shoe", 4: "a tent", 5: "a sock"}
    captions = {key: Caption(text, f"p{key}") for key, text in said.items()}
    old = NegativeBank("ens", ("a tent", "a lamp"), ("x", "y"), unit_rows(2, 1))
    state = cold(chosen)
    state = replace(state, captions=captions, detector=replace(state.detector, ens=old))
    found = PaperPolicy(chosen).sentences(state, EnsUpdate(1, (), (1, 2, 0, 4, 9, 3, 5), torch.zeros(0, DIM)))
    assert (found.texts, found.sources, found.rows) == (
        ("A Lamp", "a tent", "a shoe"),
        ("p1", "p4", "p3"),
        (None, 0, None),
    )


def test_the_paper_asks_for_similar_classes_when_they_change() -> None:
    chosen = settings(vsnl={"min_classes": 1, "delta": 0.5})
    policy, state = PaperPolicy(chosen), cold(chosen)
    state, updates = observe(policy, state, [1.0, 1.0], [0, 1])
    (update,) = updates
    assert isinstance(update, VsnlUpdate)
    assert len(update.members) == 2
    assert update.asked == update.members == state.held
    state, updates = observe(policy, state, [], [])
    assert updates == [], "a batch of nothing changes no mean"
    other = replace(state, held=(2, 7))
    _, (again,) = observe(policy, other, [], [])
    assert again.asked == (), "what is under way is not asked for again"
    found = policy.look_alikes(
        replace(state, labels={index: (f"thing {index}", "Thing") for index in range(3)}), VsnlUpdate(1, (), (2, 0))
    )
    assert found.texts == ("thing 2", "Thing", "thing 0")
    assert found.sources == ("owl", "owl", "cat")


def test_the_paper_asks_only_what_can_be_asked() -> None:
    chosen = settings()
    for abilities, kinds in ((Abilities(False, True), {VsnlUpdate, EnsUpdate}), (Abilities(True, False), {EnsUpdate})):
        _, updates = observe(PaperPolicy(chosen), cold(chosen), [0.1, 0.2], [0, 1], abilities)
        assert {type(update) for update in updates} == kinds
        assert asked(updates) == ([[0]] if abilities.pictures else [[]])


def test_the_paper_forgets_captions_of_what_has_left_the_history() -> None:
    chosen = settings(stream={"history": 2}, vsnl={"start_batch": 99})
    policy, state = PaperPolicy(chosen), cold(chosen)
    state, _ = observe(policy, state, [0.1, 0.2], [0, 0])
    state = replace(state, captions={0: Caption("x", "p0"), 1: Caption("y", "p1")}, pending=())
    state, _ = observe(policy, state, [0.05, 0.06], [0, 0])
    assert list(state.candidates.items) == [2, 3]
    assert state.captions == {}


# ---- reference -------------------------------------------------------------------------------------------------------


def test_the_reference_describes_all_that_waits_and_forgets_it() -> None:
    chosen = settings("reference", mining={"min_waiting": 2}, ens={"max_updates": 2})
    policy, state = ReferencePolicy(chosen), cold(chosen)
    state, updates = observe(policy, state, [0.1, 0.7, 0.9], [0, 0, 0])
    assert (updates, len(state.candidates)) == ([], 2)
    state, updates = observe(policy, state, [0.2, 0.85, 0.81], [0, 0, 0])
    assert asked(updates) == [[0, 1, 3]]
    assert (len(state.candidates), state.ens_updates, state.members) == (0, 1, (0, 1, 3))
    assert state.gamma == pytest.approx(0.2), "the median of what scores below the steepest step, which is at 0.8"
    assert len(state.past_scores) == 6
    assert policy.describes(state)
    state, updates = observe(policy, state, [0.1, 0.11, 0.12, 0.5], [0, 0, 0, 0])
    assert asked(updates) == [[6, 7, 8]]
    assert not policy.describes(state)
    assert len(state.past_scores) == 0
    state, updates = observe(policy, state, [0.01] * 5, [0] * 5)
    assert (updates, len(state.candidates), len(state.past_scores)) == ([], 0, 0)


def test_the_reference_looks_after_the_most_frequent_classes_by_a_timetable() -> None:
    chosen = settings("reference", vsnl={"start_batch": 1, "interval": 2, "max_classes": 2})
    policy, state = ReferencePolicy(chosen), cold(chosen)
    state, (update,) = observe(policy, state, [1.0] * 3, [1, 0, 0])
    assert (update.asked, update.members) == ((0, 1), (0, 1))
    state, updates = observe(policy, state, [1.0] * 4, [2, 2, 2, 2])
    assert updates == []
    state, (update,) = observe(policy, state, [1.0], [1])
    # of the two seen twice, the one that came first
    assert (update.asked, update.members) == ((2,), (1, 2))
    state = replace(state, batch=4)
    state, (update,) = observe(policy, state, [1.0, 1.0], [0, 0])
    assert (update.asked, update.members) == ((0,), (2, 0)), "what has left is forgotten and asked for again"


def test_the_reference_puts_new_sentences_in_front() -> None:
    said = {0: "A lamp", 1: None, 2: "a LAMP", 3: "a shoe"}
    update = EnsUpdate(1, tuple(Candidate(key, f"p{key}", 0, None) for key in said), (), torch.zeros(0, DIM))
    old = NegativeBank("ens", ("a lamp", "a tent"), ("x", "y"), unit_rows(2, 1))
    for overflow, expected in (
        ("drop_oldest", (("A lamp", "a shoe", "a lamp"), ("p0", "p3", "x"), (None, None, 0))),
        ("drop_newest", (("a shoe", "a lamp", "a tent"), ("p3", "x", "y"), (None, 0, 1))),
    ):
        chosen = settings("reference", ens={"bank_size": 3, "queue_overflow": overflow})
        state = cold(chosen)
        state = replace(
            state,
            captions={key: Caption(text, f"p{key}") for key, text in said.items()},
            detector=replace(state.detector, ens=old),
        )
        found = ReferencePolicy(chosen).sentences(state, update)
        assert (found.texts, found.sources, found.rows) == expected


def test_the_reference_asks_only_what_can_be_asked() -> None:
    chosen = settings("reference", mining={"min_waiting": 0}, vsnl={"start_batch": 1})
    state, updates = observe(ReferencePolicy(chosen), cold(chosen), [0.1, 0.2], [0, 1], Abilities(False, False))
    assert asked(updates) == [[]]
    assert state.ens_updates == 1
