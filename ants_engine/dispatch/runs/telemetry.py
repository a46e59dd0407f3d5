"""OpenTelemetry spans and metrics. They go nowhere unless the application has configured a provider."""

import logging
import time
from collections.abc import Mapping
from typing import Any, Self

from opentelemetry.metrics import Meter, get_meter
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, get_tracer

from ants_engine.common.versions import installed_versions
from ants_engine.dispatch.request import Outcome, Request
from ants_engine.errors import TruncatedAnswerError
from ants_engine.protocol import JSON, Answer

_LOG = logging.getLogger("ants_engine.dispatch")
_SCOPE, _DISTRIBUTION = "ants_engine", "ants-engine"
# the bucket boundaries that the GenAI conventions advise
_SECONDS = [0.01 * 2**power for power in range(14)]
_TOKENS = [4**power for power in range(14)]


class Telemetry:
    """An `Observer` that follows OpenTelemetry's GenAI conventions (as of semantic conventions 0.66).

    A client span ``chat <model>`` for each call to the backend, below the span that was current when the request was
    submitted; the metrics ``gen_ai.client.operation.duration`` (s), ``gen_ai.client.token.usage`` and ``ants.requests``
    (by ``ants.source`` and ``ants.ending``). No prompt, no answer and no picture is in any attribute.
    """

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        """Report to these; see `of_application`."""
        self._tracer = tracer
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._requests = meter.create_counter(
            "ants.requests", unit="{request}", description="Requests that ended, by source and ending."
        )
        self._common: dict[str, Any] = {"gen_ai.operation.name": "chat"}
        self._name = "chat"

    @classmethod
    def of_application(cls) -> Self | None:
        """Report to the application's providers; None where they cannot be loaded, which is logged."""
        own = installed_versions([_DISTRIBUTION]).get(_DISTRIBUTION)
        try:
            return cls(get_tracer(_SCOPE, own), get_meter(_SCOPE, own or ""))
        except Exception as error:
            # a provider that the environment names may raise anything, and must not cost a run
            _LOG.warning("OpenTelemetry cannot be used (%s); the run goes on without it", type(error).__name__)
            return None

    def begin(self, facts: Mapping[str, JSON]) -> None:
        """Take the provider's and the model's name for all that follows."""
        identity = facts.get("identity")
        model = facts.get("model") or (identity.get("model") if isinstance(identity, dict) else None)
        provider = facts.get("backend")
        if isinstance(provider, str) and provider:
            self._common["gen_ai.provider.name"] = provider
        if isinstance(model, str) and model:
            self._common["gen_ai.request.model"] = model
            self._name = f"chat {model}"

    def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
        """Report a call as a span and in the histograms; the current context is that of the submission."""
        end = time.time_ns()
        common = self._common
        failure = type(ending).__name__ if isinstance(ending, Exception) else None
        ended = common if failure is None else {**common, "error.type": failure}
        attributes: dict[str, Any] = {
            **ended,
            "gen_ai.request.max_tokens": request.decoding.max_new_tokens,
            "gen_ai.request.temperature": float(request.decoding.temperature),
            "ants.task": request.task,
            "ants.template": request.template,
            "ants.request.key": request.key,
            "ants.attempt": attempt,
        }
        if isinstance(ending, Answer):
            attributes["gen_ai.response.finish_reasons"] = (ending.finish_reason,)
            for kind, tokens in (("input", ending.prompt_tokens), ("output", ending.completion_tokens)):
                if tokens is not None:
                    attributes[f"gen_ai.usage.{kind}_tokens"] = tokens
                    self._tokens.record(tokens, {**common, "gen_ai.token.type": kind})
        elif isinstance(ending, TruncatedAnswerError):
            attributes["gen_ai.response.finish_reasons"] = ("length",)
        span = self._tracer.start_span(
            self._name, kind=SpanKind.CLIENT, attributes=attributes, start_time=end - int(seconds * 1e9)
        )
        if failure is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)
        self._duration.record(seconds, ended)

    def ended(self, outcome: Outcome) -> None:
        """Count a request."""
        ending = "answer" if outcome.error is None else type(outcome.error).__name__
        attributes = {"ants.task": outcome.request.task, "ants.source": outcome.source, "ants.ending": ending}
        self._requests.add(1, attributes)

    def event(self, kind: str, **facts: JSON) -> None:
        """Do nothing: the conventions have no events for it."""

    def close(self, ending: str) -> None:
        """Do nothing: the application flushes its providers."""
