"""A local model's control tokens are left out of its answer, but for those that tell its reasoning from it."""

import pytest

from ants_engine.backends._local_model import reasoning_marks, spell
from ants_engine.method.final_part import final_part

WORDS = ["<pad>", "</s>", "[THINK]", "[/THINK]", "<|image|>", "it", "has", "fur", "a", "cat"]


@pytest.fixture(scope="module")
def tokenizer():
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    model = tokenizers.models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<pad>")
    plain = tokenizers.Tokenizer(model)
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        eos_token="</s>",
        extra_special_tokens=["[THINK]", "[/THINK]", "<|image|>"],
    )


def test_reasoning_stays_apart_from_the_answer(tokenizer):
    marks = reasoning_marks(tokenizer)
    assert sorted(marks.values()) == ["[/THINK]", "[THINK]"]
    tokens = [
        WORDS.index(word) for word in ["[THINK]", "it", "has", "fur", "[/THINK]", "a", "<|image|>", "cat", "</s>"]
    ]
    said = spell(tokens, tokenizer, marks)
    assert said == "[THINK]it has fur[/THINK]a cat"
    assert final_part(said) == "a cat"
    assert spell(tokens[5:], tokenizer, marks) == tokenizer.decode(tokens[5:], skip_special_tokens=True)
