"""The word-level tokenizer of the CLIP: lower-cased words and punctuation marks."""

import re
from collections.abc import Iterable

from captions import COLOURED, KINDS, OF_KIND, PLAIN
from emoji import Emoji
from rendering import COLOUR_NAMES
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

CONTEXT = 16
"""Length of a text in tokens, start and end included."""

SPECIAL = ("<pad>", "<unk>", "<start>", "<end>")
PAD, UNKNOWN, START, END = range(4)


def words_of(texts: Iterable[str]) -> list[str]:
    """The words and punctuation marks of some texts, each once, in alphabetical order."""
    return sorted({word for text in texts for word in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())})


def caption_words(emoji: list[Emoji]) -> list[str]:
    """The words of everything a caption can say."""
    templates = (re.sub(r"{\w+}", " ", template) for template in (*PLAIN, *COLOURED, *OF_KIND))
    names = (one.name for one in emoji)
    return words_of([*templates, *names, *KINDS.values(), *COLOUR_NAMES, "a an ,.:!?'\"-"])


def clip_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer over these words that wraps a text in its start and end tokens."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *words))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase(), normalizers.StripAccents()])
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", START), ("<end>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<start>",
        eos_token="<end>",
        model_max_length=CONTEXT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
