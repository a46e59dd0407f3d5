"""The innermost responder: what a backend may be asked, and what counts as an answer."""

from typing import Any

import pytest

from ants_engine import errors
from ants_engine.dispatch.ask import BackendResponder
from ants_engine.dispatch.request import LazyPicture, RequestProgress
from ants_engine.learning.answers import judge_caption, judge_labels
from ants_engine.protocol import Answer, Call, Capabilities, Decoding, Picture
from tests.unit.dispatch.fakes import PICTURE, FakeBackend, make_request

SHOWN: dict[str, Any] = {"picture": PICTURE, "picture_sha256": PICTURE.sha256, "task": "ens", "template": "ens/v1"}


async def ask(answer: Any) -> Answer:
    async def act(_: Call) -> Any:
        return answer

    return await BackendResponder(FakeBackend(act)).answer(make_request(), RequestProgress())


async def test_a_request_becomes_one_call() -> None:
    backend = FakeBackend()
    phases: list[str] = []
    progress = RequestProgress(lambda each: phases.append(each.phase))
    answer = await BackendResponder(backend).answer(make_request(**SHOWN), progress)
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
            await BackendResponder(backend).answer(make_request(**changes), RequestProgress())
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


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Answer("<think>hm"), errors.TruncatedAnswerError, "all of them reasoning"),
        (Answer("<think>hm", "length"), errors.TruncatedAnswerError, "raise vsnl.max_new_tokens"),
        (Answer("<think>hm</think>", "length"), errors.TruncatedAnswerError, "reasoning"),
        (Answer("[THINK]hm", "length", 7, 9), errors.TruncatedAnswerError, "after 9 tokens.*before the limit of 16"),
        (Answer("<think>hm</think>\n"), errors.EmptyAnswerError, "reasoning and no answer"),
        (Answer("<|channel|>analysis<|message|>hm"), errors.TruncatedAnswerError, "reasoning"),
    ],
)
async def test_reasoning_without_an_answer_is_none_whatever_the_backend(
    answer: Answer, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await ask(answer)


async def judged(answer: Answer, judge: Any, prompt: str = "Name 5 things that look like a wolf.") -> Answer:
    async def act(_: Call) -> Answer:
        return answer

    request = make_request(prompt, judge=judge)
    return await BackendResponder(FakeBackend(act)).answer(request, RequestProgress())


async def test_of_a_cut_list_the_whole_items_are_kept_as_cut() -> None:
    cut = Answer("1. dingo\n2. jackal\n3. red f", "length", 7, 16)
    assert await judged(cut, judge_labels) == Answer("1. dingo\n2. jackal", "length", 7, 16)
    with pytest.raises(errors.TruncatedAnswerError, match=r"cut off after 16 tokens; raise vsnl\.max_new_tokens"):
        await judged(Answer("1. din", "length", 7, 16), judge_labels)
    with pytest.raises(errors.TruncatedAnswerError):
        await judged(Answer("A grey stone. Beside it a", "length"), judge_caption)


async def test_a_refusal_that_was_cut_is_a_refusal() -> None:
    for judge in (judge_labels, judge_caption):
        with pytest.raises(errors.RefusedAnswerError, match="text-based AI"):
            await judged(Answer("I'm sorry, but as a text-based AI I", "length"), judge)


async def test_the_question_given_back_is_no_answer_and_in_front_of_one_it_is_left_out() -> None:
    prompt = "Name 5 things that look like a wolf."
    for judge in (judge_labels, judge_caption):
        with pytest.raises(errors.EmptyAnswerError, match="repeated the question"):
            await judged(Answer("Name 5 things"), judge, prompt)
        assert (await judged(Answer(f"{prompt}\n1. dingo"), judge, prompt)).text == "1. dingo"


async def test_of_an_answer_with_endless_reasoning_the_end_is_kept() -> None:
    answer = Answer("<think>" + "hm " * 20_000 + "</think>a dog")
    assert (await ask(answer)).text == "a dog"


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
        await BackendResponder(FakeBackend(refuse)).answer(make_request(), RequestProgress())
    with pytest.raises(errors.FinalBackendError, match="FakeBackend raised ValueError") as caught:
        await BackendResponder(FakeBackend(break_down)).answer(make_request(), RequestProgress())
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_picture_that_cannot_be_read_again_costs_no_call() -> None:
    async def load() -> Picture:
        raise OSError("gone")

    backend = FakeBackend()
    changes = SHOWN | {"picture": LazyPicture(PICTURE.sha256, load), "label": "cat.png"}
    with pytest.raises(errors.ImageUnreadableError, match=r"cat\.png: reading it again failed with OSError"):
        await BackendResponder(backend).answer(make_request(**changes), RequestProgress())
    assert backend.calls == []
