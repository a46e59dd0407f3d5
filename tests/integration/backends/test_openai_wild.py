"""What aggregators, gateways and proxies make of an error, and the proxies of the environment: real servers."""

import asyncio
import base64
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ants_engine import errors
from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from tests.support.left_behind import everything
from tests.support.pictures import call, picture

RIGHT = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a red ball"}}]}


class Replies:
    """Answers every request with the same status and body, and remembers what it was sent."""

    def __init__(self) -> None:
        self.status, self.body, self.content_type = 200, json.dumps(RIGHT).encode(), "application/json"
        self.heads: list[tuple[str, str, dict[str, str]]] = []
        replies = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                replies.heads.append((self.command, self.path, headers))
                self.send_response(replies.status)
                self.send_header("Content-Type", replies.content_type)
                self.send_header("Content-Length", str(len(replies.body)))
                self.end_headers()
                self.wfile.write(replies.body)

            do_CONNECT = do_POST  # noqa: N815  # the library's spelling

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port

    def say(self, body: object, status: int = 200, content_type: str = "application/json") -> None:
        self.status, self.content_type = status, content_type
        self.body = body.encode() if isinstance(body, str) else json.dumps(body).encode()


@contextmanager
def running() -> Iterator[Replies]:
    replies = Replies()
    thread = threading.Thread(target=replies.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield replies
    finally:
        replies.server.shutdown()
        replies.server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def replies() -> Iterator[Replies]:
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxy_of_whoever_runs_this(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


async def failure(base_url, **options):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=base_url, timeout=5, **options))
    try:
        with pytest.raises(errors.ANTSError) as caught:
            await backend.generate(call("right", picture()))
        return caught.value
    finally:
        await backend.aclose()


def at(server):
    return f"http://127.0.0.1:{server.port}/v1"


def top(error):
    return {"id": None, "choices": None, "error": error}


def within(error, **choice):
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": "A sm"}, "error": error, **choice}]}


@pytest.mark.parametrize(
    ("body", "expected", "says"),
    [
        (top({"message": "slow down", "code": 429}), errors.RateLimitError, "slow down"),
        (top({"message": "slow down", "code": "429"}), errors.RateLimitError, "error 429"),
        (top({"message": "slow down", "code": "rate_limit_exceeded"}), errors.RateLimitError, "slow down"),
        (top({"message": "slow down", "type": "RateLimitError"}), errors.RateLimitError, "slow down"),
        (top({"message": "x", "type": "invalid", "metadata": {"code": 429}}), errors.RateLimitError, "x"),
        (top({"message": "x", "metadata": {"error_type": "too_many_requests"}}), errors.RateLimitError, "x"),
        (
            top({"message": "Provider error", "metadata": {"raw": '{"error": {"message": "busy", "code": 503}}'}}),
            errors.OverloadedError,
            "Provider error: busy",
        ),
        (top({"message": "gone", "code": 502}), errors.BackendUnavailableError, "gone"),
        (top({"message": "no money", "code": 402}), errors.QuotaError, "no money"),
        (top({"message": "spent", "code": "insufficient_quota"}), errors.QuotaError, "spent"),
        (top({"message": "who?", "code": "invalid_api_key"}), errors.AuthenticationError, "who?"),
        (top({"message": "No model x", "code": 404}), errors.BadRequestError, "mllm.model"),
        (top("image input is not supported"), errors.BadRequestError, "mllm.pictures"),
        (top("something broke"), errors.BackendUnavailableError, "something broke"),
        (top([{"message": "slow down", "code": 429}]), errors.RateLimitError, "slow down"),
        ([top({"message": "slow down", "code": 429})], errors.RateLimitError, "slow down"),
        (within({"message": "Provider disconnected", "code": 502}), errors.BackendUnavailableError, "disconnected"),
        (within({"message": "cut", "code": 429}, finish_reason="error"), errors.RateLimitError, "cut"),
        ({"object": "error", "message": "too long", "code": 400}, errors.BadRequestError, "too long"),
        ({"code": 429, "message": "slow down"}, errors.RateLimitError, "slow down"),
    ],
)
async def test_an_error_within_a_200_is_what_its_code_says(replies, body, expected, says):
    replies.say(body)
    error = await failure(at(replies))
    assert type(error) is expected
    assert says in str(error)
    assert "HTTP 200" in str(error)


@pytest.mark.parametrize("nothing", [None, "", {}, []])
async def test_an_error_field_with_nothing_in_it_is_none(replies, nothing):
    replies.say(RIGHT | {"error": nothing})
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=at(replies)))
    assert (await backend.generate(call("right"))).text == "a red ball"
    await backend.aclose()


async def test_the_wait_stands_in_such_an_error_too(replies):
    replies.say(top({"message": "slow", "code": 429, "metadata": {"headers": {"Retry-After": "7"}}}))
    assert (await failure(at(replies))).retry_after == 7.0


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (500, 'can only concatenate str (not "list") to str'),
        (500, "Failed to process inputs: this model is missing data required for image input"),
        (400, "tiny is not a multimodal model"),
        (400, "At most 0 image(s) may be provided in one prompt."),
        (404, "No endpoints found that support image input"),
        (422, "messages[0]: unknown variant `image_url`, expected `text`"),
        (400, "Invalid content type. image_url is only supported by certain models."),
        (400, "This model does not support image inputs"),
        (400, "messages[0].content must be a string"),
    ],
)
async def test_a_server_without_eyes_is_final_whatever_its_status(replies, status, said):
    replies.say({"error": {"message": said, "code": status}}, status)
    error = await failure(at(replies))
    assert type(error) is errors.BadRequestError
    assert "mllm.pictures = false" in str(error)
    assert str(error).count(said[:30]) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        ([{"error": {"message": "the list's own", "code": 400}}], "application/json", "the list's own"),
        (["only words"], "application/json", "only words"),
        ({"error": ["words in a list"]}, "application/json", "words in a list"),
        ("plain words", "text/plain", "plain words"),
        ("<html><head><title>413 Request\n Too Large</title></head></html>", "text/html", "413 Request Too Large"),
        ("<h1>Sign in</h1>", "text/html", "Sign in"),
    ],
)
async def test_an_errors_words_are_kept_whatever_they_are_wrapped_in(replies, body, content_type, says):
    replies.say(body, 400, content_type)
    assert str(await failure(at(replies))).endswith(f": {says}")
    replies.say(f"<title>{'long ' * 5000}</title>", 400, content_type)
    assert len(str(await failure(at(replies)))) < 500


async def test_a_model_that_takes_text_only_says_so_and_is_asked_in_words(replies):
    replies.say(RIGHT)
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=at(replies), pictures=False))
    assert (backend.capabilities.pictures, backend.capabilities.text_only) == (False, True)
    assert await backend.identity() == await OpenAIBackend(OpenAIOptions(model="m")).identity()
    await backend.aclose()


async def test_a_name_and_a_password_are_sent_as_such(replies, monkeypatch):
    monkeypatch.setenv("MY_LOGIN", "Basic " + base64.b64encode(b"me:a-very-secret-word").decode())
    replies.say(RIGHT)
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=at(replies), api_key_env="MY_LOGIN"))
    await backend.generate(call("right"))
    assert base64.b64decode(replies.heads[-1][2]["authorization"].removeprefix("Basic ")) == b"me:a-very-secret-word"
    await backend.aclose()


# ---- proxies of the environment --------------------------------------------------------------------------------------

PASSWORD = "a-proxys-password"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_this_machine_is_reached_without_a_proxy(replies, monkeypatch, host, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    replies.say(RIGHT)
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=f"http://{host}:{replies.port}/v1"))
    assert (await backend.generate(call("right"))).text == "a red ball"
    await backend.aclose()


@pytest.mark.parametrize("scheme", ["socks", "socks5", "socks5h"])
async def test_a_socks_proxy_needs_its_package_and_only_where_it_is_used(monkeypatch, unused_tcp_port, scheme):
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:{PASSWORD}@127.0.0.1:{unused_tcp_port}/")
    error = await failure("http://models.invalid/v1")
    assert type(error) is errors.MissingDependencyError
    assert "ALL_PROXY" in str(error)
    assert "pip install 'httpx2[socks]'" in str(error)
    assert PASSWORD not in everything(error)
    monkeypatch.setenv("NO_PROXY", "other.example, .invalid")
    assert type(await failure("http://models.invalid/v1")) is errors.BackendUnavailableError


@pytest.mark.parametrize("address", ["ftp://proxy:1", "http://", "http://[::1", "http://proxy:99999", "what is this"])
async def test_what_is_no_address_of_a_proxy_is_a_mistake_in_its_variable(monkeypatch, address):
    monkeypatch.setenv("HTTPS_PROXY", address.replace("//", f"//me:{PASSWORD}@", 1))
    error = await failure("https://models.invalid/v1")
    assert type(error) is errors.SettingError
    assert str(error).startswith("HTTPS_PROXY: ")
    assert PASSWORD not in everything(error)
    # not looked at where it is not used
    assert type(await failure("http://models.invalid/v1")) is errors.BackendUnavailableError


async def test_an_error_names_the_proxy_that_was_used_and_not_its_password(monkeypatch, unused_tcp_port):
    monkeypatch.setenv("HTTP_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{unused_tcp_port}")
    error = await failure("http://models.invalid/v1")
    assert type(error) is errors.BackendUnavailableError
    assert "http://models.invalid (through the proxy in HTTP_PROXY): the server cannot be reached" in str(error)
    assert (error.down, error.sent) == (True, False)
    assert PASSWORD not in everything(error)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(407, errors.AuthenticationError), (403, errors.BadRequestError), (503, errors.BackendUnavailableError)],
)
async def test_a_proxy_that_makes_no_connection(replies, monkeypatch, status, expected):
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{replies.port}")
    replies.say("<title>no</title>", status, "text/html")
    error = await failure("https://models.invalid/v1")
    assert type(error) is expected
    assert "HTTPS_PROXY" in str(error)
    assert not error.sent
    assert PASSWORD not in everything(error)
    assert replies.heads[-1][0] == "CONNECT"


async def test_an_error_that_repeats_credentials_is_scrubbed(replies):
    replies.say({"error": {"message": f"cannot reach http://me:{PASSWORD}@proxy:3128/ (Basic bWU6YQ==)"}}, 502)
    said = str(await failure(at(replies)))
    assert "http://[credentials]@proxy:3128/ (Basic [key])" in said


@pytest.mark.parametrize(
    ("listed", "through"),
    [
        ("", True),
        ("*", False),
        ("models.invalid", False),
        (".invalid", False),
        ("*.invalid", False),
        ("INVALID", False),
        ("models.invalid:80", False),
        ("models.invalid:81", True),
        ("dels.invalid", True),
        ("other.invalid models.invalid.", False),
        ("10.0.0.0/8,::1", True),
    ],
)
async def test_hosts_in_no_proxy_are_reached_directly(replies, monkeypatch, listed, through):
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{replies.port}")
    monkeypatch.setenv("NO_PROXY", listed)
    replies.say(RIGHT)
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url="http://models.invalid/v1"))
    ending = await asyncio.gather(backend.generate(call("right")), return_exceptions=True)
    assert isinstance(ending[0], errors.BackendUnavailableError) is not through
    await backend.aclose()


async def test_networks_in_no_proxy_are_reached_directly(monkeypatch, unused_tcp_port):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_tcp_port}")
    assert "HTTP_PROXY" in str(await failure("http://192.0.2.7/v1"))
    monkeypatch.setenv("NO_PROXY", "192.0.2.0/24")
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url="http://192.0.2.7/v1", timeout=0.2))
    with pytest.raises(errors.BackendUnavailableError) as caught:
        await backend.generate(call("right"))
    assert "HTTP_PROXY" not in str(caught.value)
    await backend.aclose()
