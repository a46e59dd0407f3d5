"""Encoding beside the event loop: order, bounds, failures, cancellation, and threads that end."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.feature_store import TextFeatureCache
from ants_engine.clip.image_ref import Spool
from ants_engine.clip.sources import open_images
from ants_engine.clip.worker import Batch, ClipWorker
from ants_engine.errors import ImageNotFoundError, ImageUnreadableError, NoImagesError
from ants_engine.settings.config import ImageSettings
from tests.support.features import image_features, worker_features

LIMITS = ImageSettings()


def picture(seed: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


async def batches(worker: ClipWorker, images: Any, size: int = 4, limits: ImageSettings = LIMITS) -> list[Batch]:
    return [batch async for batch in worker.image_batches(open_images(images), size, limits)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def worker(encoder: ClipEncoder) -> AsyncIterator[ClipWorker]:
    before = set(threading.enumerate())
    async with ClipWorker(encoder) as worker:
        yield worker
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("ants-")]
    assert not left


async def test_features_are_the_encoders(worker: ClipWorker, encoder: ClipEncoder) -> None:
    images = [picture(i) for i in range(10)]
    found = await batches(worker, images)
    assert [len(batch.refs) for batch in found] == [4, 4, 2]
    assert [ref.index for batch in found for ref in batch.refs] == list(range(10))
    assert torch.equal(torch.cat([batch.features for batch in found]), image_features(encoder, images))
    assert torch.equal(await worker_features(worker, images), image_features(encoder, images))
    texts = ["a dog", "a cat", "a dog"]
    assert torch.equal(await worker.encode_texts(texts), encoder.encode_texts(texts))


@pytest.mark.parametrize("threads", [1, 2, 5])
async def test_a_picture_set_aside_moves_no_other(threads: int, worker: ClipWorker, tmp_path: Path) -> None:
    items: list[Any] = [picture(i) for i in range(10)]
    items[1], items[6], items[9] = tmp_path / "no.png", b"no picture", np.zeros((2, 2), np.float32)
    found = await batches(worker, items, limits=ImageSettings(decode_threads=threads))
    assert [[ref.index for ref in batch.refs] for batch in found] == [[0, 2, 3], [4, 5, 7], [8]]
    failed = [[(ref.index, type(error)) for ref, error in batch.failures] for batch in found]
    assert failed == [[(1, ImageNotFoundError)], [(6, ImageUnreadableError)], [(9, ImageUnreadableError)]]
    assert all(len(batch.features) == len(batch.images) == len(batch.refs) for batch in found)
    assert torch.equal(found[1].features, await worker_features(worker, [items[4], items[5], items[7]]))


async def test_a_batch_of_which_nothing_is_left(worker: ClipWorker) -> None:
    first, second = await batches(worker, [b"x", b"y", picture(1)], 2)
    assert first.features.shape == (0, 24)
    assert len(first.failures) == 2
    assert len(second.refs) == 1


async def test_the_first_bad_picture_can_end_the_run(worker: ClipWorker) -> None:
    items = [picture(0), b"first", picture(1), b"second"]
    for _ in range(3):
        with pytest.raises(ImageUnreadableError, match="bytes #1"):
            await batches(worker, items, limits=ImageSettings(on_error="raise", decode_threads=4))


async def test_no_pictures(worker: ClipWorker) -> None:
    with pytest.raises(NoImagesError):
        await batches(worker, iter([]))


async def test_pictures_of_an_iterator_can_be_spooled_and_are_then_gone(worker: ClipWorker, tmp_path: Path) -> None:
    alive: list[weakref.ref[Any]] = []

    def pictures() -> Iterator[Image.Image]:
        for i in range(8):
            image = picture(i, (60, 40))
            alive.append(weakref.ref(image))
            yield image

    kept = []
    with closing(Spool(tmp_path)) as spool:
        stream = worker.image_batches(open_images(pictures()), 2, LIMITS, keep_side=30)
        async for batch in stream:
            for ref, image in zip(batch.refs, batch.images, strict=True):
                assert image is not None
                assert image.size == (30, 20)
                if ref.index % 3 == 0:
                    kept.append(spool.put(ref, image, 30))
                with pytest.raises(ImageUnreadableError, match="let go"):
                    ref.load(LIMITS)
        assert [ref.index for ref in kept] == [0, 3, 6]
        assert all(ref.load(LIMITS).size == (30, 20) for ref in kept)
    gc.collect()
    assert not any(one() for one in alive)


async def test_pictures_that_can_be_read_again_are_not_kept(worker: ClipWorker) -> None:
    (batch,) = await batches(worker, [picture(0)])
    assert batch.images == (None,)


async def test_no_more_than_two_batches_are_pulled_ahead(worker: ClipWorker) -> None:
    pulled = 0

    def pictures() -> Iterator[Image.Image]:
        nonlocal pulled
        for i in range(1000):
            pulled = i + 1
            yield picture(i)

    stream = worker.image_batches(open_images(pictures()), 3, LIMITS)
    async for batch in stream:
        handed_out = batch.refs[-1].index + 1
        await asyncio.sleep(0.03)
        assert pulled <= handed_out + 6
        if handed_out >= 12:
            break
    assert pulled >= 12


async def test_decoding_goes_on_while_the_model_runs(
    worker: ClipWorker, encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled: list[int] = []
    seen_while_encoding: list[int] = []
    real = encoder.encode_inputs

    def slow(inputs: Any) -> torch.Tensor:
        for _ in range(1000):
            if len(pulled) >= 8:
                break
            threading.Event().wait(0.005)
        seen_while_encoding.append(len(pulled))
        return real(inputs)

    async def pictures() -> AsyncIterator[Image.Image]:
        for i in range(8):
            pulled.append(i)
            yield picture(i)

    monkeypatch.setattr(encoder, "encode_inputs", slow)
    assert len(await batches(worker, pictures())) == 2
    assert seen_while_encoding[0] == 8


async def test_one_thing_is_encoded_at_a_time_and_the_loop_is_free(
    worker: ClipWorker, encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = most = 0
    real = encoder.encode_texts

    def watched(*arguments: Any) -> torch.Tensor:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        assert threading.current_thread() is not threading.main_thread()
        threading.Event().wait(0.01)
        at_once -= 1
        return real(*arguments)

    monkeypatch.setattr(encoder, "encode_texts", watched)
    await asyncio.gather(*(worker.encode_texts(["a dog"]) for _ in range(5)))
    assert most == 1


async def test_progress_arrives_on_the_loop(worker: ClipWorker) -> None:
    done: list[tuple[int, bool]] = []
    await worker.encode_texts(
        [f"a dog {i}" for i in range(7)],
        lambda count: done.append((count, threading.current_thread() is threading.main_thread())),
    )
    await asyncio.sleep(0)
    assert done == [(3, True), (6, True), (7, True)]


async def test_cancelling_a_long_list_of_texts_frees_the_thread(
    worker: ClipWorker, encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = 0
    real = encoder._encode_tokens

    def slow(tokens: torch.Tensor) -> torch.Tensor:
        nonlocal encoded
        encoded += 1
        threading.Event().wait(0.01)
        return real(tokens)

    monkeypatch.setattr(encoder, "_encode_tokens", slow)
    task = asyncio.create_task(worker.encode_texts([f"dog {i} " * 2 for i in range(3000)]))
    await until(lambda: encoded >= 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(worker.encode_texts(["a cat"]), 5)
    assert encoded < 500


async def test_cancelling_a_stream_leaves_no_thread(encoder: ClipEncoder) -> None:
    before = set(threading.enumerate())
    waiting = asyncio.Event()

    async def pictures() -> AsyncIterator[Image.Image]:
        for i in range(5):
            yield picture(i)
        waiting.set()
        await asyncio.sleep(60)

    async def run() -> None:
        async with ClipWorker(encoder) as worker:
            await batches(worker, pictures())

    task = asyncio.create_task(run())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(threading.enumerate()) <= before


async def test_closing_ends_a_stream_that_was_left(encoder: ClipEncoder) -> None:
    before = set(threading.enumerate())
    worker = ClipWorker(encoder)
    stream = worker.image_batches(open_images([picture(i) for i in range(50)]), 4, LIMITS)
    await anext(aiter(stream))
    await worker.aclose()
    await worker.aclose()
    assert set(threading.enumerate()) <= before


async def test_an_error_of_the_users_iterator_arrives_as_it_is(worker: ClipWorker) -> None:
    def pictures() -> Iterator[Image.Image]:
        yield from (picture(i) for i in range(5))
        raise ZeroDivisionError("theirs")

    seen = []
    with pytest.raises(ZeroDivisionError, match="theirs"):
        async for batch in worker.image_batches(open_images(pictures()), 4, LIMITS):
            seen.append(len(batch.refs))
    assert seen == [4]


async def test_two_streams_at_once(worker: ClipWorker) -> None:
    first, second = [picture(i) for i in range(9)], [picture(100 + i) for i in range(7)]
    found = await asyncio.gather(batches(worker, first), batches(worker, second))
    for images, parts in zip((first, second), found, strict=True):
        assert torch.equal(torch.cat([part.features for part in parts]), image_features(worker.encoder, images))


async def test_cached_texts(
    worker: ClipWorker, encoder: ClipEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, texts = TextFeatureCache(tmp_path / "cache"), ["a dog", "a cat"]
    first = await worker.encode_texts(texts, cache=cache)
    calls = []
    real = encoder.encode_texts

    def watched(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(encoder, "encode_texts", watched)
    assert torch.equal(await worker.encode_texts(texts, cache=cache), first)
    assert not calls
    await worker.encode_texts(texts[::-1], cache=cache)
    assert calls
