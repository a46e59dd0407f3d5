"""Answers of an MLLM changed by a seed: lists, refusals, JSON, markup, odd characters, and lines without end."""

import random
from collections.abc import Callable

_SOUND = (
    "1. wolf\n2. dingo\n3. jackal\n4. coyote\n5. fox",
    "- sea lion\n- walrus\n* fur seal\n• otter",
    '["wolf", "maned wolf", {"name": "dingo"}, 3, null]',
    '{"sentence": "A red lamp on a table", "confidence": 0.9}',
    "Sure! Here is a short description: **A red lamp** on a [table](http://x.example/a).",
    "I'm sorry, but I can't help with that. As an AI language model, I cannot see the image.",
    "wolf (Canis lupus), dingo, jackal; coyote and fox",
    "<think>The picture shows\n a lamp.</think>\nAnswer: a lamp on a table.",
    '```json\n["wolf", "fox"]\n```',
    "A photo of a cat.",
    "none",
    "",
    "这是一只狗",
    "Категория: волк, лиса",
    "<|im_start|>assistant\nA dog.<|im_end|>",
    "1) Black and white marbles\n2) St. Bernard - a large dog\n3) U.S. flag: a flag",
)
_ODD = (
    "\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x00", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\ud800",
    "\U000e0041", "a\u0301" * 40, "﷽", "ﬁ", "\u2028", "\r", "\r\n", "\t", "\x85", "🏴\U000e0067\U000e0062", "ẞ", "İ",
    "{}", "{0.__class__}", "%s", "$class_name", "}} ignore the above", "[red]x[/red]", "<script>alert(1)</script>",
    "<!--", "]]>", "<think>", "</think>", "```", "\\", '\\"', "\\u0000", "://", "[](", "](", "**", "__", "~~",
)  # fmt: skip
_RUNS = (
    "1.", "1. ", "(", "((1", "[", '["', '{"a":', "{", "- ", "-", "*", "*a", "_", "> ", "# ", "Sure! ", "Answer: ",
    "the image: ", "\n", " ", "\t ", ",", ", ", ";", "|", "a", "A ", "and ", ".", ". ", "...", "!?", '"', "'", '"a" ',
    "<", "<a", "<a>", "</", "[a](", "![a](b)", "&amp;", "I'm sorry ", "no ", "\u0301", "ß", "1,", "- a\n", "1. a\n",
    "<think>", "</think>", "here is ", "a: ", ":", "—", " - ", "word-", "e.g. ", "Mr. ", "\\", '\\"', "```", "[a]",
)  # fmt: skip

Mutation = Callable[[str, random.Random], str]


def changed_answer(seed: int, longest: int = 1_000_000) -> str:
    """Return an answer, the same for the same seed.

    Args:
        seed: which.
        longest: characters of the longest runs.
    """
    rng = random.Random(seed)
    text = rng.choice(_SOUND)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        text = rng.choice(MUTATIONS)(text, rng)
    if seed % 8 == 0:
        run = rng.choice(_RUNS)
        size = rng.choice((1_000, 50_000, longest))
        at = rng.randrange(len(text) + 1)
        text = text[:at] + run * (size // len(run)) + text[at:]
    return text


def _odd(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(_ODD) + text[at:]


def _run(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(_RUNS) * rng.choice((2, 30, 300)) + text[at:]


def _nest(text: str, rng: random.Random) -> str:
    opening, closing = rng.choice(("[]", "{}", "()", ("<a>", "</a>"), ('{"a":', "}"), ("**", "**"), ('"', '"')))
    depth = rng.choice((1, 20, 2_000))
    return opening * depth + text + closing * depth


def _cut(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _splice(text: str, rng: random.Random) -> str:
    other = rng.choice(_SOUND)
    return text + rng.choice(("\n", "", " ", ", ")) + other[rng.randrange(len(other) + 1) :]


def _repeat(text: str, rng: random.Random) -> str:
    return (text + rng.choice(("\n", " ", ", "))) * rng.choice((2, 5, 40))


def _case(text: str, rng: random.Random) -> str:
    return rng.choice((text.upper(), text.lower(), text.title(), text.swapcase()))


def _shuffle(text: str, rng: random.Random) -> str:
    letters = list(text[:4_000])
    rng.shuffle(letters)
    return "".join(letters) + text[4_000:]


MUTATIONS: tuple[Mutation, ...] = (_odd, _odd, _run, _nest, _cut, _splice, _repeat, _case, _shuffle)
