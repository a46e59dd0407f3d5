"""The innermost responders: load the backend, limit an attempt in time, call, and check what comes back."""

import asyncio
import math
import re
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace

from ants_engine.common.canonical_json import excerpt
from ants_engine.dispatch.observer import Observer
from ants_engine.dispatch.request import Request, RequestProgress, Responder
from ants_engine.dispatch.storage.entry import MAX_ANSWER_CHARACTERS
from ants_engine.errors import (
    ANTSError,
    BackendError,
    BackendTimeoutError,
    BadRequestError,
    EmptyAnswerError,
    FinalBackendError,
    ImageUnreadableError,
    ProtocolError,
    RefusedAnswerError,
    TruncatedAnswerError,
    UsageError,
)
from ants_engine.method.final_part import final_part
from ants_engine.protocol import Answer, Backend, Call, Picture


class ReadyResponder:
    """Loads the backend once, with the first request that the store cannot answer and outside of its time limit."""

    def __init__(self, inner: Responder, backend: Backend) -> None:
        """Load ``backend`` before ``inner`` is asked."""
        self._inner = inner
        self._backend = backend
        self._turn = asyncio.Lock()
        self._ready = False
        self._failure: ANTSError | None = None

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Answer when the backend is loaded.

        Raises:
            UsageError: the backend cannot be loaded; the same for every request.
            FinalBackendError: loading raised an error of no `ANTSError` class, which is chained.
            ANTSError: what ``inner`` raises.
        """
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            if not self._ready:
                await self._load()
        return await self._inner.answer(request, progress)

    async def _load(self) -> None:
        try:
            await self._backend.load()
        except ANTSError as error:
            self._failure = error
            raise
        except Exception as error:
            name = type(self._backend).__name__
            self._failure = FinalBackendError(f"the backend {name} cannot be loaded: {type(error).__name__}")
            raise self._failure from error
        self._ready = True


@dataclass(eq=False)
class AttemptResponder:
    """Applies the time limit of an attempt, and the deadline of a request from its first attempt on.

    It stands inside of the gate, so waiting for a permit uses up no time. An attempt that sent nothing does not count.
    """

    inner: Responder
    _: KW_ONLY
    timeout: float
    """Seconds for one attempt."""
    deadline: float
    """Seconds for one request with its attempts and pauses."""
    observer: Observer
    clock: Callable[[], float] = time.monotonic

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Make one attempt.

        Raises:
            BackendTimeoutError: no answer within the attempt's limit or the request's deadline.
            ANTSError: what ``inner`` raises.
        """
        began = self.clock()
        if math.isinf(progress.end):
            progress.end = began + self.deadline
        before = progress.attempts
        progress.update(attempts=before + 1)
        progress.unsent = False
        progress.usage = (None, None)
        ending: Answer | Exception | None = None
        try:
            ending = await self._limited(request, progress, max(0.0, progress.end - began))
        except Exception as error:
            ending = error
            raise
        finally:
            if progress.unsent:
                progress.update(attempts=before)
            elif ending is not None:
                self.observer.attempted(request, progress.attempts, self.clock() - began, ending)
        return ending

    async def _limited(self, request: Request, progress: RequestProgress, left: float) -> Answer:
        try:
            async with asyncio.timeout(min(self.timeout, left)) as scope:
                return await self.inner.answer(request, progress)
        except TimeoutError as error:
            if not scope.expired():
                raise
            what = f"{self.timeout:g} s" if self.timeout <= left else "the request's deadline"
            raise BackendTimeoutError(f"no answer within {what}") from error


_SURROGATE = re.compile("[\ud800-\udfff]")


class BackendResponder:
    """Calls a backend. Only usable answers pass; an empty, refused or truncated one is an error.

    Of a truncated list the complete items pass, with ``finish_reason`` ``length``.
    """

    def __init__(self, backend: Backend) -> None:
        """Ask this backend."""
        self._backend = backend

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Ask once.

        Raises:
            BadRequestError: the backend takes no pictures, or needs one.
            ImageError: the picture cannot be read any more.
            EmptyAnswerError: the answer holds only blanks, reasoning, or the question.
            RefusedAnswerError: the MLLM refuses to answer.
            TruncatedAnswerError: the token limit cut the answer or its reasoning.
            ProtocolError: the backend returned no `Answer`.
            FinalBackendError: the backend raised an error of no `ANTSError` class, which is chained.
            BackendError: what the backend raised.
        """
        progress.answered, progress.unsent = False, True
        self._check_capabilities(request)
        picture = await self._picture(request)
        progress.unsent = False
        progress.update(phase="asking")
        try:
            came = await self._backend.generate(Call(request.prompt, picture, request.decoding))
            _check_form(came)
            progress.usage = (came.prompt_tokens, came.completion_tokens)
            answer = _checked(came, request)
            progress.answered = True
        except ANTSError as error:
            # a backend that cannot be used has sent nothing
            progress.unsent = isinstance(error, UsageError) or (isinstance(error, BackendError) and not error.sent)
            raise
        except Exception as error:
            # the text of another error may hold pictures or keys: only its class is named
            raise FinalBackendError(
                f"the backend {type(self._backend).__name__} raised {type(error).__name__}, "
                "which is none of ants_engine.errors: a defect of the backend"
            ) from error
        finally:
            progress.update(phase="waiting")
        return answer

    def _check_capabilities(self, request: Request) -> None:
        capabilities = self._backend.capabilities
        if request.picture_sha256 is not None and not capabilities.pictures:
            raise BadRequestError(f"task {request.task} shows a picture, and this backend takes text only")
        if request.picture_sha256 is None and not capabilities.text_only:
            raise BadRequestError(f"task {request.task} shows no picture, and this backend needs one")

    async def _picture(self, request: Request) -> Picture | None:
        try:
            return await request.fetch_picture()
        except ANTSError:
            raise
        except Exception as error:
            name = request.label or f"picture {(request.picture_sha256 or '')[:12]}…"
            raise ImageUnreadableError(name, f"reading it again failed with {type(error).__name__}") from error


def _check_form(answer: object) -> None:
    if not isinstance(answer, Answer) or not isinstance(answer.text, str):
        raise ProtocolError(f"the backend returned {type(answer).__name__}, not an Answer with text")
    for tokens in (answer.prompt_tokens, answer.completion_tokens):
        if tokens is not None and (type(tokens) is not int or tokens < 0):
            raise ProtocolError("the backend's token counts are not counts")
    if answer.finish_reason not in {"stop", "length"}:
        raise ProtocolError("the backend's finish_reason is neither 'stop' nor 'length'")


def _checked(answer: Answer, request: Request) -> Answer:
    if not answer.text.strip():
        raise EmptyAnswerError("the MLLM answered with nothing")
    final, cut = final_part(answer.text), answer.finish_reason == "length"
    has_final = final is not None and any(map(str.isalnum, final))
    if final is None or (cut and not has_final):
        raise TruncatedAnswerError(_cut_off(answer, request, reasoning=True))
    if not has_final and final != answer.text:
        raise EmptyAnswerError(
            "the MLLM returned reasoning and no answer; switch off its reasoning (mllm.extra_body), or the server's "
            "reasoning parser if that takes the answer for reasoning"
        )
    # the final part of a long answer is at its end
    text = answer.text if len(answer.text) <= MAX_ANSWER_CHARACTERS else final
    if request.judge is not None:
        verdict = request.judge(text, request.prompt, cut)
        if verdict is RefusedAnswerError:
            raise RefusedAnswerError(f"the MLLM declined to answer: {excerpt(final.strip())}")
        if verdict is EmptyAnswerError:
            raise EmptyAnswerError(f"the MLLM repeated the question and said nothing else: {excerpt(final.strip())}")
        text = verdict if isinstance(verdict, str) else ""
    if cut and (request.judge is None or not text):
        raise TruncatedAnswerError(_cut_off(answer, request))
    # lone surrogates come from careless JSON, and no tokenizer or file takes them
    text = _SURROGATE.sub("\ufffd", text[:MAX_ANSWER_CHARACTERS])
    return answer if text == answer.text else replace(answer, text=text)


def _cut_off(answer: Answer, request: Request, *, reasoning: bool = False) -> str:
    limit, used = request.decoding.max_new_tokens, answer.completion_tokens
    setting = f"{request.task.partition('_')[0]}.max_new_tokens"
    what = ", all of them reasoning" if reasoning else ""
    advice = "or switch the model's reasoning off (mllm.extra_body)" if reasoning else "or use another template"
    if used is not None and used < limit:
        return (
            f"the answer was cut off after {used} tokens{what}, before the limit of {limit} ({setting}): look at the "
            f"server's own limit and the length of the model's context, {advice}"
        )
    return f"the answer was cut off after {limit} tokens{what}; raise {setting} {advice}"
