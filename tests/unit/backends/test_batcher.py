import asyncio

import pytest

from ants_engine.backends.huggingface import CallBatcher
from ants_engine.errors import BadRequestError, UsageError
from ants_engine.protocol import Answer
from tests.support.pictures import call, picture


class Recorder:
    """Answers each prompt with itself, batch by batch, when let."""

    def __init__(self):
        self.batches = []
        self.events = []
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, calls, abandoned):
        self.batches.append([one.prompt for one in calls])
        self.events.append(abandoned)
        self.started.set()
        await self.gate.wait()
        return [BadRequestError("no") if one.prompt == "bad" else Answer(text=one.prompt) for one in calls]


async def test_calls_that_start_together_share_batches_in_order():
    recorder = Recorder()
    batcher = CallBatcher(recorder, 3)
    answers = await asyncio.gather(*(batcher.submit(call(str(i))) for i in range(7)))
    assert [answer.text for answer in answers] == [str(i) for i in range(7)]
    assert recorder.batches == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


async def test_kinds_are_kept_apart_and_the_oldest_goes_first():
    recorder = Recorder()
    batcher = CallBatcher(recorder, 4)
    shown = picture()
    asked = [call("a"), call("b", shown), call("c"), call("d", tokens=9), call("e", shown), call("f")]
    await asyncio.gather(*(batcher.submit(one) for one in asked))
    assert recorder.batches == [["a", "c", "f"], ["b", "e"], ["d"]]


async def test_what_arrives_meanwhile_is_the_next_batch():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = CallBatcher(recorder, 8)
    first = asyncio.create_task(batcher.submit(call("a")))
    await recorder.started.wait()
    later = [asyncio.create_task(batcher.submit(call(text))) for text in "bcd"]
    await asyncio.sleep(0)
    recorder.gate.set()
    await asyncio.gather(first, *later)
    assert recorder.batches == [["a"], ["b", "c", "d"]]


async def test_one_failure_is_one_callers():
    batcher = CallBatcher(Recorder(), 8)
    good, bad = await asyncio.gather(batcher.submit(call("good")), batcher.submit(call("bad")), return_exceptions=True)
    assert good == Answer(text="good")
    assert isinstance(bad, BadRequestError)


async def test_a_failing_batch_fails_its_callers_and_no_others():
    async def fail_once(calls, _):
        if calls[0].prompt == "a":
            raise ValueError("broken")
        return [Answer(text=one.prompt) for one in calls]

    batcher = CallBatcher(fail_once, 2)
    outcomes = await asyncio.gather(*(batcher.submit(call(text)) for text in "abc"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError, Answer]


async def test_a_cancelled_caller_leaves_the_others_alone():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = CallBatcher(recorder, 2)
    tasks = [asyncio.create_task(batcher.submit(call(text))) for text in "abc"]
    await recorder.started.wait()
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.sleep(0)
    assert not recorder.events[0].is_set()
    recorder.gate.set()
    assert await tasks[1] == Answer(text="b")
    await asyncio.gather(*tasks, return_exceptions=True)
    assert recorder.batches == [["a", "b"]]


async def test_an_abandoned_batch_is_told_so():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = CallBatcher(recorder, 2)
    tasks = [asyncio.create_task(batcher.submit(call(text))) for text in "ab"]
    await recorder.started.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    assert recorder.events[0].is_set()
    recorder.gate.set()
    assert await batcher.submit(call("c")) == Answer(text="c")


async def test_closing_fails_what_waits_and_stops_what_runs():
    recorder = Recorder()
    recorder.gate.clear()
    batcher = CallBatcher(recorder, 1)
    tasks = [asyncio.create_task(batcher.submit(call(text))) for text in "ab"]
    await recorder.started.wait()
    await batcher.aclose()
    await batcher.aclose()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UsageError, UsageError]
    assert recorder.events[0].is_set()


def test_nothing_is_left_running_when_the_loop_ends():
    async def main():
        recorder = Recorder()
        recorder.gate.clear()
        task = asyncio.create_task(CallBatcher(recorder, 1).submit(call("a")))
        await recorder.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
