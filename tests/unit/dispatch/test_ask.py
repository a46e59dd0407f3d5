"""The innermost responder: what a backend may be asked, and what counts as an answer."""

from typing import Any

import pytest

from ants_engine import errors
from ants_engine.dispatch.ask import BackendResponder
from ants_engine.dispatch.request import LazyPicture
from ants_engine.dispatch.trace import Trace
from ants_engine.protocol import Answer, Call, Capabilities, Decoding, Picture
from tests.unit.dispatch.fakes import PICTURE, FakeBackend, make_request

SHOWN: dict[str, Any] = {"picture": PICTURE, "picture_sha256": PICTURE.sha256, "task": "ens", "template": "ens/v1"}


async def ask(answer: Any) -> Answer:
    async def act(_: Call) -> Any:
        return answer

    return await BackendResponder(FakeBackend(act)).answer(make_request(), Trace())


async def test_a_request_becomes_one_call() -> None:
    backend = FakeBackend()
    phases: list[str] = []
    trace = Trace(lambda each: phases.append(each.phase))
    answer = await BackendResponder(backend).answer(make_request(**SHOWN), trace)
    assert backend.calls == [Call("Name 5 things.", PICTURE, Decoding(16))]
    assert answer == Answer("answer to Name 5 things.")
    assert phases == ["asking", "waiting"]


async def test_what_the_backend_cannot_take_is_not_sent() -> None:
    for capabilities, changes, complaint in (
        (Capabilities(pictures=False), SHOWN, "shows a picture, and this backend takes text only"),
        (Capabilities(text_only=False), {}, "shows no picture, and this backend needs one"),
    ):
        backend = FakeBackend(capabilities=capabilities)
        with pytest.raises(errors.BadRequestError, match=complaint):
            await BackendResponder(backend).answer(make_request(**changes), Trace())
        assert backend.calls == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(""), errors.EmptyAnswerError),
        (Answer(" \n\t\u3000"), errors.EmptyAnswerError),
        (Answer("", "length"), errors.EmptyAnswerError),
        (Answer("a dog on a", "length"), errors.TruncatedAnswerError),
        (Answer("a dog", "content_filter"), errors.ProtocolError),
        (Answer("a dog", "stop", -1), errors.ProtocolError),
        (Answer("a dog", "stop", 1, True), errors.ProtocolError),
        (Answer(None), errors.ProtocolError),  # type: ignore[arg-type]
        ("a dog", errors.ProtocolError),
    ],
)
async def test_only_a_whole_answer_passes(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await ask(answer)


async def test_an_endless_answer_is_bounded_and_half_characters_are_replaced() -> None:
    assert (await ask(Answer("x" * 50_000, "stop", 1, 2))) == Answer("x" * 20_000, "stop", 1, 2)
    assert (await ask(Answer("a\ud800b"))).text == "a\ufffdb"
    assert (await ask(Answer("  as it came \n"))).text == "  as it came \n"


async def test_the_engines_errors_pass_and_foreign_ones_are_named_without_their_text() -> None:
    def refuse(_: Call) -> Answer:
        raise errors.RefusedAnswerError("no")

    def break_down(_: Call) -> Answer:
        raise ValueError("data:image/png;base64,AAAA sk-secret")

    with pytest.raises(errors.RefusedAnswerError, match="no"):
        await BackendResponder(FakeBackend(refuse)).answer(make_request(), Trace())
    with pytest.raises(errors.FinalBackendError, match="FakeBackend raised ValueError") as caught:
        await BackendResponder(FakeBackend(break_down)).answer(make_request(), Trace())
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_picture_that_cannot_be_read_again_costs_no_call() -> None:
    async def load() -> Picture:
        raise OSError("gone")

    backend = FakeBackend()
    changes = SHOWN | {"picture": LazyPicture(PICTURE.sha256, load), "label": "cat.png"}
    with pytest.raises(errors.ImageUnreadableError, match=r"cat\.png: reading it again failed with OSError"):
        await BackendResponder(backend).answer(make_request(**changes), Trace())
    assert backend.calls == []
