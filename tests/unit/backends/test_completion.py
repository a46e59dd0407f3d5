"""What a chat completion's choice comes to: one table of finish reasons, and content in all its forms."""

import re

import pytest

from ants_engine import errors
from ants_engine.backends._completion import FINISH_REASONS, Content, ending_of, read_content
from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from ants_engine.errors import BackendError
from ants_engine.protocol import Answer

WHOLE = ["stop", "eos", "eos_token", "end_turn", "stop_sequence", "STOP", "COMPLETE", "FinishReason.STOP"]
CUT = ["length", "max_tokens", "MAX_TOKENS", "model_context_window_exceeded", "model_length", "token_limit_reached"]
ERRORS = {
    errors.RefusedAnswerError: ["content_filter", "SAFETY", "recitation", "PROHIBITED_CONTENT", "refusal", "sensitive"],
    errors.BackendUnavailableError: ["error", "abort", "cancelled", "network_error", "OTHER", "timeout"],
    errors.OverloadedError: ["insufficient_system_resource"],
    errors.TruncatedAnswerError: ["repetition"],
    errors.ProtocolError: ["tool_calls", "function_call", "tool_use", "something-new", "42", "None"],
}


@pytest.mark.parametrize("reason", WHOLE)
def test_a_whole_answer(reason):
    assert ending_of(reason, 3, 64) == ("stop", "")


@pytest.mark.parametrize("reason", CUT)
def test_an_answer_that_a_limit_cut(reason):
    assert ending_of(reason, 3, 64) == ("length", "")


@pytest.mark.parametrize(("kind", "reason"), [(kind, reason) for kind, reasons in ERRORS.items() for reason in reasons])
def test_every_other_reason_is_an_error_and_so_is_one_that_nobody_knows(kind, reason):
    ending, says = ending_of(reason, 3, 64)
    assert ending is kind
    assert says


@pytest.mark.parametrize("reason", [None, ""])
def test_a_server_that_names_no_reason_is_believed_unless_its_count_reached_the_limit(reason):
    assert ending_of(reason, None, 64)[0] == ending_of(reason, 63, 64)[0] == "stop"
    assert ending_of(reason, 64, 64)[0] == "length"


@pytest.mark.parametrize(
    "reason", [{"type": "length", "length": 64}, {"type": "stop", "matched": 2}, 1, True, ["stop"]]
)
def test_reasons_of_other_types(reason):
    expected = reason["type"] if isinstance(reason, dict) else errors.ProtocolError
    assert ending_of(reason, 3, 64)[0] == expected


def test_the_table_says_one_thing_of_each_reason():
    for ending, says in FINISH_REASONS.values():
        assert ending in {"stop", "length"} or (issubclass(ending, BackendError) and says)
    assert all(word == word.casefold() for word in FINISH_REASONS)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "a cat"}, Content("a cat")),
        ({"content": None}, Content("")),
        ({}, Content("")),
        ({"content": [{"type": "text", "text": "a "}, {"type": "text", "text": "cat"}]}, Content("a cat")),
        ({"content": ["a ", {"text": "cat"}]}, Content("a cat")),
        ({"content": {"type": "text", "text": "a cat"}}, Content("a cat")),
        ({"content": [{"type": "output_text", "text": {"value": "a cat"}}]}, Content("a cat")),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "a cat"},
                ]
            },
            Content("a cat", reasoned=True),
        ),
        ({"content": [{"type": "image_url", "image_url": {}}, {"type": "text", "text": "a cat"}]}, Content("a cat")),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, Content("", refusal="no")),
        ({"content": None, "refusal": "no"}, Content("", refusal="no")),
        ({"content": None, "reasoning": "hm"}, Content("", reasoned=True)),
        ({"content": "", "reasoning_content": "hm"}, Content("", reasoned=True)),
        ({"content": {"a": 1}}, None),
        ({"content": 5}, None),
        ({"content": [5]}, None),
        ({"content": [{"type": "text", "text": None}]}, None),
    ],
)
def test_content_as_it_comes(message, expected):
    assert read_content(message, None) == expected


def test_reasoning_that_is_only_counted_counts():
    usage = {"completion_tokens_details": {"reasoning_tokens": 64}}
    assert read_content({"content": ""}, usage) == Content("", reasoned=True)
    for nothing in (
        {},
        {"completion_tokens_details": None},
        {"completion_tokens_details": {"reasoning_tokens": 0}},
        "x",
    ):
        assert read_content({"content": ""}, nothing) == Content("")


def completion(content, finish, tokens=64, **message):
    usage = {"prompt_tokens": 7, "completion_tokens": tokens}
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}], "usage": usage}


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        (completion("a cat", "stop"), Answer("a cat", "stop", 7, 64)),
        (completion("a c", "max_tokens"), Answer("a c", "length", 7, 64)),
        (completion("a c", None), Answer("a c", "length", 7, 64)),
        (completion("a cat", None, tokens=3), Answer("a cat", "stop", 7, 3)),
        (completion(None, "length", reasoning="hm"), Answer("<think>", "length", 7, 64)),
        (completion("", "stop", reasoning_content="hm"), Answer("<think></think>", "stop", 7, 64)),
        (completion("a cat", "stop", reasoning_content="hm"), Answer("a cat", "stop", 7, 64)),
        (completion(None, "length"), Answer("", "length", 7, 64)),
    ],
)
def test_what_the_backend_returns(came, expected):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url="http://127.0.0.1:1/v1"))
    assert backend._read(came, 64) == expected


@pytest.mark.parametrize(
    ("came", "kind", "says"),
    [
        (completion("a c", "error"), errors.BackendUnavailableError, "aborted the answer .finish_reason error."),
        (
            completion("a c", "something-new"),
            errors.ProtocolError,
            "unknown finish reason .finish_reason someth",
        ),
        (completion("a c", "SAFETY"), errors.RefusedAnswerError, "content filter"),
        (completion([{"type": "refusal", "refusal": "no way"}], "stop"), errors.RefusedAnswerError, "no way"),
        (completion([7], "stop"), errors.ProtocolError, "no text"),
    ],
)
def test_what_the_backend_raises(came, kind, says):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url="http://127.0.0.1:1/v1"))
    ending = backend._read(came, 64)
    assert type(ending) is kind
    assert re.search(says, str(ending))
