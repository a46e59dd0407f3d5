"""Preset `engine` from end to end: pool, verify-or-describe, the judge's threshold, and half of the mined described."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ants_engine import ANTS, Scores
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.errors import NotEnoughAnswersError
from ants_engine.learning.state import AdaptationState
from ants_engine.method.judge import JudgedThreshold
from ants_engine.protocol import Call
from tests.golden.stream_fixture import number_of, numbered_pictures
from tests.support.stream_world import (
    CLASSES,
    ENGINE,
    PAPER,
    answer,
    arriving,
    bits,
    changed,
    class_texts,
    cold,
    given_encoder,
    mllm,
    one_by_one,
    pictures_of,
    text_features,
    unruly_mllm,
    verifying,
    verifying_mllm,
    write_lexicon,
)

COUNT, BATCH = 240, 24
FEATURES, SHOWN = pictures_of(COUNT, seed=1, foreign=0.3, noise=0.12)
PICTURES = numbered_pictures(COUNT)
KNOWN = np.array([name is not None for name in SHOWN])
FRESH, FRESH_SHOWN = pictures_of(200, seed=2, foreign=0.3, noise=0.12)
FRESH_KNOWN = np.array([name is not None for name in FRESH_SHOWN])
VOTES = {"neglabel", "ens", "vsnl", "pictures"}
SETTINGS = changed(ENGINE, stream={"batch_size": BATCH}, dispatch={"runs": None})


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    return write_lexicon(tmp_path)


async def build(
    lexicon: Path,
    images: Any = PICTURES,
    features: Any = FEATURES,
    backend: ScriptedBackend | None = None,
    settings: dict[str, Any] = SETTINGS,
) -> ANTS:
    return await ANTS.build(
        CLASSES,
        images,
        features=features,
        config=changed(settings, lexicon={"source": str(lexicon)}),
        encoder=given_encoder(),
        backend=backend or verifying_mllm(SHOWN),
    )


def learned(state: AdaptationState) -> tuple[Any, ...]:
    """Return all bits of a state that scores or questions depend on."""
    detector, asked = state.detector, state.asked
    rows = (state.recent, state.recent_initial, state.recent_votes, asked.features, asked.votes, asked.answers)
    tensors = (*(part.tensor() for part in rows), asked.sampled.tensor(), detector.ens.features, detector.vsnl.features)
    return (
        *(tensor.numpy().tobytes() for tensor in (*tensors, state.net.described, state.negatives)),
        (detector.ens.texts, detector.vsnl.texts, detector.threshold, detector.purity, asked.names),
        (state.net.cosine, state.net.seen, state.net.chosen, state.sampled, state.members, dict(state.captions)),
    )


def flagged(scores: Scores, known: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the shares of known and of unknown pictures that are called unknown."""
    return float(scores.is_outlier[known].mean()), float(scores.is_outlier[~known].mean())


def pictures_asked(backend: ScriptedBackend) -> list[int]:
    return [number_of(call) for call in backend.calls if call.picture is not None]


# ---- builds ----------------------------------------------------------------------------------------------------------


async def test_a_build_finds_the_threshold_and_says_what_it_is_worth(lexicon: Path, tmp_path: Path) -> None:
    backend = verifying_mllm(SHOWN, yes=0.9, false_yes=0.1)
    ants = await build(lexicon, backend=backend)
    report, detector = ants.report, ants.detector
    assert report.judged is not None
    assert json.loads(json.dumps(report.to_dict()))["judged"]["worth"] == "sound"
    found = JudgedThreshold.from_dict(json.loads(json.dumps(report.judged)))
    assert (found.threshold, found.pictures, found.worth) == (ants.threshold, COUNT, "sound")
    assert found.prevalence is not None
    assert abs(found.prevalence.value - 0.3) < 3 * found.prevalence.error < 0.3
    assert found.true_yes is not None
    assert found.true_yes.value > 0.75
    assert found.line in str(report)
    asked = pictures_asked(backend)
    assert len(asked) == len(set(asked)) == len(ants.state.asked)
    assert report.verified == int((ants.state.asked.answers.tensor() > 0.5).sum()) > 0
    assert ants.state.net.chosen == -(-report.negative_images // 2)
    assert len(detector.ens) > 0 < len(detector.vsnl)
    scores = ants.score_features(FRESH)
    assert set(scores.votes) == VOTES
    alarms, caught = flagged(scores, FRESH_KNOWN)
    assert alarms < 0.12
    assert caught > 0.8
    ants.save(tmp_path / "d")
    loaded = ANTS.load(tmp_path / "d", encoder=given_encoder(), backend=backend)
    assert learned(loaded.state) == learned(ants.state)
    assert loaded.report.judged == report.judged
    again = loaded.score_features(FRESH)
    assert again.id_score.tobytes() == scores.id_score.tobytes()
    assert all(again.votes[name].tobytes() == vote.tobytes() for name, vote in scores.votes.items())


async def test_a_build_has_the_same_bits_again_and_with_any_batch_size(lexicon: Path) -> None:
    # fewer questions than pictures, so that there is something to choose
    settings = changed(SETTINGS, threshold={"questions": 30})
    first = await build(lexicon, settings=settings)
    assert len(first.state.asked.sampled.tensor().nonzero()) == 30
    again = await build(lexicon, settings=settings)
    assert learned(again.state) == learned(first.state)
    for size in (1, 7, 1000):
        other = await build(lexicon, settings=changed(settings, clip={"batch_size": size}))
        assert learned(other.state) == learned(first.state), size
        assert other.report.judged == first.report.judged


async def test_what_the_judge_is_said_to_have_found_is_of_the_threshold_in_force(lexicon: Path, tmp_path: Path) -> None:
    ants = await build(lexicon, backend=verifying_mllm(SHOWN, yes=0.9, false_yes=0.1))
    ants.save(tmp_path)
    judged = ants.report.judged
    same = ANTS.load(tmp_path, encoder=given_encoder(), threshold={"questions": 7})
    assert (same.report.judged, same.threshold) == (judged, ants.threshold)
    for changes in ({"threshold": {"false_alarms": 0.2}}, {"scoring": {"threshold": "null"}}):
        other = ANTS.load(tmp_path, encoder=given_encoder(), **changes)
        assert other.threshold != ants.threshold
        assert other.report.judged is None
    more = ANTS.load(tmp_path, encoder=given_encoder(), threshold={"false_alarms": 0.2})
    assert more.threshold > ants.threshold
    ants.threshold = 0.25
    assert ants.report.judged is None


@pytest.mark.parametrize("give", [one_by_one, arriving])
async def test_pictures_of_an_iterator_are_kept_for_the_judge(give: Callable[[Any], Any], lexicon: Path) -> None:
    settings = changed(SETTINGS, threshold={"questions": 20})
    listed, backend = await build(lexicon, settings=settings), verifying_mllm(SHOWN)
    iterated = await build(lexicon, images=give(PICTURES), backend=backend, settings=settings)
    names = dict.fromkeys(iterated.state.asked.names)
    assert len(names) == len(listed.state.asked.names) == len(pictures_asked(backend))
    assert learned(replace(iterated.state, asked=listed.state.asked, captions={})) == learned(
        replace(listed.state, captions={})
    )


async def test_a_replay_has_the_same_bits_and_asks_nothing(lexicon: Path, tmp_path: Path) -> None:
    kept = changed(SETTINGS, dispatch={"mode": "record", "store": str(tmp_path / "store")})
    first = await build(lexicon, settings=kept)
    offline = verifying_mllm(SHOWN)
    again = await build(lexicon, backend=offline, settings=changed(kept, dispatch={"mode": "replay"}))
    assert offline.calls == []
    assert learned(again.state) == learned(first.state)
    assert again.report.judged == first.report.judged


async def test_pictures_that_cannot_be_shown_are_not_asked_about(lexicon: Path, tmp_path: Path) -> None:
    paths = []
    for number, picture in enumerate(PICTURES):
        paths.append(tmp_path / f"{number:03}.png")
        if number % 8:
            Image.fromarray(picture).save(paths[-1])
    backend = verifying_mllm(SHOWN)
    ants = await build(lexicon, paths, backend=backend)
    asked = pictures_asked(backend)
    assert ants.report.judged is not None
    assert ants.report.judged["worth"] == "sound"
    assert len(asked) == len(ants.state.asked) < COUNT
    assert not [number for number in asked if number % 8 == 0]
    assert ants.report.failed > 0
    stream_backend = verifying_mllm(SHOWN)
    streamed_ants = fresh_stream(stream_backend)
    async for scores in streamed_ants.stream(paths, features=FEATURES):
        assert np.isfinite(scores.id_score).all()
    assert not [number for number in pictures_asked(stream_backend) if number % 8 == 0]
    assert len(streamed_ants.state.asked) == len(pictures_asked(stream_backend))


def failing(call: Call) -> str:
    """Fail with every third picture, and verify the others."""
    if call.picture is not None and number_of(call) % 3 == 0:
        return "I'm sorry, but I can't help with that."
    if call.picture is not None and SHOWN[number_of(call)] is not None:
        return "Yes."
    return answer(call)


async def test_failed_questions_are_left_out(lexicon: Path) -> None:
    backend = ScriptedBackend.from_callable(failing)
    with pytest.raises(NotEnoughAnswersError, match=r"dispatch\.min_success"):
        await build(lexicon, backend=backend)
    ants = await build(lexicon, backend=backend, settings=changed(SETTINGS, dispatch={"min_success": 0.5}))
    assert ants.report.judged is not None
    assert ants.report.judged["worth"] == "sound"
    assert ants.report.failed == len(set(pictures_asked(backend))) - len(ants.state.asked) > 0


async def test_a_judge_that_never_says_yes_is_none(lexicon: Path) -> None:
    ants = await build(lexicon, backend=mllm())
    assert ants.report.judged is not None
    assert ants.report.judged["worth"] == "never_yes"
    assert "the MLLM said yes to none" in str(ants.report)
    assert ants.report.verified == 0
    assert ants.detector.purity == 0.0
    assert set(ants.score_features(FRESH).votes) == VOTES - {"pictures"}
    assert 0.0 < ants.threshold < 1.0


async def test_an_mllm_that_says_yes_to_everything_teaches_nothing_and_flags_little(lexicon: Path) -> None:
    ants = await build(lexicon, backend=verifying_mllm(SHOWN, false_yes=1.0))
    assert len(ants.detector.ens) == 0
    assert ants.report.verified == len(ants.state.asked)
    assert any("confirmed" in note and "the bank is empty" in note for note in ants.report.notes)
    assert flagged(ants.score_features(FEATURES), KNOWN)[0] < 0.1


async def test_pictures_of_one_class_alone(lexicon: Path) -> None:
    centre = text_features(class_texts())[0].numpy()
    noise = np.random.default_rng(5).normal(0, 0.12, (120, len(centre))).astype(np.float32)
    shown: list[str | None] = [CLASSES[0]] * 120
    backend = verifying_mllm(shown)
    ants = await build(lexicon, PICTURES[:120], centre + noise, backend)
    assert ants.report.judged is not None
    assert ants.report.judged["prevalence"]["value"] < 0.1
    assert ants.score_features(centre + noise).is_outlier.mean() < 0.15


@pytest.mark.parametrize("count", [1, 2, 9])
async def test_a_few_pictures(count: int, lexicon: Path) -> None:
    ants = await build(lexicon, PICTURES[:count], FEATURES[:count])
    assert ants.report.judged is not None
    assert ants.report.judged["worth"] == "few_answers"
    scores = ants.score_features(FRESH)
    assert np.isfinite(scores.id_score).all()
    assert -0.01 <= ants.threshold <= 1.01


async def test_without_a_judge_the_empirical_null_stands_in(lexicon: Path) -> None:
    blind = ScriptedBackend.from_callable(answer, ScriptedBackend.Options(pictures=False))
    cases: list[tuple[str, dict[str, Any]]] = [
        ("takes no pictures", {"backend": blind}),
        ("only features were given: no judge", {"images": None}),
        ("does not verify", {"settings": changed(SETTINGS, ens={"template": "ens/v1"}), "backend": mllm()}),
        ("threshold.questions is 0", {"settings": changed(SETTINGS, threshold={"questions": 0})}),
    ]
    for said, options in cases:
        ants = await build(lexicon, **options)
        noted = [note for note in ants.report.notes if said in note and "empirical null" in note]
        assert len(noted) == 1, (said, ants.report.notes)
        alarms, caught = flagged(ants.score_features(FRESH), FRESH_KNOWN)
        assert alarms < 0.15, said
        assert caught > 0.2, said


async def test_the_null_by_name_asks_no_judge(lexicon: Path) -> None:
    backend = verifying_mllm(SHOWN)
    ants = await build(lexicon, backend=backend, settings=changed(SETTINGS, scoring={"threshold": "null"}))
    assert ants.report.judged is None
    assert len(pictures_asked(backend)) == ants.state.net.chosen
    assert not ants.state.asked.sampled.tensor().any()
    assert not any("judge" in note for note in ants.report.notes)


# ---- streams ---------------------------------------------------------------------------------------------------------


async def streamed(ants: ANTS, start: int = 0, **options: Any) -> list[tuple[Any, ...]]:
    return [bits(scores) async for scores in ants.stream(PICTURES[start:], features=FEATURES[start:], **options)]


def fresh_stream(backend: ScriptedBackend | None = None, **stages: dict[str, Any]) -> ANTS:
    return cold(changed(SETTINGS, **stages), backend or verifying_mllm(SHOWN, yes=0.9, false_yes=0.1))


async def test_a_stream_asks_the_judge_all_along_and_its_threshold_follows() -> None:
    backend = verifying_mllm(SHOWN, yes=0.9, false_yes=0.1)
    ants = fresh_stream(backend, threshold={"questions": 250})
    stream, sampled, thresholds, scored = ants.stream(PICTURES, features=FEATURES), [], [], []
    async for scores in stream:
        sampled.append(int(ants.state.asked.sampled.tensor().sum()))
        thresholds.append(ants.threshold)
        scored.append(scores)
        assert scores.threshold == ants.threshold
    assert len(sampled) == COUNT // BATCH
    assert np.diff([0, *sampled]).tolist() == [6] * (COUNT // BATCH)
    assert len(set(thresholds)) > 5
    assert set(scored[-1].votes) == VOTES
    asked = pictures_asked(backend)
    assert len(asked) == len(set(asked)) == len(ants.state.asked)
    assert stream.report.judged is not None
    assert stream.report.judged["worth"] == "sound"
    half = scored[len(scored) // 2 :]
    outlier, known = np.concatenate([one.is_outlier for one in half]), KNOWN[COUNT // 2 :]
    assert outlier[known].mean() < 0.15
    assert outlier[~known].mean() > 0.6
    assert ants.report.judged == stream.report.judged
    later, _ = pictures_of(60, seed=3, foreign=0.3, noise=0.12)
    frozen = ants.score_features(later)
    assert frozen.threshold == ants.threshold
    assert set(frozen.votes) == VOTES


@pytest.mark.parametrize("lag", [0, 2])
async def test_a_stream_saved_after_any_batch_goes_on_with_the_same_bits(lag: int, tmp_path: Path) -> None:
    size = 2 * BATCH
    stream = {"lag": lag, "history": 90, "batch_size": size}
    whole = await streamed(fresh_stream(stream=stream))
    ants = fresh_stream(stream=stream)
    place = 0
    async for _ in ants.stream(PICTURES, features=FEATURES):
        place += 1
        folder = tmp_path / str(place)
        ants.save(folder)
        loaded = ANTS.load(folder, encoder=given_encoder(), backend=verifying_mllm(SHOWN, yes=0.9, false_yes=0.1))
        assert learned(loaded.state) == learned(ants.state)
        assert loaded.score_features(FRESH).id_score.tobytes() == ants.score_features(FRESH).id_score.tobytes()
        if place < len(whole):
            assert await streamed(loaded, place * size) == whole[place:]
    assert place == len(whole)


@pytest.mark.parametrize("lag", [0, 3])
async def test_the_mllms_pace_changes_no_bit(lag: int) -> None:
    said = verifying(SHOWN, yes=0.9, false_yes=0.1)
    wanted = await streamed(fresh_stream(stream={"lag": lag}))
    for seed in range(2):
        ants = fresh_stream(unruly_mllm(seed, said), stream={"lag": lag})
        assert await streamed(ants) == wanted


async def test_pictures_of_an_iterator_that_wait_for_the_judge_survive_a_save(tmp_path: Path) -> None:
    stream = {"lag": 2, "batch_size": BATCH}
    ants = fresh_stream(stream=stream)
    whole = await streamed(ants)
    ants = fresh_stream(stream=stream)
    async for scores in ants.stream(one_by_one(PICTURES), features=FEATURES):
        assert scores.adaptation is not None
        if scores.adaptation.batch == 4:
            break
    ants.save(tmp_path)
    loaded = ANTS.load(tmp_path, encoder=given_encoder(), backend=verifying_mllm(SHOWN, yes=0.9, false_yes=0.1))
    assert await streamed(loaded, 4 * BATCH) == whole[4:]


async def test_a_stream_goes_on_from_a_build_without_asking_the_judge_all_over(lexicon: Path) -> None:
    settings = changed(SETTINGS, threshold={"questions": 100})
    ants = await build(lexicon, settings=settings)
    before = int(ants.state.asked.sampled.tensor().sum())
    assert before == 100
    more, shown = pictures_of(COUNT, seed=4, foreign=0.3, noise=0.12)
    backend = verifying_mllm(shown)
    async for _ in ants.stream(PICTURES, features=more, backend=backend):
        pass
    # 480 pictures in all: a stream would have asked 48
    assert int(ants.state.asked.sampled.tensor().sum()) == before


async def test_a_fork_owns_its_state() -> None:
    parent = fresh_stream()
    async for scores in parent.stream(PICTURES[:120], features=FEATURES[:120]):
        assert len(scores) == BATCH
    before, fork = learned(parent.state), parent.fork()
    went_on = await streamed(fork, 120)
    assert learned(parent.state) == before != learned(fork.state)
    assert await streamed(parent, 120) == went_on
    fork.reset()
    assert (len(fork.state.asked), fork.state.sampled, fork.state.net.seen, fork.detector.verified) == (0, 0, 0, None)
    assert fork.threshold == 0.5
    assert await streamed(fork) == await streamed(fresh_stream())


async def test_a_paper_detector_can_have_the_pool_and_the_judge(tmp_path: Path) -> None:
    ants = cold(changed(PAPER, stream={"batch_size": BATCH}, dispatch={"runs": None}), mllm())
    async for _ in ants.stream(PICTURES[:120], features=FEATURES[:120]):
        pass
    ants.save(tmp_path)
    pool = {"in_score": "pool", "threshold": "judge"}
    backend = verifying_mllm(SHOWN)
    loaded = ANTS.load(tmp_path, encoder=given_encoder(), backend=backend, scoring=pool)
    assert set(loaded.score_features(FRESH).votes) == VOTES - {"pictures"}
    assert loaded.threshold != ants.threshold
    assert flagged(loaded.score_features(FRESH), FRESH_KNOWN)[0] < 0.15
    stream = loaded.stream(PICTURES[120:], features=FEATURES[120:], backend=mllm())
    async for _ in stream:
        pass
    assert any("does not verify" in note for note in stream.report.notes)
    able = ANTS.load(
        tmp_path,
        encoder=given_encoder(),
        backend=backend,
        scoring=pool,
        ens={"template": "ens/v3"},
        threshold={"questions": 400},
    )
    async for _ in able.stream(PICTURES[120:], features=FEATURES[120:]):
        pass
    assert able.report.judged is not None
    assert able.report.judged["worth"] == "sound"
    assert set(able.score_features(FRESH).votes) == VOTES


async def test_a_pool_can_be_left_and_entered_again(tmp_path: Path) -> None:
    backend = verifying_mllm(SHOWN)
    ants = fresh_stream(backend)
    async for _ in ants.stream(PICTURES[:120], features=FEATURES[:120]):
        pass
    ants.save(tmp_path / "pool")
    paper = ANTS.load(
        tmp_path / "pool", encoder=given_encoder(), backend=backend, scoring={"in_score": "ada", "threshold": "otsu"}
    )
    assert paper.score_features(FRESH).votes == {}
    stream = paper.stream(PICTURES[120:168], features=FEATURES[120:168])
    async for _ in stream:
        pass
    paper.save(tmp_path / "ada")
    back = ANTS.load(
        tmp_path / "ada", encoder=given_encoder(), backend=backend, scoring={"in_score": "pool", "threshold": "judge"}
    )
    assert set(back.score_features(FRESH).votes) == VOTES
    assert len(back.state.recent_votes) == len(back.state.recent)
    votes, initial = back.state.recent_votes.tensor(), back.state.recent_initial.tensor()
    assert torch.allclose(torch.sigmoid(votes), initial, atol=1e-6)


async def test_a_stream_without_a_judge_says_so() -> None:
    blind = ScriptedBackend.from_callable(answer, ScriptedBackend.Options(pictures=False))
    for ants, images, said in (
        (fresh_stream(blind), PICTURES, "takes no pictures"),
        (fresh_stream(), None, "only features were given: no judge"),
        (fresh_stream(mllm(), ens={"template": "ens/v1"}), PICTURES, "does not verify"),
        (fresh_stream(threshold={"questions": 0}), PICTURES, "threshold.questions is 0"),
        (fresh_stream(scoring={"in_score": "ada"}), PICTURES, "takes scoring.in_score = pool"),
    ):
        stream = ants.stream(images, features=FEATURES)
        scored = [scores async for scores in stream]
        noted = [note for note in stream.report.notes if said in note and "empirical null" in note]
        assert len(noted) == 1, (said, stream.report.notes)
        outlier = np.concatenate([scores.is_outlier for scores in scored])[COUNT // 2 :]
        assert outlier[KNOWN[COUNT // 2 :]].mean() < 0.2, said
