"""OpenTelemetry, with the real SDK and its exporters in memory."""

import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.request import Outcome
from ants_engine.dispatch.runs.telemetry import Telemetry
from ants_engine.errors import RateLimitError, TruncatedAnswerError
from ants_engine.protocol import Answer, Call
from tests.support.runs import FACTS, answered, failed
from tests.unit.dispatch.fakes import PICTURE, FakeBackend, make_request, make_settings, no_sleep

COMMON = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "tiny"}
ROOT = Path(__file__).parents[4]


class Sdk:
    """Providers of a test's own, and what reached them."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracer = self.tracers.get_tracer("tests")

    def telemetry(self) -> Telemetry:
        return Telemetry(self.tracer, self.meters.get_meter("tests"))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        data = self.reader.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return [(dict(point.attributes or {}), point) for metric in found for point in metric.data.data_points]


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    made = Sdk()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


def test_a_call_that_was_answered_is_a_span(sdk: Sdk) -> None:
    telemetry = sdk.telemetry()
    telemetry.begin(FACTS)
    request = make_request()
    telemetry.attempted(request, 2, 0.25, Answer("hidden", "stop", 10, 3))
    (span,) = sdk.spans
    assert (span.name, span.kind, span.status.status_code) == ("chat tiny", SpanKind.CLIENT, StatusCode.UNSET)
    assert span.end_time is not None
    assert span.start_time is not None
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(0.25)
    assert span.parent is None
    assert dict(span.attributes or {}) == {
        **COMMON,
        "gen_ai.request.max_tokens": 16,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "ants.task": "vsnl",
        "ants.template": "vsnl/v1",
        "ants.request.key": request.key,
        "ants.attempt": 2,
    }


def test_a_call_that_failed_is_a_span_with_its_error_and_no_word_of_it(sdk: Sdk) -> None:
    telemetry = sdk.telemetry()
    telemetry.begin(FACTS)
    telemetry.attempted(make_request(), 1, 0.25, RateLimitError("secret words"))
    telemetry.attempted(make_request(), 2, 0.25, TruncatedAnswerError("cut"))
    first, second = sdk.spans
    assert first.status.status_code == second.status.status_code == StatusCode.ERROR
    assert (first.attributes or {})["error.type"] == "RateLimitError"
    assert (second.attributes or {})["gen_ai.response.finish_reasons"] == ("length",)
    assert "secret words" not in first.to_json()
    assert first.events == ()


def test_metrics(sdk: Sdk) -> None:
    telemetry = sdk.telemetry()
    telemetry.begin(FACTS)
    request = make_request()
    for _ in range(2):
        telemetry.attempted(request, 1, 0.25, Answer("hidden", "stop", 10, 3))
    telemetry.attempted(request, 1, 0.5, RateLimitError("too fast"))
    for outcome in (answered(1), answered(2), answered(3, source="store"), failed(4)):
        telemetry.ended(outcome)
    durations = {
        each.get("error.type"): (each, point) for each, point in sdk.points("gen_ai.client.operation.duration")
    }
    assert durations[None][0] == COMMON
    assert (durations[None][1].count, durations[None][1].sum) == (2, 0.5)
    assert durations["RateLimitError"][1].sum == 0.5
    # the boundaries of the conventions
    assert durations[None][1].explicit_bounds[:3] == (0.01, 0.02, 0.04)
    assert durations[None][1].explicit_bounds[-1] == 81.92
    tokens = {each["gen_ai.token.type"]: point.sum for each, point in sdk.points("gen_ai.client.token.usage")}
    assert tokens == {"input": 20, "output": 6}
    requests = {(each["ants.source"], each["ants.ending"]): point.value for each, point in sdk.points("ants.requests")}
    assert requests == {("backend", "answer"): 2, ("store", "answer"): 1, ("backend", "RefusedAnswerError"): 1}


def test_the_names_are_those_of_the_conventions() -> None:
    with warnings.catch_warnings():
        # the GenAI names are marked as moved to a repository of their own; they are the same there
        warnings.simplefilter("ignore", DeprecationWarning)
        from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
        from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
        from opentelemetry.semconv.attributes import error_attributes
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    known |= {value for name, value in vars(gen_ai_metrics).items() if name.startswith("GEN_AI_")}
    known.add(error_attributes.ERROR_TYPE)
    sdk = Sdk()
    telemetry = sdk.telemetry()
    telemetry.begin(FACTS)
    telemetry.attempted(make_request(), 1, 0.25, Answer("hidden", "stop", 10, 3))
    telemetry.attempted(make_request(), 1, 0.25, TruncatedAnswerError("cut"))
    telemetry.ended(answered(1))
    used = {name for span in sdk.spans for name in span.attributes or {}}
    data = sdk.reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        used.add(metric.name)
        used |= {name for point in metric.data.data_points for name in point.attributes or {}}
    assert len(used) > 15
    assert {name for name in used if not name.startswith("ants.")} <= known
    sdk.tracers.shutdown()
    sdk.meters.shutdown()


async def test_spans_lie_below_the_span_of_the_submission(sdk: Sdk, tmp_path: Path) -> None:
    tries = {"a": 0, "b": 0}

    def act(call: Call) -> Answer:
        tries[call.prompt] += 1
        if tries[call.prompt] == 1:
            raise RateLimitError("too fast")
        return Answer("hidden answer")

    settings = make_settings(tmp_path / "store", runs=tmp_path / "runs")
    telemetry = sdk.telemetry()
    async with Coordinator(settings, backend=FakeBackend(act), observers=[telemetry], sleep=no_sleep) as coordinator:
        tasks = {}
        for name in tries:
            with sdk.tracer.start_as_current_span(f"build {name}"):
                request = make_request(name, picture_sha256=PICTURE.sha256, picture=PICTURE)
                tasks[name] = coordinator.submit(request)
        outcomes: dict[str, Outcome] = {name: await task for name, task in tasks.items()}
    spans = {span.context.span_id: span for span in sdk.spans if span.context is not None}
    for name, outcome in outcomes.items():
        ours = [each for each in sdk.spans if (each.attributes or {}).get("ants.request.key") == outcome.request.key]
        assert [(each.attributes or {})["ants.attempt"] for each in ours] == [1, 2]
        assert [each.parent and spans[each.parent.span_id].name for each in ours] == [f"build {name}"] * 2
    everything = "".join(span.to_json() for span in sdk.spans)
    assert "hidden answer" not in everything
    assert "too fast" not in everything
    requests = [(each["ants.ending"], point.value) for each, point in sdk.points("ants.requests")]
    assert requests == [("answer", 2)]


def test_without_a_provider_spans_and_metrics_go_nowhere() -> None:
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    telemetry = Telemetry.of_application()
    assert telemetry is not None
    telemetry.begin(FACTS)
    telemetry.attempted(make_request(), 1, 0.25, Answer("hidden", "stop", 10, 3))
    telemetry.ended(answered(1))
    assert not trace.get_current_span().is_recording()


def python(code: str, **environment: str) -> str:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_provider_named_in_the_environment_that_is_not_there_costs_nothing() -> None:
    code = "from ants_engine.dispatch.runs.telemetry import Telemetry\nprint(Telemetry.of_application())"
    assert python(code, OTEL_PYTHON_TRACER_PROVIDER="nowhere") == "None"


def test_a_provider_that_the_application_has_set_is_used() -> None:
    code = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from ants_engine.dispatch.runs.telemetry import Telemetry
    from ants_engine.protocol import Answer
    from tests.unit.dispatch.fakes import make_request

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    telemetry = Telemetry.of_application()
    telemetry.begin({"model": "", "identity": {"model": "tiny"}})
    telemetry.attempted(make_request(), 1, 0.5, Answer("hidden"))
    (span,) = exporter.get_finished_spans()
    print(span.name, span.instrumentation_scope.name)
    """
    assert python(code) == "chat tiny ants_engine"
