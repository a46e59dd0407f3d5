"""A multimodal LLM behind any server with OpenAI's chat completions API."""

import asyncio
import base64
import difflib
import importlib
import json
import os
import re
import weakref
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveFloat, PositiveInt, SecretStr, field_validator

from ants_engine.errors import (
    AuthenticationError,
    BackendError,
    BadRequestError,
    MissingDependencyError,
    ProtocolError,
    RefusedAnswerError,
    SettingError,
    UsageError,
)
from ants_engine.protocol import JSON, Answer, Call, Capabilities, Decoding

from ._completion import ending_of, read_content
from ._failures import classify, classify_within, error_within
from ._scrub import repeats_request, scrub, scrubbed_logs

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from openai import AsyncOpenAI

    from ._http import EnvironmentProxy

_CONNECT_TIMEOUT = 10.0
_OPENAI = "https://api.openai.com/v1"
_QUESTIONS = "/chat/completions"
_CHECK_TIMEOUT = 20.0
_NO_CONNECTION = frozenset({"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"})
_NO_MODEL = re.compile(
    r"model.{0,120}(not found|not exist|unknown|not available)|(invalid|unknown|no such|not found).{0,40}model",
    re.IGNORECASE | re.DOTALL,
)
_MOST_TOKENS = 2**53
_OURS = frozenset({"messages", "model", "stream", "n", "max_tokens", "max_completion_tokens", "temperature"})


class OpenAIOptions(BaseModel):
    """Settings of the openai backend."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(min_length=1)
    """The model's name, as the server knows it."""
    base_url: str | None = None
    """The address with its ``/v1``, such as ``http://localhost:8000/v1``; when empty what ``OPENAI_BASE_URL`` says,
    or else OpenAI's own."""
    api_key_env: str = Field(default="OPENAI_API_KEY", min_length=1)
    """The name of the environment variable that holds the key. With a ``base_url`` it may be unset. A key that begins
    with ``Basic`` is sent as it is, for servers behind a name and a password; any other as a bearer token."""
    detail: Literal["auto", "low", "high"] = "auto"
    """The resolution at which the server reads a picture."""
    max_concurrency: PositiveInt = 32
    """Calls in flight at most, unless ``dispatch.max_concurrency`` is set."""
    pictures: bool = True
    """Switch off for a text-only model, which is then only asked for look-alikes (``vsnl``)."""
    timeout: PositiveFloat = 120.0
    """Seconds without data from the server before a call times out."""
    limit_parameter: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    """Name of the token limit; ``auto``: the newer one with OpenAI's own address, else the older."""
    send_temperature: bool = True
    """Switch off for models that refuse the parameter, such as reasoning models."""
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of the request, for a server's extensions of the API; part of the identity."""

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and (problem := _address_problem(url)):
            raise ValueError(problem)
        return url

    @field_validator("extra_body")
    @classmethod
    def _leaves_ours(cls, body: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := _OURS.intersection(body):
            raise ValueError(f"{', '.join(sorted(taken))} cannot be set here: the engine sends them itself")
        return body


class OpenAIBackend:
    """Asks a server. It neither retries nor follows redirects: a picture goes only where the settings say (SSRF guard).

    Works with OpenAI, vLLM, llama.cpp, Ollama, LM Studio, ``transformers serve`` and others; see ``base_url``.
    """

    Options: ClassVar[type[BaseModel]] = OpenAIOptions

    def __init__(self, options: OpenAIOptions) -> None:
        self._options = options
        self._clients: weakref.WeakKeyDictionary[AbstractEventLoop, _OpenClient] = weakref.WeakKeyDictionary()
        self._key = SecretStr("")
        self._proxy: EnvironmentProxy | None = None
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """Text, pictures unless switched off, and the options' concurrency."""
        return Capabilities(pictures=self._options.pictures, max_concurrency=self._options.max_concurrency)

    async def identity(self) -> Mapping[str, JSON]:
        """Identify the model by its name on the server and by options that shape answers; not by the address."""
        options = self._options
        identity: dict[str, JSON] = {"backend": "openai", "model": options.model, "detail": options.detail}
        if not options.send_temperature:
            identity["send_temperature"] = False
        if options.extra_body:
            identity["extra_body"] = dict(options.extra_body)
        return identity

    async def check(self) -> None:
        """Check that the server can be reached, accepts the key and knows the model, by requesting its list of models.

        A server without that list passes, and so does one that fails or is slow. A list may be incomplete, and a key
        may be valid for completions only: when the key is refused or the list lacks the model, one token is requested,
        and the check fails only if that is refused as well.

        Raises:
            AuthenticationError: the key is missing or refused.
            BackendUnavailableError: the connection is refused.
            BadRequestError: the server has no such model, or answers below ``/v1`` alone, or its certificate or TLS
                cannot be used.
            MissingDependencyError: openai is not installed.
            SettingError: ``OPENAI_BASE_URL`` is not a valid address.
            UsageError: the backend is closed.
        """
        listed = await self._quickly("/models")
        if isinstance(listed, _Failed):
            if listed.unreachable:
                raise listed.error
            if listed.status == 401:
                await self._check_question([])
            if listed.status == 404:
                await self._check_below()
            return
        models, name = _names(listed), self._options.model
        if models and {name, f"{name}:latest"}.isdisjoint(models):
            await self._check_question(models)

    async def _check_below(self) -> None:
        """Check that the address does not lack its ``/v1``."""
        address = (self._address or _OPENAI).rstrip("/")
        if not address.endswith("/v1") and _names(await self._quickly("/v1/models")):
            raise BadRequestError(f"{self._server}: `mllm.base_url` lacks its /v1; write {self._shown(address)}/v1")

    async def _check_question(self, models: Sequence[str]) -> None:
        """Request one token; check that neither key nor model is refused."""
        body = self._request(Call("Say yes.", None, Decoding(max_new_tokens=1)))
        refused = await self._quickly(_QUESTIONS, body)
        if not isinstance(refused, _Failed):
            return
        if refused.status == 401:
            raise refused.error
        if models and refused.names_no_model:
            name = self._options.model
            near = difflib.get_close_matches(name, models, n=1, cutoff=0.5)
            hint = f"; did you mean {self._shown(near[0])}?" if near else "."
            listed = self._shown(", ".join(models[:10])) + (", …" if len(models) > 10 else "")
            raise BadRequestError(f"{self._server}: no such model as `mllm.model` {name!r}{hint} It has: {listed}")

    async def _quickly(self, path: str, body: Mapping[str, Any] | None = None) -> "object | _Failed":
        """Send a request of a check: POST a body, or GET. Errors are returned."""
        client = await self._client()
        options: Any = {"timeout": min(_CHECK_TIMEOUT, self._options.timeout)}
        ending: object
        try:
            if body is None:
                ending = await client.get(path, cast_to=object, options=options)
            else:
                ending = await client.post(path, cast_to=object, body=dict(body), options=options)
        except Exception as error:
            ending = _Failed.of(error, classify(error, secret=self._key.get_secret_value(), server=self._server))
        except asyncio.CancelledError as error:
            ending = _bare(error)
        if isinstance(ending, asyncio.CancelledError):
            raise ending
        return ending

    async def load(self) -> None:
        """Do nothing: the first call connects."""

    async def generate(self, call: Call) -> Answer:
        """Ask the server once.

        An empty answer is returned as it is; reasoning without an answer as ``<think>``, with ``</think>`` when it was
        not truncated. At most `BODY_LIMIT` bytes of a response are held. No error keeps the request: not in its
        message, its chain or its frames.

        Raises:
            BackendTimeoutError: no answer in time.
            BackendUnavailableError: the server cannot be reached, closed the connection or failed.
            OverloadedError: the server is overloaded (503/529).
            RateLimitError: rate limit exceeded (429).
            AuthenticationError: the key is missing or refused.
            QuotaError: the account's quota is spent.
            BadRequestError: the server cannot take this request.
            ProtocolError: the response does not follow the API.
            RefusedAnswerError: the model or the server's content filter refused.
            TruncatedAnswerError: the server stopped a repetitive answer.
            MissingDependencyError: openai, or the package for a SOCKS proxy of the environment, is not installed.
            SettingError: ``OPENAI_BASE_URL`` or a proxy's variable holds no valid address.
            UsageError: the backend is closed.
        """
        client = await self._client()
        ending: Answer | BackendError | asyncio.CancelledError
        try:
            # not chat.completions.create: converting JSON into its types takes half of a call's time
            ending = self._end(
                # not in a variable of this frame: it may repeat the request
                await client.post(_QUESTIONS, cast_to=object, body=self._request(call)),
                call.decoding.max_new_tokens,
            )
        except Exception as error:
            ending = classify(error, secret=self._key.get_secret_value(), server=self._server)
        except asyncio.CancelledError as error:
            ending = _bare(error)
        if isinstance(ending, Answer):
            return ending
        # outside of the handler: the client's error, whose request carries key and picture, must not be chained
        raise ending

    async def aclose(self) -> None:
        """Close the connections of the running event loop; those of an ended loop are already closed."""
        self._closed = True
        opened = self._clients.pop(asyncio.get_running_loop(), None)
        if opened is not None:
            await opened.lifeline.aclose()

    @property
    def _address(self) -> str | None:
        return self._options.base_url or os.environ.get("OPENAI_BASE_URL") or None

    @property
    def _server(self) -> str:
        parts = urlsplit(self._address or "")
        server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "OpenAI"
        return server if self._proxy is None else f"{server} (through the proxy in {self._proxy.variable})"

    async def _client(self) -> "AsyncOpenAI":
        if self._closed:
            raise UsageError("the openai backend is closed")
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._key = self._read_key()
            try:
                # off the loop: the first import is slow
                await asyncio.to_thread(importlib.import_module, "openai")
            except ImportError as error:
                raise MissingDependencyError("The openai backend needs the client: pip install 'openai>=3'") from error
            if self._closed:
                raise UsageError("the openai backend is closed")
            if loop not in self._clients:
                client = self._connect()
                opened = self._clients[loop] = _OpenClient(client, _lifeline(client, self._key))
                await anext(opened.lifeline)
        return self._clients[loop].client

    def _connect(self) -> "AsyncOpenAI":
        import httpx2
        from openai import AsyncOpenAI

        from ._http import ask_for_plain, bound, proxy_for

        options = self._options
        if self._address is not None and (problem := _address_problem(self._address)):
            raise SettingError(f"OPENAI_BASE_URL: {problem}")
        self._proxy = proxy_for(self._address or _OPENAI)
        key = self._key.get_secret_value()
        timeout = httpx2.Timeout(options.timeout, connect=min(_CONNECT_TIMEOUT, options.timeout))
        return AsyncOpenAI(
            api_key=key or "none",
            default_headers={"Authorization": key} if key.lower().startswith("basic ") else None,
            base_url=self._address,
            timeout=timeout,
            max_retries=0,
            http_client=httpx2.AsyncClient(
                # without a transport the client would set up every proxy of the environment, used or not
                transport=httpx2.AsyncHTTPTransport(
                    # the engine limits concurrency; a second limit here would use up a call's time limit
                    limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
                    proxy=None if self._proxy is None else self._proxy.url.get_secret_value(),
                ),
                timeout=timeout,
                follow_redirects=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                event_hooks={"request": [ask_for_plain], "response": [bound]},
            ),
        )

    def _read_key(self) -> SecretStr:
        name = self._options.api_key_env
        key = SecretStr(os.environ.get(name, "").strip())
        if not _can_be_sent(key):
            raise AuthenticationError(f"The key in {name} holds an invalid character, such as a line break.")
        if not key.get_secret_value() and self._address is None:
            raise AuthenticationError(
                f"There is no key for OpenAI: put it into the environment variable {name}, "
                "or name a server of your own (`mllm.base_url`)."
            )
        return key

    def _request(self, call: Call) -> dict[str, Any]:
        options = self._options
        limit = options.limit_parameter
        if limit == "auto":
            limit = "max_completion_tokens" if self._address is None else "max_tokens"
        request: dict[str, Any] = {
            "model": options.model,
            "messages": [{"role": "user", "content": self._content(call)}],
            limit: call.decoding.max_new_tokens,
        }
        if options.send_temperature:
            request["temperature"] = call.decoding.temperature
        return request | dict(options.extra_body)

    def _content(self, call: Call) -> str | list[dict[str, Any]]:
        picture = call.picture
        if picture is None:
            return call.prompt
        image = {"url": f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode('ascii')}"}
        if self._options.detail != "auto":
            image["detail"] = self._options.detail
        return [{"type": "image_url", "image_url": image}, {"type": "text", "text": call.prompt}]

    def _end(self, completion: object, limit: int) -> Answer | BackendError:
        if isinstance(completion, str):  # of another content type, but it may be JSON
            completion = _parsed(completion)
        if (error := error_within(completion)) is not None:
            return classify_within(error, secret=self._key.get_secret_value(), server=self._server)
        return self._read(completion, limit)

    def _read(self, completion: object, limit: int) -> Answer | BackendError:
        choices = _field(completion, "choices")
        if not isinstance(choices, list) or not choices:
            return ProtocolError(f"{self._server}: the response holds no choices: {self._shown(completion)}")
        message, usage = _field(choices[0], "message"), _field(completion, "usage")
        content = read_content(message, usage) if isinstance(message, dict) else None
        if content is None:
            return ProtocolError(f"{self._server}: the response holds no text: {self._shown(choices[0])}")
        if content.refusal:
            return RefusedAnswerError(f"the model declined: {self._shown(content.refusal)}")
        reason, tokens = _field(choices[0], "finish_reason"), _count(usage, "completion_tokens")
        ending, says = ending_of(reason, tokens, limit)
        if not isinstance(ending, str):
            return ending(f"{self._server}: {says} (finish_reason {self._shown(reason)})")
        text = content.text
        if text and repeats_request(text, self._key.get_secret_value()):
            return ProtocolError(f"{self._server}: the answer repeats the request, with its key or its picture")
        if content.reasoned and not text.strip():
            # as a server without a reasoning parser sends it
            text = "<think>" if ending == "length" else "<think></think>"
        return Answer(
            text=text, finish_reason=ending, prompt_tokens=_count(usage, "prompt_tokens"), completion_tokens=tokens
        )

    def _shown(self, thing: object) -> str:
        text = thing if isinstance(thing, str) else repr(thing)
        return scrub(text, self._key.get_secret_value())


@dataclass(frozen=True, slots=True)
class _Failed:
    """The failure of a check's request."""

    error: BackendError
    status: int | None
    unreachable: bool
    """No connection: refused, unknown host, or TLS failure."""
    names_no_model: bool
    """The server says that it has no such model."""

    @classmethod
    def of(cls, error: Exception, classified: BackendError) -> "_Failed":
        kinds = {base.__name__ for cause in _chain(error) for base in type(cause).__mro__}
        status = getattr(error, "status_code", None)
        said = str(getattr(error, "body", None) or error)
        return cls(
            classified,
            status,
            unreachable=status is None and not kinds.isdisjoint(_NO_CONNECTION),
            names_no_model=status == 404 or (status in (400, 422) and _NO_MODEL.search(said) is not None),
        )


@dataclass(frozen=True, slots=True)
class _OpenClient:
    client: "AsyncOpenAI"
    lifeline: AsyncGenerator[None, None]


async def _lifeline(client: "AsyncOpenAI", key: SecretStr) -> AsyncGenerator[None, None]:
    # an event loop that ends closes its open generators, and with this one the connections
    with scrubbed_logs(key):
        try:
            yield
        finally:
            await client.close()


def _address_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        return "an address has http:// or https:// and a host, as http://localhost:8000/v1"
    if parts.path.rstrip("/").endswith(_QUESTIONS):
        return f"leave out {_QUESTIONS}: the address ends before it, mostly with /v1"
    if parts.username or parts.password:
        return "keep credentials out of the address: name their variable in `api_key_env`"
    return None


def _can_be_sent(key: SecretStr) -> bool:
    return key.get_secret_value().isascii() and key.get_secret_value().isprintable()


def _bare(error: asyncio.CancelledError) -> asyncio.CancelledError:
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _names(listed: object) -> list[str]:
    """Return the names in a list of models."""
    if isinstance(listed, str):
        listed = _parsed(listed)
    entries = _field(listed, "data")
    names = [_field(entry, "id") for entry in entries] if isinstance(entries, list) else []
    return [name for name in names if isinstance(name, str) and name]


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _field(thing: object, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else None


def _count(usage: object, name: str) -> int | None:
    count = _field(usage, name)
    return count if type(count) is int and 0 <= count < _MOST_TOKENS else None
