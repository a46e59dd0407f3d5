"""Tiny BLIP-2 (on OPT and on T5) and InstructBLIP: a picture becomes a fixed number of query tokens before the text."""

from pathlib import Path
from typing import Any

from tests.support.tiny_mllm import byte_fallback_bpe, byte_level_bpe, save_folder

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ 'Question: ' if message.role == 'user' else 'Answer: ' }}"
    "{% if message.content is string %}{{ message.content ~ ' ' }}{% else %}"
    "{% for part in message.content if part.type == 'text' %}{{ part.text ~ ' ' }}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
)
QUERIES = 4
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
QFORMER = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 64,
    "max_position_embeddings": 512, "cross_attention_frequency": 1,
}  # fmt: skip


def _pictures() -> Any:
    from transformers import BlipImageProcessor

    return BlipImageProcessor(size={"height": 28, "width": 28})


def save_tiny_blip2(folder: Path, *, chat_template: str | None = None, seed: int = 0) -> Path:
    """Write a BLIP-2 on OPT; its repositories have no chat template."""
    from transformers import Blip2Config, Blip2Processor, GPT2Tokenizer, OPTConfig

    vocab, merges = byte_level_bpe(["<s>", "<pad>", "</s>"])
    tokenizer = GPT2Tokenizer(
        vocab=vocab, merges=merges, bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>",
        add_bos_token=True,
    )  # fmt: skip
    processor = Blip2Processor(_pictures(), tokenizer, num_query_tokens=QUERIES)
    ids = tokenizer.convert_tokens_to_ids
    line_end = tokenizer.encode("\n", add_special_tokens=False)[-1]
    text = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2,
        word_embed_proj_dim=32, max_position_embeddings=512, bos_token_id=2, eos_token_id=line_end, pad_token_id=1,
    )  # fmt: skip
    config = Blip2Config(
        vision_config=VISION, qformer_config=QFORMER, text_config=text, num_query_tokens=QUERIES,
        image_token_index=ids("<image>"),
    )  # fmt: skip
    return save_folder(folder, config, processor, chat_template=chat_template, eos=line_end, pad=1, seed=seed)


def save_tiny_blip2_t5(folder: Path, *, chat_template: str | None = None, seed: int = 0) -> Path:
    """Write a BLIP-2 on T5, which reads the question with an encoder."""
    from transformers import Blip2Config, Blip2Processor

    tokenizer = _t5_tokenizer()
    processor = Blip2Processor(_pictures(), tokenizer, num_query_tokens=QUERIES)
    config = Blip2Config(
        vision_config=VISION, qformer_config=QFORMER, text_config=_t5(tokenizer), num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return save_folder(folder, config, processor, chat_template=chat_template, eos=1, pad=0, seed=seed)


def save_tiny_instructblip(folder: Path, *, chat_template: str | None = None, seed: int = 0) -> Path:
    """Write an InstructBLIP on LLaMA, whose Q-Former reads the question too."""
    from transformers import BertTokenizer, InstructBlipConfig, InstructBlipProcessor, LlamaConfig, LlamaTokenizer

    vocab, merges = byte_fallback_bpe(["<unk>", "<s>", "</s>"])
    tokenizer = LlamaTokenizer(vocab=vocab, merges=merges, pad_token="<pad>", padding_side="left")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "dog", "name", "five", "like", "what", "is"]
    short = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    processor = InstructBlipProcessor(_pictures(), tokenizer, short, num_query_tokens=QUERIES)
    ids = tokenizer.convert_tokens_to_ids
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=ids("<pad>"),
    )  # fmt: skip
    config = InstructBlipConfig(
        vision_config=VISION, qformer_config=QFORMER, text_config=text, num_query_tokens=QUERIES,
        image_token_index=ids("<image>"),
    )  # fmt: skip
    return save_folder(folder, config, processor, chat_template=chat_template, eos=2, pad=ids("<pad>"), seed=seed)


def _t5_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab, merges = byte_fallback_bpe(["<pad>", "</s>", "<unk>"])
    inner = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def _t5(tokenizer: Any) -> Any:
    from transformers import T5Config

    return T5Config(
        vocab_size=len(tokenizer) + 8, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0, pad_token_id=0,
        eos_token_id=1,
    )  # fmt: skip
