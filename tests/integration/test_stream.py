"""Streams from end to end: the same bits whatever the MLLM's pace, and what the two presets make of a stream."""

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ants_engine import ANTS, ProgressEvent
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.errors import (
    BackendUnavailableError,
    BadRequestError,
    FeatureError,
    NoImagesError,
    NotEnoughAnswersError,
    SettingError,
)
from ants_engine.learning.state import AdaptationState
from ants_engine.protocol import Call
from tests.golden.stream_fixture import numbered_pictures
from tests.support.process import WAIT
from tests.support.stream_world import (
    CLASSES,
    NEGATIVES,
    PAPER,
    PRESETS,
    REFERENCE,
    answer,
    arriving,
    bits,
    changed,
    cold,
    given_encoder,
    mllm,
    number_of,
    one_by_one,
    picture_features,
    run,
    text_features,
    unruly_mllm,
    write_lexicon,
)

COUNT, BATCH = 48, 6
FEATURES, PICTURES = picture_features(COUNT), numbered_pictures(COUNT)
ACTIVE = changed(REFERENCE, scoring={"activation": {"enabled": True, "gap": 0.2, "negative_count": 9}})


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pictures are kept while they may have to be looked at again."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def kept(folder: Path) -> int:
    return len(list(folder.glob("ants-spool-*/*.png")))


async def soon(condition: Callable[[], bool]) -> bool:
    """Wait for a worker thread to let go of the last thing that it did."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        gc.collect()
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


# ---- the same bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [0, 1, 4])
@pytest.mark.parametrize("preset", PRESETS)
async def test_the_order_and_the_pace_of_answers_do_not_matter(preset: str, lag: int) -> None:
    settings = PRESETS[preset]
    expected = await run(cold(settings), PICTURES, FEATURES, batch_size=BATCH, lag=lag)
    assert any(dict(batch[-1])["ens_texts"] for batch in expected)
    assert any(dict(batch[-1])["vsnl_texts"] for batch in expected)
    for seed in range(50):
        unruly = cold(settings, unruly_mllm(seed))
        assert await run(unruly, PICTURES, FEATURES, batch_size=BATCH, lag=lag) == expected, f"schedule {seed}"


@pytest.mark.parametrize("slots", [1, 3, 64])
@pytest.mark.parametrize("preset", PRESETS)
async def test_the_number_of_slots_does_not_matter(preset: str, slots: int) -> None:
    settings = PRESETS[preset]
    expected = await run(cold(settings), PICTURES, FEATURES, batch_size=BATCH, lag=1)
    limited = changed(settings, dispatch={"max_concurrency": slots})
    backend = unruly_mllm(slots)
    assert await run(cold(limited, backend), PICTURES, FEATURES, batch_size=BATCH, lag=1) == expected
    assert backend.peak_in_flight <= slots


@pytest.mark.parametrize("lag", [0, 3])
@pytest.mark.parametrize("preset", PRESETS)
async def test_a_replay_gives_the_same_bits(preset: str, lag: int, tmp_path: Path) -> None:
    recording = changed(
        PRESETS[preset], dispatch={"mode": "record", "store": str(tmp_path)}, mllm={"backend": "scripted"}
    )
    first = mllm()
    expected = await run(cold(recording, first), PICTURES, FEATURES, batch_size=BATCH, lag=lag)
    assert first.calls
    replaying = changed(recording, dispatch={"mode": "replay"})
    second = mllm()
    ants = cold(replaying, second)
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH, lag=lag)
    assert [bits(scores) async for scores in stream] == expected
    assert second.calls == []
    assert (stream.report.asked, stream.report.failed) == (0, 0)
    assert stream.report.from_store == sum(asked for asked, _ in stream.report.tasks.values()) > 0


@pytest.mark.parametrize("kind", ["list", "generator", "async generator", "files"])
@pytest.mark.parametrize("preset", PRESETS)
async def test_every_kind_of_input_gives_the_same_bits(preset: str, kind: str, tmp_path: Path) -> None:
    from PIL import Image

    paths = [tmp_path / f"{number:03}.png" for number in range(COUNT)]
    for path, picture in zip(paths, PICTURES, strict=True):
        Image.fromarray(picture).save(path)
    given: Any = {
        "list": lambda: list(PICTURES),
        "generator": lambda: one_by_one(PICTURES),
        "async generator": lambda: arriving(PICTURES),
        "files": lambda: paths,
    }[kind]()
    expected = await run(cold(PRESETS[preset]), PICTURES, FEATURES, batch_size=BATCH, lag=1)
    assert await run(cold(PRESETS[preset]), given, FEATURES, batch_size=BATCH, lag=1) == expected


# ---- lag -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [1, 4])
async def test_lag_moves_effects_and_changes_no_question(lag: int) -> None:
    now, later = mllm(), mllm()
    prompt = await run(cold(PAPER, now), PICTURES, FEATURES, batch_size=BATCH)
    delayed = await run(cold(PAPER, later), PICTURES, FEATURES, batch_size=BATCH, lag=lag)

    def sizes(batches: list[tuple[Any, ...]]) -> list[tuple[int, int]]:
        return [(dict(batch[-1])["ens_texts"], dict(batch[-1])["vsnl_texts"]) for batch in batches]

    assert sizes(delayed) == [(0, 0)] * lag + sizes(prompt)[:-lag]
    assert {(call.prompt, call.picture) for call in now.calls} == {(call.prompt, call.picture) for call in later.calls}


async def test_clip_goes_on_while_the_mllm_answers() -> None:
    may = asyncio.Event()

    async def waits(call: Call) -> str:
        await may.wait()
        return answer(call)

    ants = cold(PAPER, ScriptedBackend.from_callable(waits))
    async with ants.stream(PICTURES, features=FEATURES, batch_size=BATCH, lag=3) as stream:
        for batch in (1, 2, 3):
            scores = await asyncio.wait_for(anext(stream), 10)
            assert scores.adaptation is not None
            assert (scores.adaptation.batch, scores.adaptation.ens_texts) == (batch, 0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.1)
        may.set()
        scores = await asyncio.wait_for(anext(stream), 10)
        assert scores.adaptation is not None
        assert scores.adaptation.ens_texts > 0
        assert scores.adaptation.waited > 0.05


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_smaller_lag_takes_over_what_is_pending(preset: str) -> None:
    ants = cold(PRESETS[preset])
    await run(ants, PICTURES[:24], FEATURES[:24], batch_size=BATCH, lag=6)
    assert ants.state.pending
    await run(ants, PICTURES[24:], FEATURES[24:], batch_size=BATCH, lag=0)
    assert ants.state.pending == ()
    at_once = cold(PRESETS[preset])
    await run(at_once, PICTURES, FEATURES, batch_size=BATCH)
    assert ants.detector.ens.texts == at_once.detector.ens.texts
    assert ants.detector.vsnl.texts == at_once.detector.vsnl.texts


# ---- a stream and a build --------------------------------------------------------------------------------------------


def built(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {"encoder": given_encoder(), "config": changed(settings, lexicon={"source": str(write_lexicon(folder))})}


def same_banks(one: ANTS, other: ANTS) -> bool:
    ens = (one.detector.ens.texts, one.detector.ens.sources) == (other.detector.ens.texts, other.detector.ens.sources)
    return ens and set(one.detector.vsnl.texts) == set(other.detector.vsnl.texts)


@pytest.mark.parametrize("batch_size", [1, 7, 16, COUNT])
async def test_after_the_last_batch_a_stream_is_what_a_build_makes(batch_size: int, tmp_path: Path) -> None:
    whole = await ANTS.build(CLASSES, PICTURES, features=FEATURES, backend=mllm(), **built(PAPER, tmp_path))
    ants = await ANTS.build(CLASSES, backend=mllm(), **built(PAPER, tmp_path))
    assert (len(ants.detector.ens), len(ants.detector.vsnl), ants.state.pictures) == (0, 0, 0)
    await run(ants, PICTURES, FEATURES, batch_size=batch_size)
    assert len(ants.detector.ens) > 5
    assert same_banks(ants, whole)
    assert ants.weight == pytest.approx(whole.weight, abs=1e-5)
    assert ants.threshold == pytest.approx(whole.threshold, abs=1e-5)
    np.testing.assert_allclose(
        ants.score_features(FEATURES).id_score, whole.score_features(FEATURES).id_score, atol=1e-5
    )


async def test_a_build_and_then_a_stream_end_where_a_stream_of_everything_does(tmp_path: Path) -> None:
    half = COUNT // 2
    asked = mllm()
    warm = await ANTS.build(CLASSES, PICTURES[:half], features=FEATURES[:half], backend=asked, **built(PAPER, tmp_path))
    before = len(asked.calls)
    await run(warm, PICTURES[half:], FEATURES[half:], batch_size=BATCH)
    everything = await ANTS.build(CLASSES, backend=mllm(), **built(PAPER, tmp_path))
    await run(everything, PICTURES, FEATURES, batch_size=BATCH)
    assert warm.detector.ens.texts == everything.detector.ens.texts
    assert set(warm.detector.vsnl.texts) == set(everything.detector.vsnl.texts)
    assert warm.state.pictures == everything.state.pictures == COUNT
    assert warm.weight == pytest.approx(everything.weight, abs=1e-5)
    shown = [number_of(call) for call in asked.calls if call.picture is not None]
    assert len(shown) == len(set(shown)), "no picture is described twice"
    assert len(asked.calls) > before


async def test_the_reference_builds_by_streaming(tmp_path: Path) -> None:
    whole = await ANTS.build(
        CLASSES, PICTURES, features=FEATURES, backend=mllm(), stream={"batch_size": BATCH}, **built(REFERENCE, tmp_path)
    )
    ants = await ANTS.build(CLASSES, backend=mllm(), **built(REFERENCE, tmp_path))
    await run(ants, PICTURES, FEATURES, batch_size=BATCH)
    assert len(ants.detector.ens) > 5
    assert (whole.weight, whole.threshold) == (ants.weight, ants.threshold)
    assert same_banks(whole, ants)
    assert whole.report.pictures == COUNT
    assert whole.report.lexicon_sha256
    with pytest.raises(NoImagesError, match="none of the pictures"):
        await ANTS.build(CLASSES, [b"no picture"], backend=mllm(), **built(REFERENCE, tmp_path))

    def silent(call: Call) -> str:
        return "" if call.picture is not None else answer(call)

    with pytest.raises(NotEnoughAnswersError, match=r"ens: 0 of \d+ answers can be used"):
        await ANTS.build(
            CLASSES,
            PICTURES,
            features=FEATURES,
            backend=ScriptedBackend.from_callable(silent),
            stream={"batch_size": BATCH},
            **built(REFERENCE, tmp_path),
        )


async def test_a_build_by_streaming_shows_one_bar_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events: list[ProgressEvent] = []
    shown = changed(REFERENCE, progress={"bar": "on"}, stream={"batch_size": BATCH})
    await ANTS.build(
        CLASSES, PICTURES, features=FEATURES, backend=mllm(), on_progress=events.append, **built(shown, tmp_path)
    )
    assert [event.done for event in events if event.stage == "pictures"] == list(range(BATCH, COUNT + 1, BATCH))
    assert {event.stage for event in events} == {"lexicon", "pictures", "captions", "look-alikes"}
    assert "pictures" in capsys.readouterr().err


# ---- frozen scoring after a stream -----------------------------------------------------------------------------------


def mass(features: np.ndarray, negatives: torch.Tensor, ants: ANTS) -> np.ndarray:
    both = torch.cat([ants.detector.class_features, negatives]).double()
    logits = torch.from_numpy(features).double() @ both.T / ants.detector.temperature
    return logits.softmax(dim=1)[:, : len(CLASSES)].sum(dim=1).numpy()


async def test_frozen_scores_are_what_the_banks_say() -> None:
    ants = cold(PAPER)
    await run(ants, PICTURES, FEATURES, batch_size=BATCH)
    found, weight = ants.score_features(FEATURES), ants.weight
    assert found.adaptation is None
    ens, vsnl = (mass(FEATURES, bank.features, ants) for bank in (ants.detector.ens, ants.detector.vsnl))
    np.testing.assert_allclose(found.ens_score, ens, atol=1e-5)
    np.testing.assert_allclose(found.vsnl_score, vsnl, atol=1e-5)
    np.testing.assert_allclose(found.id_score, weight * ens + (1 - weight) * vsnl, atol=1e-5)


@pytest.mark.parametrize("settings", [PAPER, REFERENCE, ACTIVE], ids=["paper", "reference", "activation"])
async def test_frozen_scores_do_not_depend_on_what_stands_beside_them(settings: dict[str, Any]) -> None:
    ants = cold(settings)
    await run(ants, PICTURES, FEATURES, batch_size=BATCH)
    state = ants.state
    whole = ants.score_features(FEATURES)
    for size in (1, 5, 31):
        parts = [ants.score_features(FEATURES[start : start + size]) for start in range(0, COUNT, size)]
        for column in ("id_score", "ens_score", "vsnl_score", "neglabel_score"):
            joined = np.concatenate([getattr(part, column) for part in parts])
            np.testing.assert_allclose(joined, getattr(whole, column), atol=1e-6)
    assert ants.state is state


async def test_activation_ranks_the_sentences_and_frozen_scoring_keeps_the_ranking() -> None:
    plain, ants = cold(REFERENCE), cold(ACTIVE)
    without = await run(plain, PICTURES, FEATURES, batch_size=BATCH)
    with_it = await run(ants, PICTURES, FEATURES, batch_size=BATCH)
    assert without != with_it
    ranking = ants.detector.activation
    assert ranking is not None
    assert 0 < len(ranking.rows) <= 9
    banks = ants.detector.ens.features[ranking.rows]
    steps = [mass(FEATURES, banks[:end], ants) for end in [*range(2, len(banks), 2), len(banks)]]
    np.testing.assert_allclose(ants.score_features(FEATURES).ens_score, np.mean(steps, axis=0), atol=1e-5)


# ---- MLLMs that cannot, or will not ----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
async def test_an_mllm_without_eyes_gives_look_alikes_alone(preset: str, temporary: Path) -> None:
    backend = mllm(pictures=False)
    ants = cold(PRESETS[preset], backend)
    stream = ants.stream(one_by_one(PICTURES), features=FEATURES, batch_size=BATCH)
    async for scores in stream:
        np.testing.assert_array_equal(scores.ens_score, scores.neglabel_score)
    assert (len(ants.detector.ens), len(ants.detector.vsnl) > 0) == (0, True)
    assert all(call.picture is None for call in backend.calls)
    assert ants.weight == 0.0 if preset == "paper" else 0.0 < ants.weight < 1.0
    assert any("takes no pictures" in note for note in stream.report.notes)
    assert set(stream.report.tasks) <= {"ens", "vsnl"}
    assert stream.report.tasks.get("ens", (0, 0)) == (0, 0)


@pytest.mark.parametrize("preset", PRESETS)
async def test_an_mllm_that_needs_a_picture_gives_sentences_alone(preset: str) -> None:
    backend = mllm(text_only=False)
    ants = cold(PRESETS[preset], backend)
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)
    async for scores in stream:
        assert scores.adaptation is not None
        assert scores.adaptation.look_alikes_asked is None
        np.testing.assert_array_equal(scores.vsnl_score, scores.neglabel_score)
    assert (len(ants.detector.ens) > 0, len(ants.detector.vsnl)) == (True, 0)
    assert all(call.picture is not None for call in backend.calls)
    assert ants.weight == 1.0 if preset == "paper" else 0.0 < ants.weight < 1.0
    assert any("cannot be asked without a picture" in note for note in stream.report.notes)


async def test_features_without_pictures_give_look_alikes_alone() -> None:
    backend = mllm()
    ants = cold(PAPER, backend)
    batches = [scores async for scores in ants.stream(features=FEATURES, batch_size=BATCH)]
    assert all(call.picture is None for call in backend.calls)
    assert (len(ants.detector.ens), ants.weight) == (0, 0.0)
    assert [name for scores in batches for name in scores.names][:2] == ["#0", "#1"]
    assert all(scores.adaptation is None or scores.adaptation.captions_asked in {0, None} for scores in batches)


@pytest.mark.parametrize("preset", PRESETS)
async def test_one_failure_costs_one_answer(preset: str) -> None:
    expected = cold(PRESETS[preset])
    await run(expected, PICTURES, FEATURES, batch_size=BATCH)
    victim = expected.detector.ens.sources[0]
    number = int(victim.rpartition("#")[2])

    def fails(call: Call) -> str:
        if call.picture is not None and number_of(call) == number:
            raise BadRequestError("not this one")
        return answer(call)

    ants = cold(PRESETS[preset], ScriptedBackend.from_callable(fails))
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)
    async for _ in stream:
        pass
    assert (stream.report.failed, stream.report.tasks["ens"][1], stream.report.set_aside_count) == (1, 1, 1)
    assert stream.report.set_aside[0].name == victim
    missing = set(expected.detector.ens.sources) - set(ants.detector.ens.sources)
    # another picture may have said the same
    assert missing <= {victim}
    assert victim not in ants.detector.ens.sources


@pytest.mark.parametrize("said", [None, "I'm sorry, I can't help with that.", "   "])
@pytest.mark.parametrize("preset", PRESETS)
async def test_when_every_answer_fails_the_initial_score_stands_in(preset: str, said: str | None) -> None:
    def fails(call: Call) -> str:
        if said is None:
            raise BadRequestError("never")
        return said

    # the public code takes a refusal for a sentence
    settings = changed(PRESETS[preset], ens={"reader": "engine"}, vsnl={"reader": "engine"})
    ants = cold(settings, ScriptedBackend.from_callable(fails))
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH, lag=1)
    async for scores in stream:
        np.testing.assert_allclose(scores.id_score, scores.neglabel_score, atol=1e-6)
    report = stream.report
    assert all(asked == useless > 0 for asked, useless in report.tasks.values())
    assert set(report.tasks) == {"ens", "vsnl"}
    assert report.set_aside_count == sum(asked for asked, _ in report.tasks.values())
    assert (report.ens_texts, report.vsnl_texts) == (0, 0)
    assert "set aside" in str(report)


async def test_what_was_asked_in_vain_is_not_asked_again() -> None:
    def fails(call: Call) -> str:
        raise BadRequestError("never")

    backend = ScriptedBackend.from_callable(fails)
    await run(cold(PAPER, backend), PICTURES, FEATURES, batch_size=BATCH)
    questions = [(call.prompt, call.picture) for call in backend.calls]
    assert len(questions) == len(set(questions))


async def test_after_an_outage_the_look_alikes_are_asked_for_again() -> None:
    away = True

    def sometimes(call: Call) -> str:
        if away:
            raise BackendUnavailableError("nobody there")
        return answer(call)

    ants = cold(changed(PAPER, dispatch={"attempts": 1}), ScriptedBackend.from_callable(sometimes))
    async for scores in ants.stream(PICTURES, features=FEATURES, batch_size=BATCH):
        now = scores.adaptation
        assert now is not None
        if now.batch == 2:
            assert now.vsnl_texts == 0
            break
    away = False
    start = ants.state.pictures
    await run(ants, PICTURES[start:], FEATURES[start:], batch_size=BATCH)
    assert len(ants.detector.vsnl) > 3


# ---- bounds ----------------------------------------------------------------------------------------------------------


async def test_captions_are_asked_for_so_often_and_no_more(temporary: Path) -> None:
    backend = mllm()
    ants = cold(changed(REFERENCE, ens={"max_updates": 1}), backend)
    seen, captions, most = [], [], 0
    async for scores in ants.stream(one_by_one(PICTURES), features=FEATURES, batch_size=BATCH):
        assert scores.adaptation is not None
        seen.append(scores.adaptation.ens_updates)
        captions.append(scores.adaptation.captions_asked)
        if seen[-1] and len(seen) > seen.index(1) + 2:
            most = max(most, kept(temporary))
    assert seen[-1] == 1
    assert (len(ants.state.past_scores), len(ants.state.candidates), most) == (0, 0, 0)
    shown = sum(call.picture is not None for call in backend.calls)
    assert [asked for asked in captions if asked is not None] == [shown]
    none = cold(changed(REFERENCE, ens={"max_updates": 0}), backend)
    await run(none, one_by_one(PICTURES), FEATURES, batch_size=BATCH)
    assert len(none.detector.ens) == 0
    assert sum(call.picture is not None for call in backend.calls) == shown


async def test_a_full_queue_loses_its_oldest_or_by_the_public_codes_defect_its_newest() -> None:
    everything = cold(REFERENCE)
    await run(everything, PICTURES, FEATURES, batch_size=BATCH)
    texts = everything.detector.ens.texts
    assert len(texts) > 8
    for overflow, expected in (("drop_oldest", texts[:4]), ("drop_newest", texts[-4:])):
        ants = cold(changed(REFERENCE, ens={"bank_size": 4, "queue_overflow": overflow}))
        await run(ants, PICTURES, FEATURES, batch_size=BATCH)
        assert ants.detector.ens.texts == expected
        torch.testing.assert_close(ants.detector.ens.features, text_features(expected))


async def test_a_full_paper_bank_keeps_the_lowest_scores() -> None:
    everything, ants = cold(PAPER), cold(changed(PAPER, ens={"bank_size": 4}))
    for each in (everything, ants):
        await run(each, PICTURES, FEATURES, batch_size=BATCH)
    assert ants.detector.ens.texts == everything.detector.ens.texts[:4]


async def test_the_queue_may_start_with_the_lexicon() -> None:
    ants = cold(
        changed(REFERENCE, ens={"start": "lexicon", "bank_size": len(NEGATIVES), "queue_overflow": "drop_oldest"})
    )
    lexicon = ants.detector.initial.texts
    assert ants.detector.ens.texts == lexicon
    batches = [scores async for scores in ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)]
    assert batches[0].adaptation is not None
    assert batches[0].adaptation.ens_texts == len(NEGATIVES)
    new = sum(text.startswith("a grey kettle") for text in ants.detector.ens.texts)
    assert new > 5
    assert ants.detector.ens.texts[new:] == lexicon[: len(NEGATIVES) - new]
    ants.reset()
    assert ants.detector.ens.texts == lexicon


def sizes(state: AdaptationState) -> dict[str, int]:
    """Everything that a state holds, in numbers; its tensors with the memory behind them, in rows."""
    rows = {"recent": state.recent, "initial": state.recent_initial, "scores": state.recent_scores}
    rows |= {"past": state.past_scores, "activation": state.activation_scores}
    rows |= {"candidate scores": state.candidates.scores, "candidate features": state.candidates.features}
    held = {}
    for name, queue in rows.items():
        width = queue.empty[:0].numel() or int(np.prod(queue.empty.shape[1:], dtype=int))
        stored = sum(chunk.untyped_storage().nbytes() for chunk in queue.chunks)
        held[name] = stored // (4 * max(1, width))
    counts = {"captions": len(state.captions), "labels": sum(map(len, state.labels.values()))}
    counts |= {"candidates": len(state.candidates), "members": len(state.members), "negatives": len(state.negatives)}
    counts |= {"pending": len(state.pending), "ens": len(state.detector.ens), "vsnl": len(state.detector.vsnl)}
    return held | counts


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("preset", PRESETS)
async def test_an_endless_stream_takes_bounded_room(preset: str, lag: int, temporary: Path) -> None:
    settings = changed(PRESETS[preset], stream={"history": 16, "score_history": 20}, ens={"bank_size": 10})
    settings = changed(settings, scoring={"activation": {"enabled": preset == "reference", "queue_size": 9}})
    if preset == "reference":
        settings = changed(settings, ens={"max_updates": None})
    features = picture_features(30 * BATCH, seed=4)

    async def endless() -> Any:
        number = 0
        while True:
            yield np.array(numbered_pictures(number % 3000 + 1)[-1])
            number += 1

    ants = cold(settings)
    most: dict[str, int] = {}
    files = 0
    for start in range(0, len(features), 5 * BATCH):
        # one stream after the other goes on with the same state
        part = features[start : start + 5 * BATCH]
        stream = ants.stream(first(endless(), len(part)), features=part, batch_size=BATCH, lag=lag)
        async for _ in stream:
            files = max(files, kept(temporary))
            most = {name: max(size, most.get(name, 0)) for name, size in sizes(ants.state).items()}
    assert ants.state.pictures == 30 * BATCH
    bounds = {"recent": 32, "initial": 32, "scores": 32, "past": 40, "activation": 18, "captions": 16 + lag * 16}
    bounds |= {"candidate scores": 32, "candidate features": 32, "candidates": 16, "members": 16, "negatives": 16}
    bounds |= {"pending": 2 * lag, "ens": 10, "vsnl": 5 * len(CLASSES), "labels": 5 * len(CLASSES)}
    assert set(bounds) == set(most)
    assert {name: (size, bounds[name]) for name, size in most.items() if size > bounds[name]} == {}
    # waiting candidates, those asked about, and what was read ahead
    assert files <= 16 + (lag + 3) * BATCH + 16
    del ants, stream
    assert await soon(lambda: not list(temporary.iterdir()))


async def first(pictures: Any, count: int) -> Any:
    """Give so many pictures of an endless source, and close it."""
    try:
        for _ in range(count):
            yield await anext(pictures)
    finally:
        await pictures.aclose()


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_picture_is_kept_until_it_is_described_or_leaves_the_history(preset: str, temporary: Path) -> None:
    ants = cold(changed(PRESETS[preset], stream={"history": 12}))
    async for scores in ants.stream(one_by_one(PICTURES), features=FEATURES, batch_size=BATCH):
        assert scores.adaptation is not None
        waiting = [item for item in ants.state.candidates.items.values() if item.ref is not None]
        assert not {item.id for item in waiting} & set(ants.state.captions)
    # the stream has ended: nothing is read ahead any more
    del scores
    assert 0 < len(waiting) <= 12
    assert await soon(lambda: kept(temporary) == len(waiting))


async def test_a_released_history_does_not_hold_the_users_features() -> None:
    ants = cold(PAPER)
    await run(ants, PICTURES, FEATURES, batch_size=BATCH)
    for queue in (ants.state.recent, ants.state.recent_initial, ants.state.recent_scores):
        for chunk in queue.chunks:
            assert chunk.untyped_storage().nbytes() <= 2 * chunk.numel() * chunk.element_size()


# ---- what is given ---------------------------------------------------------------------------------------------------


async def test_pictures_alone_need_a_clip() -> None:
    from ants_engine.errors import UsageError

    with pytest.raises(UsageError, match="no CLIP model"):
        await run(cold(PAPER), PICTURES, None, batch_size=BATCH)


async def test_without_text_features_only_the_first_stage_can_be_used() -> None:
    ants = ANTS.from_features(
        CLASSES, text_features(CLASSES), negative_features=text_features(NEGATIVES), backend=mllm(), config=PAPER
    )
    assert len(ants.score_features(FEATURES)) == COUNT
    with pytest.raises(FeatureError, match="not in the table of text features"):
        await run(ants, PICTURES, FEATURES, batch_size=BATCH)
    assert ants.state.pictures == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_features": np.ones((2, 12), np.float32)}, "for 6 classes"),
        ({"negative_features": np.ones((3, 5), np.float32)}, r"\(N, 12\)"),
        ({"negative_texts": ["one"]}, "1 negative_texts for 30"),
        ({"text_encoder": given_encoder(), "class_features": np.ones((6, 5), np.float32)}, "5 wide"),
    ],
)
def test_features_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    given = {"class_features": text_features(CLASSES), "negative_features": text_features(NEGATIVES)} | change
    if "text_encoder" in change:
        given["negative_features"] = np.ones((3, 5), np.float32)
    with pytest.raises(FeatureError, match=said):
        ANTS.from_features(CLASSES, given.pop("class_features"), config=PAPER, **given)


def test_a_stream_of_nothing_is_refused() -> None:
    ants = cold(PAPER)
    with pytest.raises(NoImagesError, match="give images"):
        ants.stream()
    with pytest.raises(NoImagesError, match="empty"):
        ants.stream([])
    with pytest.raises(NoImagesError, match="no such file"):
        ants.stream("/nowhere/at/all")
    with pytest.raises(SettingError, match=r"stream\.batch_size"):
        ants.stream(PICTURES, batch_size=0)
    with pytest.raises(SettingError, match=r"stream\.lag"):
        ants.stream(PICTURES, lag=-1)
    for features in (3.0, np.float32(1), object(), [["a"]]):
        with pytest.raises(FeatureError):
            asyncio.run(run(ants, None, features))


async def test_given_text_features_are_not_taken_from_another_tables_cache(tmp_path: Path) -> None:
    settings = changed(
        PAPER, lexicon={"source": str(write_lexicon(tmp_path))}, text={"feature_cache": str(tmp_path / "c")}
    )
    one = await ANTS.build(CLASSES, encoder=given_encoder(), config=settings)

    def mirrored(texts: Any) -> torch.Tensor:
        return -text_features(texts)

    from ants_engine.clip.encoding import GivenEncoder

    other = await ANTS.build(CLASSES, encoder=GivenEncoder(mirrored, 12, logit_scale=12.0), config=settings)
    row = other.detector.initial.texts.index("thing 3")
    assert torch.equal(other.detector.initial.features[row], -text_features(["The nice thing 3."])[0])
    assert not torch.equal(one.detector.initial.features.sum(), other.detector.initial.features.sum())


# ---- thresholds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_threshold_that_was_set_stays(preset: str, tmp_path: Path) -> None:
    ants = cold(PRESETS[preset])
    ants.threshold = 0.25
    batches = [scores async for scores in ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)]
    assert {scores.threshold for scores in batches} == {0.25}
    ants.reset()
    assert ants.threshold == 0.25
    ants.save(tmp_path)
    assert ANTS.load(tmp_path).threshold == 0.25
    assert ANTS.load(tmp_path, scoring={"threshold": 0.75}).threshold == 0.75


async def test_a_threshold_set_in_mid_stream_is_not_lost() -> None:
    ants = cold(PAPER)
    async for scores in ants.stream(PICTURES, features=FEATURES, batch_size=BATCH):
        assert scores.adaptation is not None
        if scores.adaptation.batch == 3:
            ants.threshold = 0.125
        if scores.adaptation.batch >= 3:
            assert ants.threshold == 0.125
    assert ants.threshold == 0.125
