"""The MLLM of the world: a small LLaVA whose image tower starts as the CLIP's."""

import shutil
from pathlib import Path

import torch
from chat_words import END, IMAGE, LENGTH, PAD, START, TEMPLATE
from clip_model import MEAN, SIDE, STD, model_config
from open_clip import CLIP
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

VISION = model_config(0)["vision_cfg"]
PICTURE_TOKENS = (SIDE // VISION["patch_size"]) ** 2 + 1
"""Tokens that a picture takes in the text: its patches and the class token."""


def new_mllm(vocabulary: int) -> LlavaForConditionalGeneration:
    """An untrained LLaVA."""
    vision = CLIPVisionConfig(
        hidden_size=VISION["width"],
        intermediate_size=4 * VISION["width"],
        projection_dim=model_config(0)["embed_dim"],
        num_hidden_layers=VISION["layers"],
        num_attention_heads=VISION["width"] // VISION["head_width"],
        image_size=SIDE,
        patch_size=VISION["patch_size"],
        hidden_act="gelu",
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=PICTURE_TOKENS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=48, pad_token_id=PAD, bos_token_id=START, eos_token_id=END
    )
    return model


def tower_weights(clip: CLIP) -> dict[str, Tensor]:
    """The CLIP's image tower under the names of a transformers vision tower."""
    visual = clip.visual
    width = VISION["width"]
    found = {
        "embeddings.class_embedding": visual.class_embedding,
        "embeddings.patch_embedding.weight": visual.conv1.weight,
        "embeddings.position_embedding.weight": visual.positional_embedding,
        "pre_layrnorm.weight": visual.ln_pre.weight,
        "pre_layrnorm.bias": visual.ln_pre.bias,
        "post_layernorm.weight": visual.ln_post.weight,
        "post_layernorm.bias": visual.ln_post.bias,
    }
    for index, block in enumerate(visual.transformer.resblocks):
        name = f"encoder.layers.{index}"
        for place, part in enumerate(("q", "k", "v")):
            rows = slice(place * width, (place + 1) * width)
            found[f"{name}.self_attn.{part}_proj.weight"] = block.attn.in_proj_weight[rows]
            found[f"{name}.self_attn.{part}_proj.bias"] = block.attn.in_proj_bias[rows]
        pairs = {
            "self_attn.out_proj": block.attn.out_proj,
            "layer_norm1": block.ln_1,
            "layer_norm2": block.ln_2,
            "mlp.fc1": block.mlp.c_fc,
            "mlp.fc2": block.mlp.c_proj,
        }
        for target, module in pairs.items():
            found[f"{name}.{target}.weight"] = module.weight
            found[f"{name}.{target}.bias"] = module.bias
    return {name: value.detach().clone() for name, value in found.items()}


def start_from(model: LlavaForConditionalGeneration, clip: CLIP) -> None:
    """Give the MLLM the CLIP's image tower."""
    tower = model.model.vision_tower
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in tower.state_dict()) else ""
    tower.load_state_dict({prefix + name: value for name, value in tower_weights(clip).items()}, strict=True)


def processor_of(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """The processor: pictures squashed to the tower's size, prompts in the chat template."""
    size = {"height": SIDE, "width": SIDE}
    pictures = CLIPImageProcessor(
        do_resize=True,
        size=size,
        do_center_crop=False,
        crop_size=size,
        resample=3,
        do_rescale=True,
        do_normalize=True,
        image_mean=list(MEAN),
        image_std=list(STD),
        do_convert_rgb=True,
    )
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=VISION["patch_size"],
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=TEMPLATE,
    )


def store(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model as a transformers folder in bfloat16, replacing what was there once all of it is written."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    half = new_mllm(len(tokenizer))
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16).save_pretrained(part)
    processor_of(tokenizer).save_pretrained(part)
    folder.mkdir(exist_ok=True)
    for path in part.iterdir():
        path.chmod(0o644)
        path.replace(folder / path.name)
    part.rmdir()
