"""Mode replay: strict, without a model, and helpful when something was never recorded."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ants_engine import errors
from ants_engine.dispatch import coordinator as coordinator_module
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.replay import recorded_identity
from ants_engine.dispatch.request import RecordedIdentity, Request
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.protocol import Answer, Call, Capabilities, Decoding
from ants_engine.settings.config import DispatchSettings, MLLMSettings, Settings
from tests.unit.dispatch.fakes import IDENTITY, FakeBackend, make_request, make_settings, no_sleep


class Untouchable:
    """A backend that replay must not touch."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)


def replaying(folder: Path) -> Settings:
    return make_settings(folder, mode="replay")


async def record(folder: Path, backend: FakeBackend, *requests: Request) -> list[Any]:
    async with Coordinator(make_settings(folder, attempts=2), backend=backend, sleep=no_sleep) as opened:
        return [await opened.submit(request) for request in requests]


@pytest.fixture(autouse=True)
def no_backend_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: object) -> None:
        raise AssertionError("replay made a backend")

    monkeypatch.setattr(coordinator_module, "create_backend", forbidden)


async def test_a_run_is_repeated_with_its_failures_and_its_model(folder: Path) -> None:
    def act(call: Call) -> Answer:
        if call.prompt == "1":
            raise errors.BackendUnavailableError("down")
        if call.prompt == "2":
            return Answer("cut", "length")
        return Answer(call.prompt * 3)

    backend = FakeBackend(act, Capabilities(pictures=False, max_concurrency=3))
    requests = [make_request(f"{number}") for number in range(5)]
    recorded = await record(folder, backend, *requests)
    calls = len(backend.calls)
    async with Coordinator(replaying(folder), backend=FakeBackend()) as opened:
        assert opened.identity == IDENTITY
        assert not opened.capabilities.pictures
        assert opened.slots >= 1
        replayed = await asyncio.gather(*(opened.submit(request) for request in requests))
    assert len(backend.calls) == calls
    assert [outcome.answer for outcome in replayed] == [outcome.answer for outcome in recorded]
    for one, other in zip(replayed, recorded, strict=True):
        assert type(one.error) is type(other.error)
        assert str(one.error) == str(other.error)
    assert {outcome.source for outcome in replayed} == {"store"}


async def test_a_given_backend_is_not_touched(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        await store.put_identity(RecordedIdentity("Untouchable", "", IDENTITY))
        await store.put(make_request(), Answer("x"))
    async with Coordinator(replaying(folder), backend=Untouchable()) as opened:  # type: ignore[arg-type]
        assert (await opened.submit(make_request())).answer == Answer("x")


async def miss(folder: Path, request: Request) -> str:
    async with Coordinator(replaying(folder), backend=FakeBackend()) as opened:
        outcome = await opened.submit(request)
    assert isinstance(outcome.error, errors.ReplayMissError)
    return str(outcome.error)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"template_sha256": "00" * 32},
            "in which template vsnl/v1 differs: sha256 efefefefefef…, now 000000000000…. Run",
        ),
        ({"template": "vsnl/v2"}, 'in which the template differs: "vsnl/v1", now "vsnl/v2". Run'),
        (
            {"prompt": "Name 5 different things that look like a wolf."},
            'in which the prompt differs: "things that look like a dog.", now "things that look like a wolf.". Run',
        ),
        (
            {"picture_sha256": "12" * 32},
            "in which the picture differs: no picture, now 121212121212…, which was never shown to the MLLM. Run",
        ),
        (
            {"identity": IDENTITY | {"weights_sha256": "00" * 32, "new": 1}},
            "in which the model identity differs in new: absent, now 1; the model identity differs in "
            'weights_sha256: "cdcdcdcdcdcdcdcdcdcdcdc…, now "00000000000000000000000…. Run',
        ),
        ({"decoding": Decoding(99)}, "in which the decoding differs in max_new_tokens: 16, now 99. Run"),
        ({"task": "ens"}, 'in which the task differs: "vsnl", now "ens". Run'),
    ],
)
async def test_a_miss_names_the_nearest_request_and_what_differs(
    folder: Path, changes: dict[str, Any], complaint: str
) -> None:
    base: dict[str, Any] = {"prompt": "Name 5 different things that look like a dog."}
    far: dict[str, Any] = {"template": "vsnl/v7", "decoding": Decoding(1), "identity": {"a": 1}}
    await record(folder, FakeBackend(), make_request(**base), make_request("other", **far))
    message = await miss(folder, make_request(**(base | changes)))
    assert f"nearest recorded: {make_request(**base).key[:12]}…" in message
    assert complaint in message
    assert "mode record" in message


async def test_of_requests_that_differ_in_the_prompt_the_likest_is_named(folder: Path) -> None:
    prompts = ["look like a dog", "look like a wolfhound", "x", "look at the sea"]
    await record(folder, FakeBackend(), *(make_request(prompt) for prompt in prompts))
    assert f"nearest recorded: {make_request(prompts[1]).key[:12]}…" in await miss(
        folder, make_request("look like a wolf")
    )


async def test_a_miss_in_an_empty_store_says_so(folder: Path) -> None:
    await record(folder, FakeBackend())
    assert "the store is empty" in await miss(folder, make_request())


async def test_only_the_first_misses_read_the_whole_store(folder: Path) -> None:
    await record(folder, FakeBackend(), make_request())
    async with Coordinator(replaying(folder), backend=FakeBackend()) as opened:
        outcomes = await asyncio.gather(*(opened.submit(make_request(f"{number}")) for number in range(8)))
    explained = [outcome for outcome in outcomes if "nearest recorded" in str(outcome.error)]
    assert len(explained) == 3
    assert all(isinstance(outcome.error, errors.ReplayMissError) for outcome in outcomes)


async def test_the_model_is_the_one_recorded_under_its_name(folder: Path) -> None:
    def model(backend: str, name: str, weights: str) -> RecordedIdentity:
        return RecordedIdentity(backend, name, {"weights": weights})

    async with ResponseStore(folder) as store:
        with pytest.raises(errors.ReplayMissError, match="Recorded: nothing"):
            await recorded_identity(store, "hf", "m")
        one = model("hf", "m", "1")
        await store.put_identity(one)
        assert await recorded_identity(store, "hf", "renamed") == one
        with pytest.raises(errors.ReplayMissError, match=r'Recorded: hf m \{"weights":"1"\}'):
            await recorded_identity(store, "openai", "m")
        two, other = model("hf", "m", "2"), model("hf", "n", "3")
        await store.put_identity(two)
        await store.put_identity(other)
        assert await recorded_identity(store, "hf", "m") == two
        with pytest.raises(errors.ReplayMissError, match=r"mllm\.model renamed is\. Recorded: hf m .*; hf n "):
            await recorded_identity(store, "hf", "renamed")


async def test_replay_needs_neither_the_backend_nor_its_folder(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        await store.put_identity(RecordedIdentity("gone-backend", "tiny", IDENTITY))
        await store.put(make_request(), Answer("x"))
    settings = Settings(
        dispatch=DispatchSettings(store=folder, mode="replay"),
        mllm=MLLMSettings.model_validate({"backend": "gone-backend", "model": "/nowhere/tiny"}),
    )
    async with Coordinator(settings) as opened:
        assert (await opened.submit(make_request())).answer == Answer("x")
