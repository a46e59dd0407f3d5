"""A long list cut into short ones, which `ants_engine.method.labels.parse_labels` reads whole."""

from collections.abc import Iterator

from ants_engine.method.final_part import final_part

ITEMS = 50
"""Items of one piece; the reader takes 100."""
CHARACTERS = 2_000
"""Of one piece; the reader takes 4,096."""
LONGEST = 200_000
"""Characters of an answer that are looked at: several times what 500 labels take."""


def pieces(answer: str) -> list[str]:
    """Cut an MLLM's answer at line ends, and a long line at commas.

    Args:
        answer: as it came; a reasoning model's thoughts are left out, and what is beyond `LONGEST`.

    Returns:
        Pieces of at most `ITEMS` lines or commas and, where single items are no longer, `CHARACTERS` characters; one
        empty piece for an empty answer.
    """
    found: list[str] = []
    held: list[str] = []
    items = characters = 0
    for line in _short_lines((final_part(answer) or "")[:LONGEST]):
        count = 1 + line.count(",")
        if held and (items + count > ITEMS or characters + len(line) > CHARACTERS):
            found.append("\n".join(held))
            held, items, characters = [], 0, 0
        held.append(line)
        items += count
        characters += len(line)
    return [*found, "\n".join(held)]


def _short_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.count(",") < ITEMS and len(line) <= CHARACTERS:
            yield line
            continue
        parts = line.split(",")
        for start in range(0, len(parts), ITEMS // 2):
            yield ",".join(parts[start : start + ITEMS // 2])
