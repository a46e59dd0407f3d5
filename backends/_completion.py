"""Reads a choice of a chat completion: its text, and whether it is complete. One table for all finish reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ants_engine.errors import (
    BackendError,
    BackendUnavailableError,
    OverloadedError,
    ProtocolError,
    RefusedAnswerError,
    TruncatedAnswerError,
)

Ending: TypeAlias = Literal["stop", "length"] | type[BackendError]
"""A complete answer, a truncated one, or the error to raise."""

_SPELLED: tuple[tuple[Ending, str, str], ...] = (
    (
        "stop",
        "",
        "stop stopped eos eos_token eos_found eosfound end_turn end_of_turn end_of_text endoftext end stop_sequence "
        "stop_str stop_string_found stopstringfound stop_token complete completed finish finished done normal",
    ),
    (
        "length",
        "",
        "length max_tokens max_token max_length max_new_tokens max_output_tokens max_completion_tokens maximum_tokens "
        "maxpredictedtokensreached limit token_limit token_limit_reached model_length error_limit incomplete "
        "model_context_window_exceeded context_window_exceeded context_length_exceeded context_length "
        "contextlengthreached",
    ),
    (TruncatedAnswerError, "the server stopped a repetitive answer", "repetition repetition_detected"),
    (
        RefusedAnswerError,
        "the content filter cut the answer",
        "content_filter content_filtered filtered safety recitation language blocklist prohibited_content spii "
        "image_safety image_prohibited_content image_recitation guardrail_intervened sensitive error_toxic moderation "
        "refusal refused blocked",
    ),
    (
        BackendUnavailableError,
        "the server aborted the answer",
        "error abort aborted cancel canceled cancelled user_cancel userstopped network_error timeout time_limit "
        "preempted failed failure internal_error server_error not_finished in_progress load unload modelunloaded "
        "other malformed_model_output",
    ),
    (OverloadedError, "the server aborted the answer", "insufficient_system_resource overloaded model_overloaded"),
    (
        ProtocolError,
        "the answer is a tool call, and no tool was offered",
        "tool_calls tool_call tool_use toolcalls function_call malformed_function_call unexpected_tool_call pause_turn",
    ),
)

FINISH_REASONS: Mapping[str, tuple[Ending, str]] = {
    word: (ending, says) for ending, says, words in _SPELLED for word in words.split()
}
"""What servers send as ``finish_reason``, in lower case, and what it means. Others are errors."""

_TEXT = {None, "text", "output_text"}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")


@dataclass(frozen=True, slots=True)
class Content:
    """A message's content in parts."""

    text: str
    """Its text parts, joined."""
    reasoned: bool = False
    """It holds reasoning besides the text."""
    refusal: str = ""
    """The text of the ``refusal`` field."""


def ending_of(reason: object, tokens: int | None, limit: int) -> tuple[Ending, str]:
    """Return what a finish reason means, and a message if that is an error.

    Some servers send no reason (absent, ``null`` or empty). Such an answer counts as complete unless the server's own
    token count has reached the limit.

    Args:
        reason: as received.
        tokens: the server's count of the answer's tokens, if it gave one.
        limit: how many were allowed.
    """
    if isinstance(reason, Mapping):
        reason = reason.get("type")
    if reason is None or reason == "":
        return ("length" if tokens is not None and tokens >= limit else "stop"), ""
    word = str(reason).strip().casefold().rpartition(".")[2].removeprefix("finish_reason_").replace("-", "_")
    return FINISH_REASONS.get(word, (ProtocolError, "the answer ended with an unknown finish reason"))


def read_content(message: Mapping[str, Any], usage: object) -> Content | None:
    """Split a message into its parts; None when its content is malformed.

    Args:
        message: an assistant's, with ``content`` as a text, a list of parts, or nothing.
        usage: the completion's; it may count tokens of hidden reasoning.
    """
    content = message.get("content")
    refusal = message.get("refusal")
    refusals = [refusal] if isinstance(refusal, str) else []
    reasoned = any(message.get(name) for name in _THOUGHTS) or _hidden_reasoning(usage)
    texts: list[str] = []
    for part in content if isinstance(content, list) else [] if content is None else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, dict):
            text = text.get("value")
        if kind in _TEXT and isinstance(text, str):
            texts.append(text)
        elif kind == "refusal":
            refusals.append(str(part.get("refusal") or ""))
        elif isinstance(kind, str) and kind not in _TEXT:
            # skip pictures, citations and the like
            reasoned |= "think" in kind or "reason" in kind
        else:
            return None
    return Content("".join(texts), bool(reasoned), " ".join(refusals).strip())


def _hidden_reasoning(usage: object) -> bool:
    details = usage.get("completion_tokens_details") if isinstance(usage, Mapping) else None
    tokens = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    return isinstance(tokens, int) and tokens > 0
