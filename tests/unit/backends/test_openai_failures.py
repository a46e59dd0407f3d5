import json

import httpx2
import openai
import pytest

from ants_engine import errors
from ants_engine.backends._failures import TABLE, classify

REQUEST = httpx2.Request("POST", "http://server/v1/chat/completions", headers={"Authorization": "Bearer top-secret"})


def status_error(status, error=None, headers=None):
    """What the client itself makes of such a response."""
    body = {"error": error} if isinstance(error, dict) else error
    response = httpx2.Response(status, request=REQUEST, headers=headers, text="" if body is None else json.dumps(body))
    client = openai.OpenAI(api_key="top-secret", max_retries=0)
    try:
        return client._make_status_error_from_response(response)
    finally:
        client.close()


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (307, None, errors.BadRequestError),
        (400, {"message": "bad"}, errors.BadRequestError),
        (400, {"message": "no", "code": "content_filter"}, errors.RefusedAnswerError),
        (400, {"message": "no", "code": "content_policy_violation"}, errors.RefusedAnswerError),
        (401, {"message": "who"}, errors.AuthenticationError),
        (402, {"message": "pay"}, errors.QuotaError),
        (403, {"message": "no"}, errors.AuthenticationError),
        (404, {"message": "what", "code": "model_not_found"}, errors.BadRequestError),
        (405, None, errors.BadRequestError),
        (408, None, errors.BackendUnavailableError),
        (409, None, errors.BackendUnavailableError),
        (413, None, errors.BadRequestError),
        (418, None, errors.BadRequestError),
        (422, {"message": "shape"}, errors.BadRequestError),
        (425, None, errors.BackendUnavailableError),
        (429, {"message": "slow"}, errors.RateLimitError),
        (429, {"message": "spent", "code": "insufficient_quota"}, errors.QuotaError),
        (429, {"message": "spent", "type": "insufficient_quota"}, errors.QuotaError),
        (500, None, errors.BackendUnavailableError),
        (502, None, errors.BackendUnavailableError),
        (503, None, errors.BackendUnavailableError),
        (529, None, errors.BackendUnavailableError),
    ],
)
def test_status(status, error, expected):
    found = classify(status_error(status, error))
    assert type(found) is expected
    assert f"HTTP {status}" in str(found)
    if error:
        assert str(found).endswith(error["message"])


def timeout():
    return openai.APITimeoutError(request=REQUEST)


def connection():
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ConnectError("[Errno 111] Connection refused")
    return error


def validation():
    return openai.APIResponseValidationError(httpx2.Response(200, request=REQUEST), {"a": 1})


@pytest.mark.parametrize(
    ("make", "expected", "says"),
    [
        (timeout, errors.BackendTimeoutError, "no answer in time"),
        (connection, errors.BackendUnavailableError, "Connection refused"),
        (validation, errors.ProtocolError, "not what the chat API agrees on"),
        (lambda: json.JSONDecodeError("Expecting value", "x", 0), errors.ProtocolError, "Expecting value"),
        (lambda: UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), errors.ProtocolError, "cannot be read"),
        (lambda: openai.OpenAIError("odd"), errors.BadRequestError, "odd"),
        (lambda: TypeError("odd"), errors.BadRequestError, "odd"),
    ],
)
def test_exception(make, expected, says):
    found = classify(make(), server="http://server")
    assert type(found) is expected
    assert says in str(found)
    assert str(found).startswith("http://server: ")


def test_every_row_can_be_reached():
    reached = set()
    for status in (200, 307, 400, 401, 402, 403, 404, 408, 413, 429, 500):
        for code in (None, "insufficient_quota", "content_filter"):
            reached.add(str(classify(status_error(status, {"message": "", "code": code}))).split(" (HTTP")[0])
    for make in (timeout, connection, validation):
        reached.add(str(classify(make())).split(":")[1].strip())
    reached = {text.removeprefix("the server: ") for text in reached}
    rows = {row.says for row in TABLE if row.exception in {None, "APITimeoutError", "APIConnectionError"}}
    assert rows <= reached


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "7"}, 7.0), ({"RETRY-AFTER-MS": "70"}, 0.07), ({}, None)]
)
def test_rate_limit_carries_the_wait(headers, seconds):
    found = classify(status_error(429, {"message": "slow"}, headers))
    assert isinstance(found, errors.RateLimitError)
    assert found.retry_after == seconds


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"message": "m"}, "m"),
        ({"error": "e"}, "e"),
        ({"detail": "d"}, "d"),
        ({"detail": [{"loc": ["body"], "msg": "d"}]}, "'msg': 'd'"),
        ("plain", "plain"),
        ("<html>gateway</html>", "(HTTP 400)"),
        (None, "(HTTP 400)"),
    ],
)
def test_what_the_server_said_is_found(body, says):
    assert str(classify(status_error(400, body))).endswith((says, says + "}]}"))


def test_key_and_picture_stay_out():
    error = status_error(400, {"message": "key top-secret, picture data:image/png;base64,AAAA" + "A" * 5000})
    found = classify(error, secret="top-secret")
    assert str(found).endswith("key [key], picture [data]")
    assert found.__cause__ is None
    assert len(str(classify(status_error(400, {"message": "word " * 5000})))) < 500
