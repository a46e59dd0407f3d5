"""What the models of a family share and their files do not say: how they are asked, and whether without a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NEEDS_PICTURE = frozenset({"blip", "blip-2", "instructblip", "instructblipvideo", "paligemma"})
"""Values of ``model_type`` that cannot be asked without a picture."""


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a family reads a question where its folder brings no chat template. ``{}`` is the question."""

    shown: str
    """With a picture."""
    text: str
    """Without one."""

    def render(self, prompt: str, *, picture: bool) -> str:
        """Write one question up to where the model goes on."""
        return (self.shown if picture else self.text).replace("{}", prompt)


_FORMATS: Mapping[str, PromptFormat] = {
    "llava": PromptFormat("USER: <image>\n{} ASSISTANT:", "USER: {} ASSISTANT:"),
    "blip-2": PromptFormat("Question: {} Answer:", "Question: {} Answer:"),
    "instructblip": PromptFormat("{}", "{}"),
}
"""As the models' authors published them. A change here raises `_chat.RENDERING`."""


def prompt_format(config: Any, tokenizer: Any) -> PromptFormat | None:
    """Tell a family's published prompt format, or None where it is not certain which one a model was trained with.

    Args:
        config: the model's transformers configuration.
        tokenizer: the model's tokenizer.
    """
    if config.model_type == "llava" and not _is_llava_1_5(config, tokenizer):
        return None
    return _FORMATS.get(config.model_type)


def _is_llava_1_5(config: Any, tokenizer: Any) -> bool:
    # Many models share the architecture; one whose tokenizer has marks for turns was trained with those.
    usual = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.pad_token, "<image>"}
    own = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special} - usual
    return (
        config.text_config.model_type == "llama" and config.vision_config.model_type == "clip_vision_model" and not own
    )
