"""The word-level tokenizer of the MLLM, and its chat template."""

from emoji import Emoji
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from words import caption_words, words_of

from prompts import DESCRIBE, NAME_LOOK_ALIKES, NOT_THE_CLASS

SPECIAL = ("<pad>", "<unk>", "<start>", "<end>", "<image>", "<user>", "<assistant>")
PAD, UNKNOWN, START, END, IMAGE, USER, ASSISTANT = range(7)

LENGTH = 512
"""Longest conversation in tokens."""

TEMPLATE = (
    "{{- '<start>' -}}"
    "{%- for message in messages -%}"
    "{{- '<assistant>' if message['role'] == 'assistant' else '<user>' -}}"
    "{%- if message['content'] is string -%}"
    "{{- message['content'] -}}"
    "{%- else -%}"
    "{%- for part in message['content'] if part['type'] in ('image', 'image_url') -%}{{- '<image>' -}}{%- endfor -%}"
    "{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] -}}{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<end>' if message['role'] == 'assistant' else '' -}}"
    "{%- endfor -%}"
    "{{- '<assistant>' if add_generation_prompt else '' -}}"
)


def chat_words(emoji: list[Emoji]) -> list[str]:
    """The words of all prompts and answers."""
    prompts = words_of([*DESCRIBE, *NOT_THE_CLASS, *NAME_LOOK_ALIKES, "0 1 2 3 4 5 6 7 8 9 10"])
    return sorted({*caption_words(emoji), *prompts, "\n"})


def chat_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer over these words; line breaks are words, too."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *words))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase(), normalizers.StripAccents()])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split(Regex(r"\n|[^\sa-z0-9]"), "isolated"),
        ]
    )
    core.add_special_tokens(list(SPECIAL))
    core.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=True),
            decoders.Fuse(),
            decoders.Replace(" \n ", "\n"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<start>",
        eos_token="<end>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )
