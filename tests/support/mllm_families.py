"""The families of local models that people have, each as a tiny one of random weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import tiny_blip, tiny_idefics, tiny_llava_1_5, tiny_qwen_vl


@dataclass(frozen=True)
class Family:
    """How a family's tiny model is made, and what is special about it."""

    save: Callable[..., Path]
    """Writes the folder that it is given."""
    model_class: str
    """Its class in transformers."""
    text_only: bool = True
    """It can be asked without a picture."""

    def patched(self) -> Any:
        """Give the class, for a test that has something happen in it."""
        import transformers

        return getattr(transformers, self.model_class)


FAMILIES = {
    "llava-1.5": Family(tiny_llava_1_5.save_tiny_llava_1_5, "LlavaForConditionalGeneration"),
    "qwen2-vl": Family(tiny_qwen_vl.save_tiny_qwen2_vl, "Qwen2VLForConditionalGeneration"),
    "qwen2.5-vl": Family(tiny_qwen_vl.save_tiny_qwen2_5_vl, "Qwen2_5_VLForConditionalGeneration"),
    "qwen3-vl": Family(tiny_qwen_vl.save_tiny_qwen3_vl, "Qwen3VLForConditionalGeneration"),
    "idefics3": Family(tiny_idefics.save_tiny_idefics3, "Idefics3ForConditionalGeneration"),
    "smolvlm": Family(tiny_idefics.save_tiny_smolvlm, "SmolVLMForConditionalGeneration"),
    "blip-2": Family(tiny_blip.save_tiny_blip2, "Blip2ForConditionalGeneration", text_only=False),
    "blip-2-t5": Family(tiny_blip.save_tiny_blip2_t5, "Blip2ForConditionalGeneration", text_only=False),
    "instructblip": Family(tiny_blip.save_tiny_instructblip, "InstructBlipForConditionalGeneration", text_only=False),
}
