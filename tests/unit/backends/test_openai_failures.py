import json
import ssl

import h11
import httpx2
import openai
import pytest

from ants_engine import errors
from ants_engine.backends._failures import TABLE, FailureFacts, classify
from ants_engine.backends._http import EncodedBodyError, OversizedBodyError

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
        (503, None, errors.OverloadedError),
        (504, None, errors.BackendUnavailableError),
        (529, None, errors.OverloadedError),
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


def not_reached(cause):
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ConnectError(str(cause))
    error.__cause__.__cause__ = cause
    return error


def tls(reason):
    cause = ssl.SSLError(1, f"[SSL: {reason}] it went wrong")
    cause.reason = reason
    return not_reached(cause)


def endless_headers():
    return not_reached(h11.RemoteProtocolError("Receive buffer too long", error_status_hint=431))


def no_connection_in_time():
    error = openai.APITimeoutError(request=REQUEST)
    error.__cause__ = httpx2.ConnectTimeout("")
    return error


def hung_up():
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ReadError("Connection reset by peer")
    return error


def proxied(said):
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ProxyError(said)
    return error


def validation():
    return openai.APIResponseValidationError(httpx2.Response(200, request=REQUEST), {"a": 1})


@pytest.mark.parametrize(
    ("make", "expected", "says"),
    [
        (timeout, errors.BackendTimeoutError, "no answer in time"),
        (connection, errors.BackendUnavailableError, "Connection refused"),
        (lambda: tls("CERTIFICATE_VERIFY_FAILED"), errors.BadRequestError, "SSL_CERT_FILE"),
        (lambda: tls("WRONG_VERSION_NUMBER"), errors.BadRequestError, "mllm.base_url"),
        (lambda: tls("UNEXPECTED_EOF_WHILE_READING"), errors.BackendUnavailableError, "it went wrong"),
        (endless_headers, errors.ProtocolError, "headers are too long"),
        (lambda: OversizedBodyError("9 bytes"), errors.ProtocolError, "9 bytes"),
        (lambda: EncodedBodyError("gzip"), errors.ProtocolError, "gzip"),
        (lambda: RecursionError("too deep"), errors.ProtocolError, "cannot be parsed"),
        (lambda: ValueError("Exceeds the limit"), errors.ProtocolError, "cannot be parsed"),
        (lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "bad"), errors.BadRequestError, "cannot be made"),
        (validation, errors.ProtocolError, "does not follow the chat API"),
        (lambda: json.JSONDecodeError("Expecting value", "x", 0), errors.ProtocolError, "Expecting value"),
        (lambda: UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), errors.ProtocolError, "cannot be parsed"),
        (lambda: openai.OpenAIError("odd"), errors.BadRequestError, "odd"),
        (lambda: TypeError("odd"), errors.BadRequestError, "odd"),
    ],
)
def test_exception(make, expected, says):
    found = classify(make(), server="http://server")
    assert type(found) is expected
    assert says in str(found)
    assert str(found).startswith("http://server: ")


# One failure for each row of the table, in its order.
WALK = (
    no_connection_in_time,
    timeout,
    lambda: tls("CERTIFICATE_VERIFY_FAILED"),
    lambda: tls("WRONG_VERSION_NUMBER"),
    endless_headers,
    lambda: proxied("407 Proxy Authentication Required"),
    lambda: proxied("403 Forbidden"),
    connection,
    hung_up,
    validation,
    lambda: status_error(429, {"code": "insufficient_quota"}),
    lambda: status_error(402),
    lambda: status_error(400, {"code": "content_filter"}),
    lambda: status_error(500, {"message": "image input is not supported - you may need to provide the mmproj"}),
    lambda: status_error(429),
    lambda: status_error(400, {"message": "API key not valid. Please pass a valid API key."}),
    lambda: status_error(407),
    lambda: status_error(400, {"message": "Invalid model name passed in model=x"}),
    lambda: status_error(400, {"message": "Unsupported parameter: 'max_tokens'"}),
    lambda: status_error(401),
    lambda: status_error(403),
    lambda: status_error(404),
    lambda: status_error(413),
    lambda: status_error(408),
    lambda: status_error(503),
    lambda: status_error(502),
    lambda: status_error(500),
    lambda: status_error(400),
    lambda: status_error(307),
    lambda: OversizedBodyError("long"),
    lambda: EncodedBodyError("gzip"),
    lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "bad"),
    lambda: json.JSONDecodeError("Expecting value", "x", 0),
    lambda: RecursionError("deep"),
    lambda: TypeError("odd"),
)


@pytest.mark.parametrize(("row", "make"), list(zip(TABLE[:-1], WALK, strict=True)))
def test_walk_through_the_table(row, make):
    """Every row is reached by a failure of its own, and its column says what its error is.

    The last row is for errors within an answer alone.
    """
    error = make()
    assert next(other for other in TABLE if other.fits(FailureFacts.of(error))) is row
    found = classify(error)
    assert type(found) is row.becomes
    assert row.says in str(found)


def test_a_servers_words_do_not_pass_for_a_tls_problem():
    """Rows about TLS are for errors without a response, whatever a body calls itself."""
    found = classify(status_error(500, {"code": "CERTIFICATE_VERIFY_FAILED", "message": "x"}))
    assert type(found) is errors.BackendUnavailableError


def test_causes_in_a_circle_end():
    error = openai.APIConnectionError(request=REQUEST)
    error.__context__ = other = OSError("x")
    other.__context__ = error
    assert isinstance(classify(error), errors.BackendUnavailableError)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_all_that_may_pass_carries_the_wait(status):
    assert classify(status_error(status, {"message": "x"}, {"Retry-After": "7"})).retry_after == 7.0
    assert classify(status_error(status, {"message": "x"})).retry_after is None


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
