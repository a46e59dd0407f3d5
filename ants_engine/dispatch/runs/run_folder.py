"""The run folder: what a run was asked to do, how each request ended, and what happened on the way."""

import os
import platform
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ants_engine.common.versions import installed_versions
from ants_engine.dispatch.outcome import Outcome
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.runs.redaction import Redactor
from ants_engine.dispatch.runs.run_writer import EVENTS, RESPONSES, RunWriter
from ants_engine.protocol import JSON, Answer
from ants_engine.settings.config import Settings

FORMAT, VERSION = "ants-run", 1
PACKAGES = (
    *("ants-engine", "torch", "torchvision", "open_clip_torch", "transformers", "openai", "httpx2"),
    *("pydantic", "tenacity", "diskcache", "numpy", "pillow"),
)


class RunFolder:
    """An `Observer` that keeps a run's record in a folder ``<root>/<UTC time>-<6 hex>/``, for ``ants run show``.

    - ``run.json``: settings (secrets masked), versions, the model's identity, templates' digests; start, end, ending,
      totals. Written at the start with ``ending`` null, and again at the end.
    - ``responses.jsonl``: a line per request: key, task, template, picture's digest, attempts, seconds, tokens, where
      from, and ``answer`` or the error's class and message. About 350 bytes each, so 18 MB for 50,000 requests.
    - ``events.jsonl``: a line per event, and one (about 200 bytes) for each call to the backend that failed.

    No picture, no prompt and no answer is in it: those are in the response store. Old folders are not deleted.
    A folder that cannot be written is one warning in the log, and costs no answer.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        """Prepare; nothing is written before `begin`.

        Args:
            root: folder of run folders, made if need be.
            settings: what the run was asked to do.
        """
        self._redactor = Redactor()
        self._settings = settings
        self._root = root
        self._writer: RunWriter | None = None
        self._started = 0.0
        self._templates: dict[str, str] = {}
        self._totals: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._failed_attempts: Counter[str] = Counter()
        self._first_answer: float | None = None

    @property
    def path(self) -> Path | None:
        """The folder, once the run has begun. It is made on another thread, shortly after."""
        return None if self._writer is None else self._writer.path

    def begin(self, facts: Mapping[str, JSON]) -> None:
        """Start the folder."""
        now = datetime.now(UTC)
        self._started = time.monotonic()
        given = self._redactor.settings(facts)

        def record() -> dict[str, Any]:
            settings = self._settings.model_dump(mode="json", fallback=lambda value: f"[{type(value).__name__}]")
            return {
                "format": FORMAT,
                "version": VERSION,
                "start": now.isoformat(),
                "end": None,
                "ending": None,
                "process": os.getpid(),
                "host": platform.node(),
                "platform": platform.platform(),
                "versions": installed_versions(PACKAGES),
                "facts": given,
                "settings": self._redactor.settings(settings),
            }

        stem = f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z"
        self._writer = RunWriter(self._root, stem, record)
        self._writer.start()

    def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
        """Count a call to the backend; one that failed is an event."""
        self._totals["attempts"] += 1
        if isinstance(ending, Exception):
            kind = type(ending).__name__
            self._failed_attempts[kind] += 1
            self._event(
                "attempt_failed",
                {
                    "key": request.key,
                    "attempt": attempt,
                    "seconds": round(seconds, 4),
                    "error": kind,
                    "message": self._redactor.text(str(ending)),
                },
            )

    def ended(self, outcome: Outcome) -> None:
        """Write a request's line."""
        if self._writer is None:
            return
        request, answer, error = outcome.request, outcome.answer, outcome.error
        if request.template not in self._templates:
            self._templates[request.template] = request.template_sha256
            self._event("template", {"template": request.template, "sha256": request.template_sha256})
        line: dict[str, Any] = {
            "at": self._now(),
            "key": request.key,
            "task": request.task,
            "template": request.template,
            "picture": request.picture_sha256,
            "source": outcome.source,
            "attempts": outcome.attempts,
            "seconds": round(outcome.seconds, 4),
        }
        self._totals["ended"] += 1
        if answer is not None:
            line["ending"] = "answer"
            line["prompt_tokens"] = answer.prompt_tokens
            line["completion_tokens"] = answer.completion_tokens
            self._count(answer, outcome.source)
        else:
            line["ending"] = kind = type(error).__name__
            line["message"] = self._redactor.text(str(error))
            self._failed[kind] += 1
        self._writer.put(RESPONSES, line)

    def event(self, kind: str, **facts: JSON) -> None:
        """Write an event's line."""
        self._event(kind, self._redactor.facts(facts))

    def close(self, ending: str) -> None:
        """Write what waits and how it ended, and end the thread."""
        if self._writer is None:
            return
        self._writer.close(
            {
                "end": datetime.now(UTC).isoformat(),
                "ending": self._redactor.text(ending),
                "seconds": self._now(),
                "templates": self._templates,
                "totals": {
                    **{name: self._totals[name] for name in ("ended", "answered", "from_store", "attempts")},
                    **{name: self._totals[name] for name in ("prompt_tokens", "completion_tokens")},
                    "failed": dict(self._failed),
                    "failed_attempts": dict(self._failed_attempts),
                    "first_answer": self._first_answer,
                },
            }
        )

    def _count(self, answer: Answer, source: str) -> None:
        if self._first_answer is None:
            self._first_answer = self._now()
        self._totals["answered"] += 1
        if source == "store":
            self._totals["from_store"] += 1
            return
        # tokens of this run: those of an answer from the store were paid for by an earlier one
        self._totals["prompt_tokens"] += answer.prompt_tokens or 0
        self._totals["completion_tokens"] += answer.completion_tokens or 0

    def _event(self, kind: str, facts: Mapping[str, JSON]) -> None:
        if self._writer is not None:
            time_ = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._writer.put(EVENTS, {"at": self._now(), "time": time_, "kind": kind, "facts": dict(facts)})

    def _now(self) -> float:
        return round(time.monotonic() - self._started, 4)
