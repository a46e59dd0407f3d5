"""A picture's features and scores are its own: the same bits in any company, and under any number of threads."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.encoding import GivenEncoder
from ants_engine.detector.class_list import ClassList
from ants_engine.detector.detector import ActivationRanking, Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.learning.scoring import balanced_scores
from ants_engine.method.verified import VerifiedPictures
from ants_engine.settings.config import ClipSettings
from tests.integration.conftest import CLASSES, WORLD
from tests.support.features import image_features
from tests.unit.clip.test_turns import Watched
from tests.unit.detector.detectors import small_detector, unit_rows

COLUMNS = ("id_score", "ens_score", "vsnl_score", "neglabel_score", "predicted")


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def partitions(count: int) -> Iterator[list[list[int]]]:
    """Cut a shuffled range into parts at random, after the ends: all at once, and one by one."""
    rng = np.random.default_rng(3)
    yield [list(range(count))]
    yield [[row] for row in range(count)]
    for _ in range(3):
        cuts = np.sort(rng.integers(0, count, rng.integers(1, 9)))
        yield [part.tolist() for part in np.split(rng.permutation(count), cuts) if len(part)]


def put_together(parts: list[tuple[list[int], torch.Tensor]]) -> torch.Tensor:
    rows = torch.cat([torch.tensor(rows) for rows, _ in parts])
    return torch.cat([values for _, values in parts])[rows.argsort()]


def test_a_pictures_features_have_the_same_bits_in_any_batch(encoder: ClipEncoder, images: list[Image.Image]) -> None:
    inputs = [encoder.preprocess(image) for image in images]
    wanted = None
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for partition in partitions(len(inputs)):
            found = put_together([(part, encoder.encode_inputs([inputs[row] for row in part])) for part in partition])
            wanted = found if wanted is None else wanted
            assert torch.equal(found, wanted), (threads, partition)


def test_a_texts_features_have_the_same_bits_in_any_list(encoder: ClipEncoder) -> None:
    texts = [f"{'a very ' * (number % 7)}nice {word} {number}" for number in range(9) for word in CLASSES]
    wanted = None
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for partition in partitions(len(texts)):
            found = put_together([(part, encoder.encode_texts([texts[row] for row in part])) for part in partition])
            wanted = found if wanted is None else wanted
            assert torch.equal(found, wanted), (threads, partition)


def test_the_batch_sizes_do_not_change_bits_on_the_cpu(encoder: ClipEncoder, images: list[Image.Image]) -> None:
    texts = [f"a {word} {number}" for number in range(12) for word in CLASSES]
    for size in (1, 64):
        other = ClipEncoder.load(ClipSettings(model=str(WORLD / "clip"), batch_size=size, text_batch_size=size + 2))
        assert torch.equal(image_features(other, images), image_features(encoder, images))
        assert torch.equal(other.encode_texts(texts), encoder.encode_texts(texts))
        assert other.text_batches_sha256 == encoder.text_batches_sha256


def bank(kind: str, count: int, dim: int, seed: int) -> NegativeBank:
    return NegativeBank(kind, tuple(map(str, range(count))), ("here",) * count, unit_rows(count, seed, dim))


def detector(dim: int, classes: int, words: int, sentences: int, similar: int, **more: Any) -> Detector:
    made = replace(
        small_detector(),
        classes=ClassList.of([f"class {number}" for number in range(classes)], "{}"),
        class_features=unit_rows(classes, 1, dim),
        initial=bank("neglabel", words, dim, 2),
        ens=bank("ens", sentences, dim, 3),
        vsnl=bank("vsnl", similar, dim, 4),
        temperature=0.01,
    )
    return replace(made, **more)


SCORINGS = {
    "ada": {},
    "far only": {"weight": 1.0},
    "near only": {"weight": 0.0},
    "union": {"fusion": "union"},
    "pool": {"fusion": "pool"},
    "groups as in the public code": {"grouping": "reference", "group_length": 30},
    "banks in groups": {"group_length": 7},
    "activation": {"activation": ActivationRanking(torch.arange(0, 33, 2), 5)},
}


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize(("dim", "classes", "words"), [(192, 36, 300), (77, 5, 5000)])
def test_a_pictures_scores_have_the_same_bits_in_any_batch(scoring: str, dim: int, classes: int, words: int) -> None:
    made = detector(dim, classes, words, 33, 90, **SCORINGS[scoring])
    features = unit_rows(300, 9, dim)
    if made.fusion == "pool":
        # some of those that are scored are among them
        asked = torch.cat([features[5:30], unit_rows(150, 11, dim)])
        made = replace(made, verified=VerifiedPictures.of(asked, torch.arange(len(asked)) % 3 == 0), purity=0.625)
    # features of a kind that hides the order of sums
    features[:3] = torch.eye(dim)[:3]
    wanted: dict[str, np.ndarray[Any, Any]] = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for partition in partitions(len(features)):
            order = np.argsort(np.concatenate(partition))
            parts = [made.score(features[part]) for part in partition]
            columns = {name: [getattr(part, name) for part in parts] for name in COLUMNS}
            columns |= {f"{name} vote": [part.votes[name] for part in parts] for name in parts[0].votes}
            assert len(columns) == len(COLUMNS) + (4 if made.fusion == "pool" else 0)
            for name, column in columns.items():
                found = np.concatenate(column)[order]
                assert np.array_equal(found, wanted.setdefault(name, found)), (name, threads, partition)


@pytest.mark.parametrize("sentences", [30, 200, 400])
def test_the_scores_that_balance_lambda_have_the_same_bits_in_any_batch(sentences: int) -> None:
    made = detector(192, 36, 300, sentences, 90)
    features = unit_rows(150, 9, 192)
    wanted = torch.stack(balanced_scores(made, made.look(features)))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for size in (1, 40, 128):
            parts = [balanced_scores(made, made.look(rows)) for rows in features.split(size)]
            assert torch.equal(torch.cat([torch.stack(part) for part in parts], dim=1), wanted)


@pytest.fixture
async def ants(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> ANTS:
    return await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **settings)


async def test_alone_in_a_list_explained_or_by_its_features_a_picture_has_one_score(
    ants: ANTS, images: list[Image.Image]
) -> None:
    together = await ants.score(images)
    features = await ants.encode(images)
    for row in range(0, len(images), 13):
        scores = [
            (await ants.score([images[row]]))[0].id_score,
            (await ants.score(images[row:]))[0].id_score,
            (await ants.score(images[: row + 1]))[row].id_score,
            (await asyncio.to_thread(ants.explain, images[row])).score.id_score,
            ants.score_features(features[row : row + 1])[0].id_score,
            ants.explain(features[row]).score.id_score,
        ]
        assert set(scores) == {together[row].id_score}


async def test_what_was_calibrated_with_is_kept_alone_and_together(ants: ANTS, images: list[Image.Image]) -> None:
    images = images[:20]
    for rate, flagged in ((0.05, 0), (0.5, 9)):
        await ants.calibrate(images, false_alarms=rate)
        together = await ants.score(images)
        assert int(together.is_outlier.sum()) == flagged
        alone = [(await ants.score([image]))[0].is_outlier for image in images]
        assert alone == together.is_outlier.tolist() == [one.is_outlier for one in together]
        by_features = ants.score_features(await ants.encode(images[5:11]))
        assert by_features.is_outlier.tolist() == together.is_outlier[5:11].tolist()


async def test_a_build_under_another_number_of_threads_has_the_same_bits(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend, tmp_path: Path
) -> None:
    names = []
    for threads, mode in ((1, "record"), (2, "replay")):
        torch.set_num_threads(threads)
        own = {**settings, "dispatch": {**settings["dispatch"], "mode": mode}}
        built = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, **own)
        assert built.report.versions["torch threads"] == str(threads)
        built.save(tmp_path / mode)
        # named by their content
        names.append(sorted(path.name for path in (tmp_path / mode).glob("*.safetensors")))
    assert names[0] == names[1] != []


async def test_everything_that_encodes_takes_turns(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    watched = Watched(encoder)
    ants = await ANTS.build(CLASSES, images[:10], encoder=watched, backend=mllm, **settings)
    other = ants.fork()

    async def streamed() -> None:
        async for _ in other.stream(images[:12], batch_size=4, backend=mllm):
            pass

    explained = [asyncio.to_thread(one.explain, image) for one in (ants, other) for image in images[:4]]
    await asyncio.gather(*(ants.score(images[:20]) for _ in range(3)), streamed(), *explained)
    assert watched.most == 1
    assert threading.main_thread().name not in watched.threads


async def test_a_function_of_the_users_is_called_by_one_detector_at_a_time(mllm: ScriptedBackend) -> None:
    mutex = threading.Lock()

    def encode(texts: Any) -> torch.Tensor:
        # raises where another call holds it
        assert mutex.acquire(blocking=False)
        try:
            return unit_rows(len(texts), len(texts[0]))
        finally:
            mutex.release()

    one = GivenEncoder(encode, 16)
    made = [
        ANTS.from_features(
            ["cat", "dog"], unit_rows(2, 1), negative_features=unit_rows(9, 2), text_encoder=one, backend=mllm,
            mining={"gamma": 1.0}, dispatch={"mode": "live", "runs": None}, text={"feature_cache": None},
            vsnl={"min_classes": 2},
        )
        for _ in range(3)
    ]  # fmt: skip

    async def streamed(ants: ANTS) -> None:
        async for _ in ants.stream(features=unit_rows(20, 5), batch_size=5):
            pass

    await asyncio.gather(*(streamed(ants) for ants in made))
