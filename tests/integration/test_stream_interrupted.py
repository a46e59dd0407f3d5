"""Streams that are broken off, fail or are cancelled: what was delivered stays, and nothing is left behind."""

import asyncio
import gc
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ants_engine import ANTS, Scores
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.errors import FeatureError, ImageError, NoImagesError, QuotaError, UsageError
from ants_engine.protocol import Call
from tests.golden.stream_fixture import numbered_pictures
from tests.support.process import WAIT
from tests.support.stream_world import (
    PAPER,
    PRESETS,
    answer,
    bits,
    changed,
    cold,
    mllm,
    one_by_one,
    picture_features,
    run,
)

COUNT, BATCH = 60, 6
FEATURES, PICTURES = picture_features(COUNT, seed=5), numbered_pictures(COUNT)


@pytest.fixture(autouse=True)
async def nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Whatever a test does: no task, thread or temporary folder outlives what it made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = asyncio.all_tasks()
    yield folder
    for _ in range(50):
        gc.collect()
        # what a fixture does after its test is a task of its own
        left = [task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()]
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("ants-")]
        if not left and not threads and not list(folder.iterdir()):
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"left behind: {left}, {threads}, {list(folder.iterdir())}")


async def expected(preset: str, lag: int) -> list[tuple[Any, ...]]:
    return await run(cold(PRESETS[preset]), PICTURES, FEATURES, batch_size=BATCH, lag=lag)


async def go_on(ants: ANTS, lag: int, **options: Any) -> list[tuple[Any, ...]]:
    start = ants.state.pictures
    return await run(ants, one_by_one(PICTURES[start:]), FEATURES[start:], batch_size=BATCH, lag=lag, **options)


# ---- broken off ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [0, 3])
@pytest.mark.parametrize("preset", PRESETS)
async def test_break_and_go_on(preset: str, lag: int) -> None:
    ants, found = cold(PRESETS[preset]), []
    for stop in (1, 4, 5, 10, 11):
        start = ants.state.pictures
        pictures = one_by_one(PICTURES[start:])
        async for scores in ants.stream(pictures, features=FEATURES[start:], batch_size=BATCH, lag=lag):
            found.append(bits(scores))
            if len(found) == stop:
                break
        assert ants.state.pictures == len(found) * BATCH
    assert found == await expected(preset, lag)


async def test_a_stream_that_is_held_has_to_be_closed_before_the_next() -> None:
    ants = cold(PAPER)
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)
    async for _ in stream:
        break
    assert stream.active
    with pytest.raises(UsageError, match="aclose"):
        await anext(ants.stream(PICTURES, features=FEATURES, batch_size=BATCH))
    with pytest.raises(UsageError, match="aclose"):
        ants.reset()
    assert (ants.state.pictures, stream.state().pictures) == (BATCH, BATCH)
    await stream.aclose()
    await stream.aclose()
    assert not stream.active
    assert [scores async for scores in stream] == []
    assert stream.state() is ants.state
    assert len(await go_on(ants, 0)) == 9


async def test_leaving_the_context_closes_it() -> None:
    ants = cold(PAPER)
    async with ants.stream(PICTURES, features=FEATURES, batch_size=BATCH, lag=2) as stream:
        await anext(stream)
    assert not stream.active
    assert await go_on(ants, 2) == (await expected("paper", 2))[1:]


async def test_a_stream_that_never_began_is_nobodys_business() -> None:
    ants = cold(PAPER)
    idle = ants.stream(PICTURES, features=FEATURES)
    await idle.aclose()
    assert [scores async for scores in idle] == []
    assert idle.state() is ants.state
    pictures = one_by_one(PICTURES)
    ants.stream(pictures, features=FEATURES)
    assert len(list(pictures)) == COUNT


async def test_closing_wakes_whoever_waits_for_a_batch() -> None:
    async def never(call: Call) -> str:
        await asyncio.Event().wait()
        return ""

    ants = cold(PAPER, ScriptedBackend.from_callable(never))
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)
    waiting = [asyncio.create_task(asyncio.wait_for(anext(stream, None), WAIT)) for _ in range(2)]
    await asyncio.sleep(0.05)
    await stream.aclose()
    assert await asyncio.gather(*waiting) == [None, None]
    # at once, before its task has begun
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)
    soon = asyncio.create_task(asyncio.wait_for(anext(stream, None), WAIT))
    await asyncio.sleep(0)
    await stream.aclose()
    assert await soon is None
    assert ants.state.pictures == 0


async def test_two_who_share_a_stream_get_every_batch_once() -> None:
    ants = cold(PAPER)
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)
    taken: list[Scores] = []

    async def take() -> None:
        async for scores in stream:
            taken.append(scores)
            await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(take(), take(), take()), 10)
    assert [scores.adaptation.batch for scores in taken if scores.adaptation] == list(range(1, 11))


# ---- cancelled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [0, 3])
@pytest.mark.parametrize("preset", PRESETS)
async def test_a_consumer_that_gives_up_and_comes_back_misses_nothing(preset: str, lag: int) -> None:
    async def slow(call: Call) -> str:
        await asyncio.sleep(0.01)
        return answer(call)

    ants = cold(PRESETS[preset], ScriptedBackend.from_callable(slow))
    stream = ants.stream(one_by_one(PICTURES), features=FEATURES, batch_size=BATCH, lag=lag)
    found, given_up = [], 0
    while True:
        try:
            found.append(bits(await asyncio.wait_for(anext(stream), 0.004)))
        except TimeoutError:
            given_up += 1
        except StopAsyncIteration:
            break
    assert given_up > 0
    assert found == await expected(preset, lag)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("preset", PRESETS)
async def test_a_cancelled_consumer_leaves_the_last_delivered_batch(preset: str, seed: int) -> None:
    pause = np.random.default_rng(seed)

    async def slow(call: Call) -> str:
        await asyncio.sleep(float(pause.uniform(0, 0.004)))
        return answer(call)

    whole = await expected(preset, 2)
    ants, found = cold(PRESETS[preset], ScriptedBackend.from_callable(slow)), []

    async def consume() -> None:
        start = ants.state.pictures
        pictures = one_by_one(PICTURES[start:])
        async with ants.stream(pictures, features=FEATURES[start:], batch_size=BATCH, lag=2) as stream:
            async for scores in stream:
                found.append(bits(scores))

    for _ in range(3):
        task = asyncio.create_task(consume())
        await asyncio.sleep(float(pause.uniform(0, 0.03)))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert ants.state.pictures == len(found) * BATCH
    await consume()
    assert found == whole


async def read_inline(ants: ANTS) -> None:
    async for _ in ants.stream(PICTURES, features=FEATURES, batch_size=BATCH):
        pass


async def read_held(ants: ANTS) -> None:
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)
    async for _ in stream:
        pass


async def read_with_patience(ants: ANTS) -> None:
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)
    while True:
        await asyncio.wait_for(anext(stream), 60)


async def fail_beside(ants: ANTS) -> None:
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH, lag=3)
    async for scores in stream:
        raise OwnError(str(scores.threshold))


async def silent(call: Call) -> str:
    await asyncio.Event().wait()
    return ""


def at_work() -> set[str]:
    """What runs behind a stream: its tasks, by their coroutines, and threads."""
    tasks = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
    return tasks | {thread.name for thread in threading.enumerate() if thread.name.startswith("ants-")}


@pytest.mark.parametrize("read", [read_inline, read_held, read_with_patience, fail_beside])
async def test_a_stream_ends_with_the_task_that_read_it(read: Callable[[ANTS], Coroutine[Any, Any, None]]) -> None:
    ants = cold(changed(PAPER, dispatch={"grace": 0.1, "runs": None}), ScriptedBackend.from_callable(silent))
    before = at_work()
    task = asyncio.create_task(read(ants))
    if read is not fail_beside:
        while not any(name.startswith("Asker._") for name in at_work()):
            await asyncio.sleep(0.001)
        assert {"_run_behind", "ants-learning_0"} <= at_work()
        task.cancel()
    await asyncio.wait([task])
    # the task is kept, and its traceback with it
    kept = task if task.cancelled() else (task, task.exception())
    async with asyncio.timeout(WAIT):
        while at_work() - before:
            await asyncio.sleep(0.005)
    ants.reset()
    assert kept is not None


async def test_a_stream_that_lost_its_reader_says_so() -> None:
    ants = cold(changed(PAPER, dispatch={"grace": 0.1, "runs": None}), ScriptedBackend.from_callable(silent))
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)

    async def read() -> None:
        await anext(stream)

    first = asyncio.create_task(read())
    second = asyncio.create_task(read())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert stream.active, "another task still reads it"
    second.cancel()
    await asyncio.wait([second])
    assert not stream.active
    with pytest.raises(UsageError, match="ended with the task that read it"):
        await anext(stream)
    await stream.aclose()


async def test_a_task_that_ends_well_leaves_the_stream_to_the_next() -> None:
    ants = cold(PAPER)
    stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH)

    async def read() -> tuple[Any, ...]:
        return bits(await anext(stream))

    found = [await asyncio.create_task(read()) for _ in range(COUNT // BATCH)]
    assert found == await expected("paper", 0)


def test_another_loop_can_go_on() -> None:
    ants = cold(PAPER)

    async def begin() -> list[tuple[Any, ...]]:
        stream = ants.stream(PICTURES, features=FEATURES, batch_size=BATCH, lag=1)
        found = [bits(await anext(stream)) for _ in range(3)]
        held.append(stream)
        return found

    held: list[Any] = []
    found = asyncio.run(begin())
    # the first loop has taken the stream's task with it
    asyncio.run(held[0].aclose())
    found += asyncio.run(go_on(ants, 1))
    assert found == asyncio.run(expected("paper", 1))


# ---- errors ----------------------------------------------------------------------------------------------------------


class OwnError(Exception):
    """Not ours."""


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
async def test_an_error_of_the_users_iterator_is_raised_and_the_rest_can_be_given(
    preset: str, asynchronous: bool
) -> None:
    def breaks() -> Iterator[Any]:
        yield from one_by_one(PICTURES[:20])
        raise OwnError("camera unplugged")

    async def breaks_later() -> AsyncIterator[Any]:
        for picture in breaks():
            yield picture

    ants, found = cold(PRESETS[preset]), []
    stream = ants.stream(breaks_later() if asynchronous else breaks(), features=FEATURES, batch_size=BATCH, lag=1)
    with pytest.raises(OwnError, match="camera"):
        async for scores in stream:
            found.append(bits(scores))
    assert not stream.active
    assert [scores async for scores in stream] == []
    assert (len(found), ants.state.pictures, stream.state().pictures) == (3, 18, 18)
    assert found + await go_on(ants, 1) == await expected(preset, 1)


async def test_an_iterator_that_is_cancelled_is_an_error_and_no_end() -> None:
    async def cancelled() -> AsyncIterator[Any]:
        for picture in PICTURES[:BATCH]:
            yield picture
        raise asyncio.CancelledError

    found = []
    with pytest.raises(RuntimeError, match="was cancelled"):
        async for scores in cold(PAPER).stream(cancelled(), features=FEATURES, batch_size=BATCH):
            found.append(scores)
    assert len(found) == 1


async def test_an_error_that_is_no_exception_is_passed_on() -> None:
    class Unusual(BaseException):
        pass

    async def breaks() -> AsyncIterator[Any]:
        yield PICTURES[0]
        raise Unusual

    with pytest.raises(Unusual):
        await asyncio.wait_for(run(cold(PAPER), breaks(), FEATURES, batch_size=BATCH), 10)


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("preset", PRESETS)
async def test_a_spent_quota_ends_the_stream_and_a_mended_mllm_goes_on(preset: str, lag: int) -> None:
    answered = 0

    def breaks_down(call: Call) -> str:
        nonlocal answered
        answered += 1
        if answered > 7:
            raise QuotaError("spent")
        return answer(call)

    ants, found = cold(PRESETS[preset], ScriptedBackend.from_callable(breaks_down)), []
    with pytest.raises(QuotaError, match="spent"):
        async for scores in ants.stream(one_by_one(PICTURES), features=FEATURES, batch_size=BATCH, lag=lag):
            found.append(bits(scores))
    assert ants.state.pictures == len(found) * BATCH < COUNT
    # not mended yet: no batch more, and nothing is lost
    with pytest.raises(QuotaError):
        await go_on(ants, lag)
    assert ants.state.pictures == len(found) * BATCH
    assert found + await go_on(ants, lag, backend=mllm()) == await expected(preset, lag)


async def test_a_replay_without_the_answer_ends_the_stream(tmp_path: Path) -> None:
    from ants_engine.errors import ReplayMissError

    recording = changed(PAPER, dispatch={"mode": "record", "store": str(tmp_path / "s")}, mllm={"backend": "scripted"})
    await run(cold(recording), PICTURES[:24], FEATURES[:24], batch_size=BATCH)
    ants = cold(changed(recording, dispatch={"mode": "replay"}))
    with pytest.raises(ReplayMissError):
        await run(ants, PICTURES, FEATURES, batch_size=BATCH)
    assert ants.state.pictures == 24


async def test_reset_forgets_every_picture() -> None:
    ants = cold(PAPER)
    first = await go_on(ants, 1)
    ants.reset()
    assert (ants.state.pictures, len(ants.detector.ens), ants.weight) == (0, 0, 0.5)
    assert await go_on(ants, 1) == first


# ---- what is given ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["iterator", "async", "features", "generator with features"])
async def test_an_iterator_that_ends_at_once_gives_no_batch(kind: str) -> None:
    async def none() -> AsyncIterator[Any]:
        return
        yield

    nothing = np.zeros((0, FEATURES.shape[1]), np.float32)
    ants = cold(PAPER)
    before = ants.state
    images = {"iterator": iter(()), "async": none(), "features": None, "generator with features": iter(())}[kind]
    stream = ants.stream(images, features=None if kind in {"iterator", "async"} else nothing)
    assert [scores async for scores in stream] == []
    assert ants.state is before


@pytest.mark.parametrize(
    ("features", "said", "batches"),
    [
        (FEATURES[:, :5], r"\(60, 5\); this detector's CLIP gives \(N, 12\)", 0),
        (FEATURES[0], "one row per picture", 0),
        (np.where(np.arange(COUNT)[:, None] == 33, np.nan, FEATURES), r"first rows: \[33\]", 0),
        (FEATURES.astype(int), "int64", 0),
        (FEATURES[:50], "50 rows of features for 51 or more pictures", 9),
        (np.concatenate([FEATURES, FEATURES[:3]]), "63 rows of features for 60 pictures", 10),
    ],
)
async def test_features_that_do_not_fit_are_named(features: Any, said: str, batches: int) -> None:
    ants = cold(PAPER)
    found = []
    with pytest.raises(FeatureError, match=said):
        async for scores in ants.stream(one_by_one(PICTURES), features=features, batch_size=BATCH):
            found.append(scores)
    assert len(found) == batches
    assert ants.state.pictures == sum(map(len, found))


async def test_batches_of_one_picture() -> None:
    ants = cold(PAPER)
    found = [scores async for scores in ants.stream(one_by_one(PICTURES), features=FEATURES, batch_size=1, lag=1)]
    assert [len(scores) for scores in found] == [1] * COUNT
    assert ants.state.batch == COUNT
    assert len(ants.detector.ens) > 5


async def test_an_endless_camera_is_consumed_as_far_as_wanted(nothing_left_behind: Path) -> None:
    taken = 0

    async def camera() -> AsyncIterator[Any]:
        nonlocal taken
        while True:
            taken += 1
            yield np.array(PICTURES[taken % COUNT])

    features = np.concatenate([FEATURES] * 40)
    ants = cold(changed(PAPER, stream={"history": 20}))
    most = 0
    async with ants.stream(camera(), features=features, batch_size=BATCH, lag=1) as stream:
        for batch in range(1, 31):
            scores = await anext(stream)
            assert scores.adaptation is not None
            assert scores.adaptation.pictures == batch * BATCH
            most = max(most, len(list(nothing_left_behind.glob("*/*.png"))))
    assert most <= 20 + 5 * BATCH
    assert taken <= 34 * BATCH, "it is not run ahead of by more than a few batches"


# ---- unreadable pictures, with a CLIP --------------------------------------------------------------------------------


@pytest.fixture
async def real(encoder: ClipEncoder, settings: dict[str, Any]) -> AsyncIterator[ANTS]:
    """A cold start with the embedded CLIP."""
    from tests.integration.conftest import CLASSES, describe

    backend = ScriptedBackend.from_callable(describe)
    ants = await ANTS.build(CLASSES, encoder=encoder, backend=backend, **settings)
    yield ants
    # pytest holds it until after the last check, and with it the pictures that it keeps
    ants._spool.close()


def column(batches: list[Scores], name: str) -> Any:
    return np.concatenate([getattr(scores, name) for scores in batches])


async def test_unreadable_pictures_keep_their_row(real: ANTS, images: list[Any], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    bad = tmp_path / "bad.png"
    mixed = [*images[:3], bad, *images[3:10], *[bad] * 9, *images[10:15], bad]
    broken = [3, *range(11, 20), 25]
    stream = real.stream((item for item in mixed), batch_size=4)
    batches = [scores async for scores in stream]
    assert [len(scores) for scores in batches] == [4] * 6 + [2]
    assert np.flatnonzero(np.isnan(column(batches, "id_score"))).tolist() == broken
    assert np.flatnonzero(column(batches, "predicted") == -1).tolist() == broken
    assert np.flatnonzero(column(batches, "is_unreadable")).tolist() == broken
    assert not column(batches, "is_outlier")[broken].any()
    assert list(batches[0].failures) == [3]
    # a whole batch of them
    assert list(batches[3].failures) == [0, 1, 2, 3]
    assert all(isinstance(error, ImageError) for error in batches[3].failures.values())
    assert batches[3].names == [str(bad)] * 4
    assert real.state.pictures == len(mixed)
    assert (real.state.looked, stream.report.pictures) == (15, 15)
    assert sum(item.what == "picture" for item in stream.report.set_aside) == len(broken)
    # the pictures that can be read are scored as if they were alone in their batches
    assert batches[1].names == [f"PIL.Image #{number}" for number in range(4, 8)]
    assert not np.isnan(column(batches, "neglabel_score")[[0, 1, 2, 4]]).any()


async def test_nothing_but_unreadable_pictures(real: ANTS, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    batches = [scores async for scores in real.stream([tmp_path / "bad.png"] * 5, batch_size=2)]
    assert [len(scores) for scores in batches] == [2, 2, 1]
    assert np.isnan(column(batches, "id_score")).all()
    assert (real.state.pictures, real.state.looked, len(real.detector.vsnl)) == (5, 0, 0)


async def test_the_first_unreadable_picture_may_end_the_stream(
    encoder: ClipEncoder, settings: dict[str, Any], images: list[Any], tmp_path: Path
) -> None:
    from tests.integration.conftest import CLASSES, describe

    (tmp_path / "bad.png").write_bytes(b"no picture")
    strict = changed(settings, pictures={"on_error": "raise"})
    backend = ScriptedBackend.from_callable(describe)
    ants = await ANTS.build(CLASSES, encoder=encoder, backend=backend, **strict)
    found = []
    with pytest.raises(ImageError, match=r"bad\.png"):
        async for scores in ants.stream([*images[:6], tmp_path / "bad.png", *images], batch_size=4):
            found.append(scores)
    assert (len(found), ants.state.pictures) == (1, 4)
    with pytest.raises(NoImagesError, match="no picture"):
        ants.stream(f"{tmp_path}/*.jpg")


async def test_pictures_and_their_features_give_the_same_stream(real: ANTS, images: list[Any]) -> None:
    features = await real.encode(images)
    one = [scores async for scores in real.stream(images, batch_size=8)]
    ens, vsnl = real.detector.ens.texts, real.detector.vsnl.texts
    assert len(ens) > 3
    assert len(vsnl) > 3
    real.reset()
    other = [scores async for scores in real.stream((image for image in images), features=features, batch_size=8)]
    assert (real.detector.ens.texts, real.detector.vsnl.texts) == (ens, vsnl)
    np.testing.assert_allclose(column(one, "id_score"), column(other, "id_score"), atol=1e-5)


async def test_a_picture_that_cannot_be_shown_is_still_scored(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    mixed: list[Any] = [b"no picture" if number % 2 else picture for number, picture in enumerate(PICTURES)]
    ants = cold(PAPER)
    stream = ants.stream(iter(mixed), features=FEATURES, batch_size=BATCH)
    batches = [scores async for scores in stream]
    assert not np.isnan(column(batches, "id_score")).any()
    assert len(ants.detector.ens) >= 3
    assert all(int(source.rpartition("#")[2]) % 2 == 0 for source in ants.detector.ens.sources)
    assert {item.what for item in stream.report.set_aside} == {"picture"}
