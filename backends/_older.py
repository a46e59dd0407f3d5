"""Folders from before transformers 4.46 lack what processors need now; the model's configuration has it."""

from typing import Any


def complete(model: Any, processor: Any) -> None:
    """Fill in what an older folder leaves out, in place: LLaVA's picture tokens and BLIP's query tokens.

    Raises:
        ValueError: it cannot be filled in; the message says what the folder has to say itself.
    """
    config = model.config
    if hasattr(processor, "patch_size") and processor.patch_size is None:
        processor.patch_size = config.vision_config.patch_size
        if processor.vision_feature_select_strategy is None:
            processor.vision_feature_select_strategy = config.vision_feature_select_strategy
        # CLIP's and EVA's towers put one token before the patches; the strategy says whether it is dropped again.
        if config.vision_config.model_type == "clip_vision_model" and not processor.num_additional_image_tokens:
            processor.num_additional_image_tokens = 1
    if not hasattr(processor, "num_query_tokens"):
        return
    if processor.num_query_tokens is None:
        processor.num_query_tokens = config.num_query_tokens
    if config.image_token_index is None:
        image = processor.tokenizer.convert_tokens_to_ids("<image>")
        # A placeholder only: features take its place, so that any row of the table will do, but there has to be one.
        if image >= model.get_input_embeddings().num_embeddings:
            raise ValueError(
                "config.json has no image_token_index, and the vocabulary has no room for <image>: take a revision "
                "of the model that was made for transformers 4.46 or newer"
            )
        config.image_token_index = image
