"""From a question to the text that a model reads: a chat template or a published format, and prompts as data in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ants_engine.errors import BadRequestError, ModelNotFoundError
from ants_engine.protocol import Call

from ._scrub import one_line
from ._weights import WAYS_OUT

NEEDS_PICTURE = frozenset({"blip", "blip-2", "instructblip", "instructblipvideo", "paligemma"})
"""Values of ``model_type`` that cannot answer without a picture."""


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a family is prompted when its folder has no chat template. ``{}`` is the question."""

    shown: str
    """With a picture."""
    text: str
    """Without one."""

    def render(self, prompt: str, *, picture: bool) -> str:
        """Render a prompt up to where the model continues."""
        return (self.shown if picture else self.text).replace("{}", prompt)


_FORMATS: Mapping[str, PromptFormat] = {
    "llava": PromptFormat("USER: <image>\n{} ASSISTANT:", "USER: {} ASSISTANT:"),
    "blip-2": PromptFormat("Question: {} Answer:", "Question: {} Answer:"),
    "instructblip": PromptFormat("{}", "{}"),
}
"""As the authors published them. Raise `RENDERING` with a change."""


def prompt_format(config: Any, tokenizer: Any) -> PromptFormat | None:
    """Return a family's published prompt format, or None when it is not certain what a model was trained with.

    Args:
        config: the model's transformers configuration.
        tokenizer: the model's tokenizer.
    """
    if config.model_type == "llava" and not _is_llava_1_5(config, tokenizer):
        return None
    return _FORMATS.get(config.model_type)


def _is_llava_1_5(config: Any, tokenizer: Any) -> bool:
    # many models share the architecture; one whose tokenizer has turn markers was trained with those
    usual = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.pad_token, "<image>"}
    own = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special} - usual
    return (
        config.text_config.model_type == "llama" and config.vision_config.model_type == "clip_vision_model" and not own
    )


RENDERING = 2
"""Version of how a call becomes the model's input; part of the identity. Raise it with every change."""

Content: TypeAlias = str | list[dict[str, str]]

_PROBE = "ants probe"


class Chat:
    """Renders calls with a model's chat template, or, without one, with its family's format."""

    def __init__(self, name: str, processor: Any, tokenizer: Any, published: PromptFormat | None = None) -> None:
        """Find the template and what it accepts.

        Args:
            name: what the user calls the model.
            processor: its processor.
            tokenizer: its tokenizer.
            published: the family's format, used without a template.

        Raises:
            ModelNotFoundError: there is no template or format, or the template drops the user's text.
        """
        self._processor = processor
        self._control_tokens = _control_tokens(processor, tokenizer)
        template = _chat_template(processor, tokenizer)
        self._format = published if template is None else None
        if self._format is not None:
            return
        if template is None:
            raise ModelNotFoundError(_no_template(name, processor))
        self._template = template
        # some templates read text as a list of parts, some as a string, and silently drop the other form
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
        """Render the conversation up to where the model continues.

        Raises:
            BadRequestError: the template takes no pictures, and the call has one.
        """
        prompt = _defuse(call.prompt, self._control_tokens)
        if self._format is not None:
            return self._format.render(prompt, picture=call.picture is not None)
        part = {"type": "text", "text": prompt}
        if call.picture is None:
            return self._apply([part] if self._in_parts else prompt)
        if not self._with_picture:
            raise BadRequestError(f"the model's chat template takes no pictures: {self._picture_problem}")
        return self._apply([{"type": "image"}, part])

    def _keeps(self, content: Content) -> tuple[bool, str]:
        try:
            kept = _PROBE in self._apply(content)
        except Exception as error:  # a template may raise anything
            return False, one_line(error)
        return kept, "" if kept else "it drops the user's text"

    def _apply(self, content: Content) -> str:
        messages = [{"role": "user", "content": content}]
        return str(
            self._processor.apply_chat_template(
                messages, chat_template=self._template, add_generation_prompt=True, tokenize=False
            )
        )


def _chat_template(processor: Any, tokenizer: Any) -> str | None:
    for owner in (processor, tokenizer):
        template = getattr(owner, "chat_template", None)
        if isinstance(template, dict):
            template = template.get("default")
        if template:
            return str(template)
    return None


def _no_template(name: str, processor: Any) -> str:
    image = str(getattr(processor, "image_token", "<image>"))
    example = (
        "{% for message in messages %}USER: {% for part in message.content %}{% if part.type == 'image' %}"
        f"{image}"
        "{% else %}{{ part.text }}{% endif %}{% endfor %} ASSISTANT:{% endfor %}"
    )
    return (
        f"The model {name!r} has no chat template, and it is not known how it was trained to be asked. Put a file "
        "chat_template.jinja beside its weights: copy it from the hub page of this model or of the one that it was "
        f"made from, or write one by the model card's example of a prompt, such as {example} {WAYS_OUT}"
    )


def _control_tokens(processor: Any, tokenizer: Any) -> "re.Pattern[str] | None":
    tokens = {str(token) for token in tokenizer.all_special_tokens}
    tokens |= {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    tokens |= {
        str(getattr(processor, name)) for name in ("image_token", "video_token") if getattr(processor, name, None)
    }
    # a token that is a plain word may be meant as that word
    marked = [token for token in tokens if len(token) > 1 and not token.isalnum()]
    return re.compile("|".join(map(re.escape, sorted(marked, key=len, reverse=True)))) if marked else None


def _defuse(prompt: str, control_tokens: "re.Pattern[str] | None") -> str:
    """Escape control tokens in a prompt (prompt injection): its names and texts are data."""
    if control_tokens is None:
        return prompt
    return control_tokens.sub(lambda match: f"{match[0][0]} {match[0][1:]}", prompt)
