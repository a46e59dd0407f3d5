"""A refusal, nothing and a cut-off answer are failures: never stored as answers, and asked for in other words."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend, ScriptedOptions
from ants_engine.dispatch.storage.entry import Failure
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import BadRequestError, BudgetSpentError, NotEnoughAnswersError
from ants_engine.protocol import Answer, Call
from ants_engine.settings.config import BudgetSettings
from tests.integration.conftest import CLASSES, describe

REFUSED = Answer("I'm sorry, I can't help with that.")
NOTHING = Answer(" \n")
CUT = Answer("A long red", finish_reason="length")


def unhelpful(bad: Answer, *, but_not: str = "nothing") -> ScriptedBackend:
    """Answer with ``bad`` unless the prompt has a certain beginning."""

    def answer(call: Call) -> Answer:
        return Answer(describe(call)) if call.prompt.startswith(but_not) else bad

    return ScriptedBackend.from_callable(answer)


def endings(folder: Path) -> dict[str, list[str]]:
    async def read() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        async with ResponseStore(folder, strict=True) as store:
            async for entry in store.entries():
                kind = entry.ending.kind if isinstance(entry.ending, Failure) else "answer"
                found.setdefault(entry.request.template, []).append(kind)
        return found

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("bad", "kind"), [(REFUSED, "RefusedAnswerError"), (NOTHING, "EmptyAnswerError"), (CUT, "TruncatedAnswerError")]
)
def test_none_is_stored_as_an_answer_and_too_many_end_the_build_with_each_cause_once(
    bad: Answer, kind: str, encoder: Any, images: Any, settings: dict[str, Any]
) -> None:
    with pytest.raises(NotEnoughAnswersError) as caught:
        asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=unhelpful(bad), **settings))
    # the message of a refusal quotes it, and they all say the same
    assert [type(each).__name__ for each in caught.value.exceptions] == [kind]
    assert "of" in str(caught.value)
    found = endings(Path(settings["dispatch"]["store"]))
    assert {each for kinds in found.values() for each in kinds} == {kind}
    assert set(found) == {"ens/v1", "vsnl/v1"}


@pytest.mark.parametrize("bad", [REFUSED, NOTHING, CUT])
def test_another_template_is_asked_with(bad: Answer, encoder: Any, images: Any, settings: dict[str, Any]) -> None:
    others = {"ens": {"other_template": "ens/v2"}, "vsnl": {"other_template": "vsnl/v2"}}
    backend = unhelpful(bad, but_not="What is in this picture?")
    with pytest.raises(NotEnoughAnswersError, match="vsnl"):
        asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **(settings | others)))
    found = endings(Path(settings["dispatch"]["store"]))
    assert len(found["ens/v1"]) == len(found["ens/v2"])
    assert set(found["ens/v2"]) == {"answer"}
    assert "answer" not in found["vsnl/v2"]
    # what was answered is kept: with an MLLM that names look-alikes nothing is described again
    again = unhelpful(bad, but_not="In a photo")
    ants = asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=again, **(settings | others)))
    assert ants.report.ens_texts > 0
    assert ants.report.vsnl_texts > 0
    asked = [call for call in again.calls if call.prompt.startswith("What is in")]
    assert asked == []
    assert set(ants.report.templates) == {"ens/v1", "ens/v2", "vsnl/v1", "vsnl/v2"}


def test_the_public_codes_reader_takes_a_refusal_for_an_answer(
    encoder: Any, images: Any, settings: dict[str, Any]
) -> None:
    reading = {"ens": {"reader": "reference"}, "vsnl": {"reader": "reference"}}
    with pytest.raises(NotEnoughAnswersError):
        asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=unhelpful(REFUSED), **(settings | reading)))
    found = endings(Path(settings["dispatch"]["store"]))
    assert {each for kinds in found.values() for each in kinds} == {"answer"}


def test_a_budget_stops_a_build_and_what_was_answered_is_kept(
    encoder: Any, images: Any, settings: dict[str, Any]
) -> None:
    backend = ScriptedBackend.from_callable(describe)
    small = settings | {"dispatch": settings["dispatch"] | {"budget": BudgetSettings(requests=9)}}
    with pytest.raises(BudgetSpentError, match=r"dispatch\.budget\.requests = 9"):
        asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **small))
    assert len(backend.calls) == 9
    kept = endings(Path(settings["dispatch"]["store"]))
    assert sum(len(kinds) for kinds in kept.values()) == 9
    ants = asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **settings))
    assert ants.report.from_store == 9
    assert len(backend.calls) == ants.report.asked + 9


def test_a_thought_that_never_ends_is_no_answer_of_any_backend(
    encoder: Any, images: Any, settings: dict[str, Any]
) -> None:
    with pytest.raises(NotEnoughAnswersError, match="all of them reasoning"):
        asyncio.run(
            ANTS.build(CLASSES, images, encoder=encoder, backend=unhelpful(Answer("<think>A lamp, or")), **settings)
        )
    found = endings(Path(settings["dispatch"]["store"]))
    assert {each for kinds in found.values() for each in kinds} == {"TruncatedAnswerError"}


def test_lists_that_were_cut_off_keep_their_whole_items_and_replay_to_the_same_bits(
    encoder: Any, images: Any, settings: dict[str, Any]
) -> None:
    def cut(call: Call) -> Answer:
        whole = describe(call)
        return Answer(whole) if call.picture is not None else Answer(whole[: whole.rindex("5. ") + 4], "length")

    backend = ScriptedBackend.from_callable(cut)
    ants = asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **settings))
    asked = [call for call in backend.calls if call.picture is None]
    assert len(asked) == len(CLASSES)
    whole = {line[3:] for call in asked for line in describe(call).splitlines()[:4]}
    assert set(ants.detector.vsnl.texts) <= whole
    assert any("4 of 4 lists were cut off" in note for note in ants.report.notes)
    replay = settings | {"dispatch": settings["dispatch"] | {"mode": "replay"}}
    again = asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, **replay))
    assert again.detector.vsnl.texts == ants.detector.vsnl.texts
    assert again.detector.vsnl.features.equal(ants.detector.vsnl.features)
    assert again.report.notes == ants.report.notes


def one_caption(call: Call) -> str:
    return "A person riding a wave on a surfboard." if call.picture is not None else describe(call)


def test_one_caption_for_all_pictures_ends_a_build(encoder: Any, images: Any, settings: dict[str, Any]) -> None:
    backend = ScriptedBackend.from_callable(one_caption)
    with pytest.raises(NotEnoughAnswersError, match=r"20 of 20 pictures got the same sentence.*does not seem to reach"):
        asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **settings))
    # with a rule that is defined on a stream the same
    stream = {"mining": {"gamma": 1.0, "rule": "histogram", "min_waiting": 15}, "stream": {"batch_size": 20}}
    with pytest.raises(NotEnoughAnswersError, match="does not seem to reach the MLLM"):
        asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **(settings | stream)))
    # whoever knows better can go on, and is told
    lenient = settings | {"dispatch": settings["dispatch"] | {"min_success": 0.0}}
    ants = asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **lenient))
    assert any("does the picture reach the MLLM?" in note for note in ants.report.notes)


async def test_a_stream_goes_on_and_notes_it(encoder: Any, images: Any, settings: dict[str, Any]) -> None:
    backend = ScriptedBackend.from_callable(one_caption)
    ants = await ANTS.build(CLASSES, encoder=encoder, backend=backend, **settings)
    stream = ants.stream(images, batch_size=20)
    seen = 0
    async for scores in stream:
        seen += len(scores)
        assert len([note for note in stream.report.notes if "reach the MLLM" in note]) == 1
    assert seen == 40


def test_an_mllm_that_names_the_class_itself_has_named_no_look_alike(
    encoder: Any, images: Any, settings: dict[str, Any]
) -> None:
    def echo(call: Call) -> str:
        named = next(name for name in CLASSES if name in call.prompt)
        return describe(call) if call.picture is not None else f"1. {named}\n2. small {named}"

    with pytest.raises(NotEnoughAnswersError, match=r"vsnl: 0 of 4 answers can be used.*echo"):
        asyncio.run(
            ANTS.build(CLASSES, images, encoder=encoder, backend=ScriptedBackend.from_callable(echo), **settings)
        )


def test_good_answers_that_are_not_needed_are_no_failures(encoder: Any, images: Any, settings: dict[str, Any]) -> None:
    def other_class(call: Call) -> str:
        if call.picture is not None:
            return describe(call)
        return "\n".join(f"{row}. {name}" for row, name in enumerate(CLASSES, 1) if name not in call.prompt)

    backend = ScriptedBackend.from_callable(other_class)
    ants = asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **settings))
    assert ants.report.vsnl_texts == 0
    assert any("4 of 4 classes have no look-alike" in note for note in ants.report.notes)


def test_a_server_that_takes_no_pictures_ends_a_build_after_a_few_and_is_quoted_once(
    encoder: Any, images: Any, settings: dict[str, Any]
) -> None:
    def blind(call: Call) -> Answer:
        if call.picture is None:
            return Answer(describe(call))
        raise BadRequestError("image input is not supported")

    backend = ScriptedBackend.from_callable(blind, ScriptedOptions(max_concurrency=4))
    with pytest.raises(NotEnoughAnswersError, match=r"ens: 0 of \d answers .*BadRequestError: image input") as caught:
        asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **settings))
    assert str(caught.value).count("image input is not supported") == 1
    assert 3 <= sum(call.picture is not None for call in backend.calls) <= 4 + 3
    # every question is asked where none has to be answered
    patient = settings | {"dispatch": settings["dispatch"] | {"min_success": 0.0}}
    ants = asyncio.run(ANTS.build(CLASSES, images, encoder=encoder, backend=backend, **patient))
    assert (ants.report.ens_texts, ants.report.failed) == (0, 20)
