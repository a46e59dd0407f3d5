"""The two tasks of the MLLM: wordings of the prompts, and the answers that it learns."""

import random

from captions import KINDS, article
from emoji import Emoji

DESCRIBE = (
    "Look at the picture. Describe what it shows in one short, concrete sentence of fewer than 8 words.",
    "Describe the picture in one short sentence.",
    "What does the picture show? Answer with one short, concrete sentence.",
    "Describe this image in fewer than 8 words.",
    "Write one short caption for this picture. Name the main thing.",
    "What is in the image? Reply in one brief sentence, at most eight words.",
)
"""Wordings of the request to describe a picture; the first is the engine's."""

NOT_THE_CLASS = (
    ' The picture does not show "{name}".',
    ' It is not "{name}".',
    ' Do not use the name "{name}".',
    ' The image is not of "{name}", so do not call it that.',
)
"""Wordings of the hint which class a picture does not show; the first is the engine's."""

NAME_LOOK_ALIKES = (
    'Name {count} different things that look like "{name}" but are not "{name}". '
    "Answer with a numbered list, one name per line.",
    'List {count} things that look similar to "{name}". Number them, one per line.',
    'Which {count} other classes look like "{name}"? Give a numbered list of names only.',
    'Give {count} names of things that are easily mistaken for "{name}", but are not "{name}". One per line, numbered.',
    'Q: What are {count} objects visually similar to "{name}" that are not "{name}"? A: write a numbered list.',
    'Please write {count} classes that share visual features with "{name}". Use one numbered line for each.',
)
"""Wordings of the request for look-alikes; the first is the engine's."""

ENGINE_SHARE = 0.5
"""How often training uses the engine's own wording."""

BLURRED_SHARE = 0.2
"""How often some words of a prompt, those in quotes aside, are replaced by an unknown word."""


def chosen(wordings: tuple[str, ...], rng: random.Random) -> str:
    """One of the wordings, the engine's most often."""
    return wordings[0] if rng.random() < ENGINE_SHARE else rng.choice(wordings)


def blurred(prompt: str, rng: random.Random) -> str:
    """The prompt, now and then with words that the tokenizer does not know in place of some."""
    if rng.random() >= BLURRED_SHARE:
        return prompt
    parts = prompt.split('"')
    for index in range(0, len(parts), 2):
        words = ["unknownword" if word.isalpha() and rng.random() < 0.25 else word for word in parts[index].split(" ")]
        parts[index] = " ".join(words)
    return '"'.join(parts)


def describe_prompt(excluded: str | None, rng: random.Random) -> str:
    """A request to describe a picture, with or without a class that it does not show."""
    prompt = chosen(DESCRIBE, rng)
    if excluded is not None:
        prompt += chosen(NOT_THE_CLASS, rng).format(name=excluded)
    return blurred(prompt, rng)


def look_alike_prompt(name: str, count: int, rng: random.Random) -> str:
    """A request for look-alikes of a named thing."""
    return blurred(chosen(NAME_LOOK_ALIKES, rng).format(name=name, count=count), rng)


def description(emoji: Emoji, index: int) -> str:
    """The answer that describes a picture: the thing alone, since ID pictures have the same backgrounds."""
    if len(emoji.name.split()) > 4 or index % 3:
        return f"{article(emoji.name)} {emoji.name}."
    return f"{article(emoji.name)} {emoji.name}, a kind of {KINDS[emoji.subgroup]}."


def numbered(names: list[str]) -> str:
    """The answer that lists look-alikes."""
    return "\n".join(f"{place}. {name}" for place, name in enumerate(names, 1))
