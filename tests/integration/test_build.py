import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ants_engine import ANTS, ProgressEvent
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.detector.scores import Scores
from ants_engine.errors import (
    ClassListError,
    DetectorFolderError,
    FeatureError,
    ImageNotFoundError,
    LexiconError,
    NoImagesError,
    NotEnoughAnswersError,
    ReplayMissError,
    SettingError,
    UsageError,
)
from ants_engine.protocol import Call
from ants_engine.report.truth import Label, Truth
from tests.integration.conftest import CLASSES, OBJECTS, describe, shuffled_mllm, small_settings
from tests.support.features import image_features

COLUMNS = ("id_score", "ens_score", "vsnl_score", "neglabel_score", "predicted")


def same_bits(one: Scores, other: Scores) -> bool:
    columns = all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in COLUMNS)
    return columns and (one.weight, one.threshold) == (other.weight, other.threshold)


def describe_all(settings: dict[str, Any], **stages: dict[str, Any]) -> dict[str, Any]:
    return {**settings, **{name: {**settings.get(name, {}), **values} for name, values in stages.items()}}


async def test_from_class_names_and_pictures_to_scores_and_reasons(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    ants = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)
    report = ants.report
    assert (report.pictures, report.candidates, report.negative_images) == (40, 40, 20)
    # every picture once, every class once, and nothing of an ID class's own name
    assert sum(call.picture is not None for call in mllm.calls) == 20
    assert sum(call.picture is None for call in mllm.calls) == len(CLASSES)
    assert len(ants.detector.ens) == report.ens_texts > 5
    assert len(ants.detector.vsnl) == report.vsnl_texts > 5
    assert 0 < ants.weight < 1
    scores = await ants.score(images)
    assert len(scores) == 40
    assert np.all((scores.id_score > 0) & (scores.id_score < 1))
    assert 0 < scores.is_outlier.sum() < 40
    assert same_bits(scores, ants.score_features(await ants.encode(images)))
    why = ants.explain(images[0], top=2)
    assert {near.kind for near in why.negatives} == {"ens", "vsnl", "neglabel"}
    assert why.score.id_score == scores[0].id_score
    assert any(near.source.startswith("PIL.Image #") for near in why.negatives)


async def test_the_prompt_shows_the_predicted_class_as_quoted_data(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    odd = ['say "hi" $max_words {}', "dog face"]
    await ANTS.build(odd, images, encoder=encoder, backend=mllm, **settings)
    prompts = {call.prompt for call in mllm.calls if call.picture is None}
    assert any('"say \\"hi\\" $max_words {}"' in prompt for prompt in prompts)
    assert all(call.prompt.count("fewer than 8 words") == 1 for call in mllm.calls if call.picture is not None)


@pytest.fixture(scope="module")
def built(
    encoder: ClipEncoder, images: list[Image.Image], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Scores]:
    """Settings whose store has the answers about the pictures, and how a detector of these scores them."""
    settings = small_settings(tmp_path_factory.mktemp("built"))
    mllm = ScriptedBackend.from_callable(describe)

    async def build() -> Scores:
        ants = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)
        return await ants.score(images)

    return settings, asyncio.run(build())


@pytest.mark.parametrize(
    "kind", ["paths", "folder", "glob", "generator", "async generator", "arrays", "bytes", "batch"]
)
async def test_every_kind_of_input_gives_the_same_detector(
    kind: str,
    encoder: ClipEncoder,
    images: list[Image.Image],
    built: tuple[dict[str, Any], Scores],
    mllm: ScriptedBackend,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number:02}.png")

    async def later() -> AsyncIterator[Image.Image]:
        for image in images:
            await asyncio.sleep(0)
            yield image

    def encoded(image: Image.Image) -> bytes:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return stream.getvalue()

    given = {
        "paths": lambda: sorted(folder.iterdir()),
        "folder": lambda: str(folder),
        "glob": lambda: f"{folder}/*.png",
        "generator": lambda: (image for image in images),
        "async generator": later,
        "arrays": lambda: [np.asarray(image) for image in images],
        "bytes": lambda: [encoded(image) for image in images],
        "batch": lambda: np.stack([np.asarray(image) for image in images]),
    }[kind]()
    settings, expected = built
    other = await ANTS.build(CLASSES, given, encoder=encoder, backend=mllm, **settings)
    assert other.report.asked == 0, "the same pictures must have the same keys"
    assert same_bits(expected, await other.score(images))


async def test_features_stand_in_for_pictures_and_the_mllm_still_sees_them(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    expected = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)
    features = await expected.encode(images)
    given = await ANTS.build(CLASSES, images, features=features, encoder=encoder, backend=mllm, **settings)
    assert given.report.asked == 0
    np.testing.assert_allclose(
        given.score_features(features).id_score, (await expected.score(images)).id_score, atol=1e-5
    )
    with pytest.raises(FeatureError, match="40 rows of features for 39 pictures"):
        await ANTS.build(CLASSES, images[1:], features=features, encoder=encoder, backend=mllm, **settings)


async def test_features_alone_give_look_alikes_alone(
    encoder: ClipEncoder, settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    features = np.random.default_rng(0).normal(size=(30, encoder.dim)).astype(np.float32)
    ants = await ANTS.build(CLASSES, features=features, encoder=encoder, backend=mllm, **settings)
    assert all(call.picture is None for call in mllm.calls)
    assert (len(ants.detector.ens), ants.weight) == (0, 0.0)
    assert any("no pictures to describe" in note for note in ants.report.notes)


async def test_an_mllm_without_eyes_gives_look_alikes_alone(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any]
) -> None:
    blind = ScriptedBackend.from_callable(describe, ScriptedBackend.Options(pictures=False))
    ants = await ANTS.build(CLASSES, images, encoder=encoder, backend=blind, **settings)
    assert ants.weight == 0.0
    assert any("takes no pictures" in note for note in ants.report.notes)


async def test_replay_needs_no_mllm_and_gives_the_same_bits(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    first = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)
    asked = len(mllm.calls)
    replay = describe_all(settings, dispatch={"mode": "replay"})
    again = await ANTS.build(CLASSES, images, encoder=encoder, **replay)
    assert len(mllm.calls) == asked
    assert (again.report.asked, again.report.from_store) == (0, asked)
    assert same_bits(await first.score(images), await again.score(images))
    with pytest.raises(ReplayMissError, match="never recorded"):
        await ANTS.build([*CLASSES, "teapot"], images, encoder=encoder, **replay)


@pytest.mark.parametrize("seed", range(3))
async def test_the_order_of_answers_does_not_matter(
    seed: int, encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    live = describe_all(settings, dispatch={"mode": "live"})
    first = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **live)
    again = await ANTS.build(CLASSES, images, encoder=encoder, backend=shuffled_mllm(seed), **live)
    assert same_bits(await first.score(images), await again.score(images))
    assert first.detector.ens.sources == again.detector.ens.sources


async def test_questions_leave_while_clip_still_works(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    events: list[ProgressEvent] = []
    eager = describe_all(settings, mining={"gamma": 1.0, "eta": 0.9})
    await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, on_progress=events.append, **eager)
    stages = [event.stage for event in events]
    last_picture = max(i for i, stage in enumerate(stages) if stage == "pictures")
    assert stages.index("look-alikes") < stages.index("pictures")
    assert stages.index("captions") < last_picture
    assert [event.done for event in events if event.stage == "pictures"] == [8, 16, 24, 32, 40]
    assert sum(call.picture is not None for call in mllm.calls) == 36, "none was asked in vain"


async def test_near_duplicates_are_described_once_in_a_build_and_in_a_stream(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    different = list({image.tobytes(): image for image in images}.values())[:10]
    frames = [frame for image in different for frame in (image, image.copy())]
    for number, frame in enumerate(frames[1::2]):
        frame.putpixel((3, number), (0, 0, 0))
    features = image_features(encoder, frames)
    cosines = features @ features.T - 2 * torch.block_diag(*[torch.ones(2, 2)] * 10)
    cosine = (float(cosines.max()) + float((features[::2] * features[1::2]).sum(dim=1).min())) / 2
    everything = describe_all(settings, mining={"gamma": 1.0, "eta": 1.0}, dispatch={"mode": "live"})
    once = describe_all(everything, mining={"gamma": 1.0, "eta": 1.0, "same_picture": cosine})
    await ANTS.build(CLASSES, frames, encoder=encoder, backend=mllm, **everything)
    assert sum(call.picture is not None for call in mllm.calls) == 20
    mllm.calls.clear()
    ants = await ANTS.build(CLASSES, frames, encoder=encoder, backend=mllm, **once)
    assert sum(call.picture is not None for call in mllm.calls) == 10
    assert (ants.report.negative_images, ants.report.near_duplicates) == (20, 10)
    assert "10 of these look like another of them" in str(ants.report)
    mllm.calls.clear()
    stream = (await ANTS.build(CLASSES, encoder=encoder, backend=mllm, **once)).stream(frames, batch_size=7, lag=0)
    async for _ in stream:
        pass
    assert sum(call.picture is not None for call in mllm.calls) == 10
    assert stream.report.near_duplicates == 10


async def test_one_failure_costs_one_answer(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any]
) -> None:
    failures = 0

    def sometimes(call: Call) -> str:
        nonlocal failures
        if call.picture is not None and failures < 2:
            failures += 1
            return ""
        return describe(call)

    ants = await ANTS.build(
        CLASSES, images, encoder=encoder, backend=ScriptedBackend.from_callable(sometimes), **settings
    )
    assert (ants.report.failed, ants.report.asked) == (2, 24)
    assert [item.reason for item in ants.report.set_aside if item.what == "request"] == [
        "EmptyAnswerError: the MLLM answered with nothing"
    ] * 2


async def test_too_many_failures_end_the_build_and_lose_nothing(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    answered = 0

    def breaks_down(call: Call) -> str:
        nonlocal answered
        if call.picture is None:
            return describe(call)
        answered += 1
        return describe(call) if answered <= 5 else " "

    with pytest.raises(NotEnoughAnswersError, match="5 of 20 answers can be used") as error:
        await ANTS.build(
            CLASSES, images, encoder=encoder, backend=ScriptedBackend.from_callable(breaks_down), **settings
        )
    assert len(error.value.exceptions) == 1
    repaired = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)
    assert (repaired.report.asked, repaired.report.from_store) == (15, 5 + len(CLASSES))


@pytest.mark.parametrize(
    "answer", ["I'm sorry, I can't help with that.", "这是一张照片，上面有一盏灯", "the the the the the the the the"]
)
async def test_an_mllm_that_cannot_do_it_is_no_foundation(
    answer: str, encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any]
) -> None:
    useless = ScriptedBackend.from_callable(lambda call: answer)
    with pytest.raises(NotEnoughAnswersError, match="0 of 20 answers can be used"):
        await ANTS.build(CLASSES, images, encoder=encoder, backend=useless, **settings)


async def test_fifty_kilobytes_of_answer_become_a_short_text_or_none(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any]
) -> None:
    def endless(call: Call) -> str:
        return describe(call) + " And so on, word after word, with nothing to say" * 1_000

    ants = await ANTS.build(
        CLASSES, images, encoder=encoder, backend=ScriptedBackend.from_callable(endless), **settings
    )
    assert len(ants.detector.ens) > 0
    assert all(len(text.split()) <= 24 for text in (*ants.detector.ens.texts, *ants.detector.vsnl.texts))


async def test_unusable_pictures_are_set_aside_and_keep_their_row(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend, tmp_path: Path
) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    mixed: list[Any] = [*images[:20], tmp_path / "empty.png", *images[20:], tmp_path / "missing.png"]
    ants = await ANTS.build(CLASSES, mixed, encoder=encoder, backend=mllm, **settings)
    assert ants.report.pictures == 40
    assert [Path(item.name).name for item in ants.report.set_aside if item.what == "picture"] == [
        "empty.png",
        "missing.png",
    ]
    scores = await ants.score(mixed)
    assert np.flatnonzero(np.isnan(scores.id_score)).tolist() == [20, 41]
    assert list(scores.failures) == [20, 41]
    assert np.flatnonzero(scores.is_unreadable).tolist() == [20, 41]
    assert not scores.is_outlier[[20, 41]].any()
    assert np.isnan((await ants.encode(mixed))[20]).all()
    strict = describe_all(settings, pictures={"on_error": "raise"})
    with pytest.raises(ImageNotFoundError, match=r"missing\.png"):
        await ANTS.build(CLASSES, [tmp_path / "missing.png"], encoder=encoder, backend=mllm, **strict)


async def test_nothing_to_look_at(
    encoder: ClipEncoder, settings: dict[str, Any], mllm: ScriptedBackend, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "none").mkdir()
    empty: Iterator[Image.Image] = iter(())
    for given, said in [
        ([], "empty"),
        (empty, "no picture"),
        (tmp_path / "none", "no pictures in this folder"),
        (tmp_path / "nowhere", "no such file or folder"),
        (f"{tmp_path}/*.jpg", "no picture matches"),
        ([tmp_path / "bad.png"], "none of the 1 pictures can be used"),
        ("https://example.org/a.png", "not fetched"),
    ]:
        with pytest.raises(NoImagesError, match=said):
            await ANTS.build(CLASSES, given, encoder=encoder, backend=mllm, **settings)


async def test_without_pictures_there_is_the_first_stage(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    cold = await ANTS.build(CLASSES, encoder=encoder, backend=mllm, **settings)
    assert mllm.calls == []
    assert (len(cold.detector.ens), len(cold.detector.vsnl), cold.state.pictures) == (0, 0, 0)
    assert (cold.weight, cold.threshold, cold.report.pictures) == (0.5, 0.5, 0)
    assert cold.report.lexicon_sha256
    assert set(cold.report.templates) == {"ens/v1", "vsnl/v1"}
    taught = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)
    scores, after = await cold.score(images), await taught.score(images)
    assert scores.neglabel_score.tobytes() == after.neglabel_score.tobytes()
    np.testing.assert_array_equal(scores.ens_score, scores.neglabel_score)
    np.testing.assert_allclose(scores.id_score, scores.neglabel_score, atol=1e-6)
    with pytest.raises(ClassListError, match="longer than the text context"):
        await ANTS.build(["dog face " * 40], encoder=encoder, backend=mllm, **settings)


async def test_wrong_classes_and_settings_are_named(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    with pytest.raises(ClassListError, match="same as"):
        await ANTS.build(["a", "A"], images, encoder=encoder, backend=mllm, **settings)
    with pytest.raises(ClassListError, match="longer than the text context"):
        await ANTS.build(["dog face " * 40], images, encoder=encoder, backend=mllm, **settings)
    with pytest.raises(SettingError, match=r"mllm\.modle"):
        await ANTS.build(CLASSES, images, encoder=encoder, **describe_all(settings, mllm={"modle": "x"}))
    words = ["table", "wheel", "house", "stone", "river", "lamp", "shoe", "window", "green", "big"]
    with pytest.raises(LexiconError, match="every word"):
        await ANTS.build(words, images, encoder=encoder, backend=mllm, **settings)


async def test_cancellation_leaves_nothing_behind(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any]
) -> None:
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())

    async def never(call: Call) -> str:
        await asyncio.Event().wait()
        return ""

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            ANTS.build(CLASSES, images, encoder=encoder, backend=ScriptedBackend.from_callable(never), **settings), 1.0
        )
    assert len(asyncio.all_tasks()) == tasks
    named = [thread.name for thread in threading.enumerate() if thread.name.startswith("ants-")]
    assert named == [], f"{threading.active_count() - threads} threads more"


async def test_a_saved_detector_scores_to_the_same_bits_and_knows_its_clip(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend, tmp_path: Path
) -> None:
    ants = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)
    ants.save(tmp_path / "detector")
    loaded = ANTS.load(tmp_path / "detector")
    assert same_bits(await ants.score(images), await loaded.score(images))
    assert loaded.report.to_dict() == ants.report.to_dict()
    other = ANTS.load(tmp_path / "detector", clip={"precision": "bf16"})
    with pytest.raises(DetectorFolderError, match="another CLIP"):
        await other.score(images)


async def test_calibration_keeps_the_share_that_was_asked_for(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    ants = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)
    threshold = await ants.calibrate(images[:20], false_alarms=0.1)
    assert ants.threshold == threshold
    assert (await ants.score(images[:20])).is_outlier.sum() == 1
    with pytest.raises(UsageError, match="at least 199"):
        await ants.calibrate(images[:20], false_alarms=0.005)
    ants.threshold = 0.0
    assert not (await ants.score(images)).is_outlier.any()


async def test_classes_may_have_several_prompts_and_the_threshold_and_weight_may_be_set(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    prompts = {name: [f"a {name}", f"a photo of a {name}"] for name in CLASSES}
    fixed = describe_all(settings, scoring={"weight": 0.25, "threshold": 0.4, "temperature": 0.05})
    ants = await ANTS.build(prompts, images, encoder=encoder, backend=mllm, **fixed)
    assert (ants.weight, ants.threshold, ants.detector.temperature) == (0.25, 0.4, 0.05)
    expected = encoder.encode_texts(["a guitar", "a photo of a guitar"]).mean(dim=0)
    np.testing.assert_allclose(ants.detector.class_features[3], expected / expected.norm(), atol=1e-6)


async def test_a_list_with_a_published_double_works_from_the_build_to_the_loaded_stream(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend, tmp_path: Path
) -> None:
    names = [f"{thing} of {place}" for thing in ("cup", "lamp", "boat", "bell") for place in OBJECTS * 2][:98]
    names = [f"{name} {number // 12}" for number, name in enumerate(names)]
    names[10:10], names[60:60] = ["missile"], ["missile", "sunglasses", "sunglasses"]
    settings = describe_all(settings, vsnl={"delta": 1.0})
    ants = await ANTS.build(names, images, encoder=encoder, backend=mllm, **settings)
    assert ants.classes == tuple(names)
    assert sorted(ants.report.similar_classes) == sorted(names)
    assert "missile (10, 60), sunglasses (61, 62)" in ants.report.notes[0]
    # two classes of one name are one question
    assert sum(call.picture is None for call in mllm.calls) == len(set(names))
    scores = await ants.score(images)
    assert not {60, 62} & set(scores.predicted.tolist())
    assert {one.text for one in ants.explain(images[0], top=5).classes} <= set(names)
    ants.save(tmp_path / "d")
    # where answers are kept is for whoever loads it to say
    own = {"dispatch": settings["dispatch"], "text": settings["text"]}
    loaded = ANTS.load(tmp_path / "d", encoder=encoder, **own)
    assert loaded.classes == ants.classes
    assert same_bits(await loaded.score(images), scores)
    async for batch in loaded.stream(images[:8], backend=mllm):
        assert len(batch) == 8
    assert Truth.of_sequence(["missile", "ood"], loaded.classes).labels[0] == Label("id", 10)


async def test_the_lexicon_of_a_detector_holds_no_name_of_a_class(
    encoder: ClipEncoder, settings: dict[str, Any], tmp_path: Path
) -> None:
    words = ["lion", "lions", "king of beasts", "eagle", "golden eagle", "lamp"]
    Path(settings["lexicon"]["source"]).write_text("".join(f"{word}\tnoun\n" for word in words))
    names = ["lion, king of beasts", "bald eagle"]
    ants = await ANTS.build(names, encoder=encoder, **settings)
    assert sorted(ants.detector.initial.texts) == ["golden eagle", "lamp"]
    exact = describe_all(settings, lexicon={"id_names": "exact"})
    assert sorted((await ANTS.build(names, encoder=encoder, **exact)).detector.initial.texts) == sorted(words)
    reference = await ANTS.build(names, encoder=encoder, **settings, preset="reference")
    assert sorted(reference.detector.initial.texts) == sorted(words)


async def test_look_alikes_are_asked_for_by_the_rule_that_is_set(
    encoder: ClipEncoder, mllm: ScriptedBackend, settings: dict[str, Any], images: list[Image.Image]
) -> None:
    rule = describe_all(settings, vsnl={"rule": "most_frequent", "max_classes": 1})
    ants = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **rule)
    predicted = (await ants.score(images)).predicted_class
    assert ants.report.similar_classes == (max(CLASSES, key=predicted.count),)


async def test_activation_ranks_the_sentences_of_a_build(
    encoder: ClipEncoder, mllm: ScriptedBackend, settings: dict[str, Any], images: list[Image.Image]
) -> None:
    active = describe_all(settings, scoring={"activation": {"enabled": True, "negative_count": 3, "gap": 0.0}})
    plain = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **describe_all(settings))
    ranked = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **active)
    assert ranked.detector.activation is not None
    assert len(ranked.detector.activation.rows) == 3
    features = await plain.encode(images)
    assert (ranked.score_features(features).ens_score != plain.score_features(features).ens_score).any()
