"""From a question to the text that a model reads: the chat template, and prompts as data in it."""

import re
from typing import Any, TypeAlias

from ants_engine.errors import BadRequestError, ModelNotFoundError
from ants_engine.protocol import Call

from ._one_line import one_line
from ._weights import WAYS_OUT

RENDERING = 1
"""Part of the identity: how a call becomes the model's input. Raised when that changes."""

Content: TypeAlias = str | list[dict[str, str]]

_PROBE = "ants probe"


class Chat:
    """Renders calls with a model's chat template."""

    def __init__(self, name: str, processor: Any, tokenizer: Any) -> None:
        """Find the template and what it can take.

        Raises:
            ModelNotFoundError: there is no template, or it loses what the user says.
        """
        self._processor = processor
        self._template = _chat_template(name, processor, tokenizer)
        self._control_tokens = _control_tokens(processor, tokenizer)
        # Some templates read a message's text as a list of parts, some as a string; the other kind is lost in silence.
        parts: Content = [{"type": "text", "text": _PROBE}]
        self._in_parts, problem = self._keeps(parts)
        if not self._in_parts:
            kept, problem = self._keeps(_PROBE)
            if not kept:
                raise ModelNotFoundError(
                    f"The chat template of the model {name!r} cannot be used: {problem}. {WAYS_OUT}"
                )
        self._with_picture, self._picture_problem = self._keeps([{"type": "image"}, *parts])

    def render(self, call: Call) -> str:
        """Write the conversation up to where the model goes on.

        Raises:
            BadRequestError: the template takes no pictures, and this call has one.
        """
        prompt = _defuse(call.prompt, self._control_tokens)
        part = {"type": "text", "text": prompt}
        if call.picture is None:
            return self._apply([part] if self._in_parts else prompt)
        if not self._with_picture:
            raise BadRequestError(f"the model's chat template takes no pictures: {self._picture_problem}")
        return self._apply([{"type": "image"}, part])

    def _keeps(self, content: Content) -> tuple[bool, str]:
        try:
            kept = _PROBE in self._apply(content)
        except Exception as error:  # a template raises what it likes
            return False, one_line(error)
        return kept, "" if kept else "it drops the user's text"

    def _apply(self, content: Content) -> str:
        messages = [{"role": "user", "content": content}]
        return str(
            self._processor.apply_chat_template(
                messages, chat_template=self._template, add_generation_prompt=True, tokenize=False
            )
        )


def _chat_template(name: str, processor: Any, tokenizer: Any) -> str:
    for owner in (processor, tokenizer):
        template = getattr(owner, "chat_template", None)
        if isinstance(template, dict):
            template = template.get("default")
        if template:
            return str(template)
    raise ModelNotFoundError(
        f"The model {name!r} has no chat template: put one beside the weights as chat_template.jinja. {WAYS_OUT}"
    )


def _control_tokens(processor: Any, tokenizer: Any) -> "re.Pattern[str] | None":
    tokens = {str(token) for token in tokenizer.all_special_tokens}
    tokens |= {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    tokens |= {
        str(getattr(processor, name)) for name in ("image_token", "video_token") if getattr(processor, name, None)
    }
    # A token that is a plain word may well be meant as that word.
    marked = [token for token in tokens if len(token) > 1 and not token.isalnum()]
    return re.compile("|".join(map(re.escape, sorted(marked, key=len, reverse=True)))) if marked else None


def _defuse(prompt: str, control_tokens: "re.Pattern[str] | None") -> str:
    """Take the meaning out of control tokens in a prompt: names and texts in it are data."""
    if control_tokens is None:
        return prompt
    return control_tokens.sub(lambda match: f"{match[0][0]} {match[0][1:]}", prompt)
