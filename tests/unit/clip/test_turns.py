"""One encode at a time per encoder: in order, whoever shares it, and whoever gives up waiting."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.encoding import FifoLock, encoder_lock
from ants_engine.clip.worker import ClipWorker
from tests.support.features import image_features, worker_features


def waiting(turn: FifoLock) -> int:
    return len(turn._waiting)


def until(condition: Callable[[], bool]) -> None:
    passed = threading.Event()
    for _ in range(3000):
        if condition():
            return
        passed.wait(0.01)
    pytest.fail("it did not come")


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    turn, order = FifoLock(), []

    def work(number: int) -> None:
        with turn:
            order.append(number)

    threads = []
    with turn:
        for number in range(5):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            until(lambda count=number + 1: waiting(turn) == count)  # type: ignore[misc]
        assert order == []
    for thread in threads:
        thread.join(30)
    assert order == [0, 1, 2, 3, 4]


def test_who_has_the_turn_may_take_it_again_and_offer_it() -> None:
    turn, order = FifoLock(), []

    def other() -> None:
        with turn:
            order.append("other")

    thread = threading.Thread(target=other)
    with turn, turn:
        turn.yield_to_waiters()
        thread.start()
        until(lambda: waiting(turn) == 1)
        order.append("before")
        turn.yield_to_waiters()
        order.append("after")
    thread.join(30)
    assert order == ["before", "other", "after"]
    with turn:
        pass


def test_who_is_interrupted_while_waiting_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = FifoLock()

    def interrupted(self: threading.Condition, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with turn:
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Condition, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt), turn:
            pass
    assert waiting(turn) == 0
    release.set()
    thread.join(30)
    with turn:
        pass


def test_an_object_has_one_turn_and_another_object_another() -> None:
    class Slotted:
        __slots__ = ("__hash__",)

    class Equal:
        __hash__ = None

        def __eq__(self, other: object) -> bool:
            return True

    for made in (Slotted, Equal):
        one, other = made(), made()
        assert encoder_lock(one) is encoder_lock(one)
        assert encoder_lock(one) is not encoder_lock(other)


class Watched:
    """An encoder of the user's: not told of turns, and slow enough to be caught at it."""

    def __init__(self, inner: ClipEncoder) -> None:
        self._inner = inner
        self._now = 0
        self._mutex = threading.Lock()
        self.most = 0
        self.calls = 0
        self.threads: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _watched(self, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        with self._mutex:
            self._now += 1
            self.calls += 1
            self.most = max(self.most, self._now)
            self.threads.add(threading.current_thread().name)
        try:
            return work()
        finally:
            with self._mutex:
                self._now -= 1

    def encode_inputs(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return self._watched(lambda: self._inner.encode_inputs(inputs))

    def encode_texts(self, texts: Sequence[str], on_progress: Any = None) -> torch.Tensor:
        return self._watched(lambda: self._inner.encode_texts(texts, on_progress))


async def test_workers_that_share_an_encoder_encode_one_at_a_time(encoder: ClipEncoder) -> None:
    watched = Watched(encoder)
    pictures = [Image.new("RGB", (40, 30), (9 * n, 99, 199)) for n in range(20)]
    async with ClipWorker(watched) as one, ClipWorker(watched) as other:
        jobs = [worker_features(worker, pictures) for worker in (one, other) for _ in range(5)]
        jobs += [worker.encode_texts([f"a {n}", "a dog"]) for worker in (one, other) for n in range(5)]
        await asyncio.gather(*jobs)
    assert (watched.calls, watched.most) == (20, 1)
    assert all(name.startswith("ants-clip") for name in watched.threads), "and not on the event loop"


@pytest.mark.parametrize("kind", ["pictures", "texts"])
async def test_who_is_cancelled_while_waiting_encodes_nothing_and_holds_up_nobody(
    kind: str, encoder: ClipEncoder
) -> None:
    watched = Watched(encoder)
    turn = encoder_lock(watched)
    async with ClipWorker(watched) as worker:
        with turn:
            job = (
                worker_features(worker, [Image.new("RGB", (9, 9))])
                if kind == "pictures"
                else worker.encode_texts(["a"])
            )
            task = asyncio.create_task(job)
            while not waiting(turn):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await worker.encode_texts(["a dog"])).shape == (1, encoder.dim)
    assert watched.calls == 1


async def test_a_long_list_of_texts_lets_others_take_turns(encoder: ClipEncoder) -> None:
    order: list[str] = []

    def progress(done: int) -> None:
        order.append("texts")
        if done == 3:
            # the other one waits from now on, and goes between two batches
            thread.start()
            until(lambda: waiting(encoder_lock(encoder)) == 1)

    def other() -> None:
        with encoder_lock(encoder):
            order.append("picture")
            image_features(encoder, [Image.new("RGB", (9, 9))])

    thread = threading.Thread(target=other)
    await asyncio.to_thread(encoder.encode_texts, [f"a {n}" for n in range(9)], progress)
    thread.join(30)
    assert order == ["texts", "picture", "texts", "texts"]
