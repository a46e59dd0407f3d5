"""One sentence out of an MLLM's description of a picture (stage 3, ENS; paper eq. 7)."""

import re

from ants_engine.method.answer import Rejection, clean, fault, fold_spaces
from ants_engine.method.list_items import described

_LIST_MARK = re.compile(r"^\s*(?:#{1,6}\s+|>\s*|[-*•·]\s+|\(?\d{1,2}[.):]\s+)+")
_PREFIX = re.compile(
    r"^\s*(?:(?:the\s+)?(?:(?:short|brief|final|concise|simple|image|picture|photo|alt|one[- ]sentence|visual)\s+){0,2}"
    r"(?:answer|caption|description|sentence|response|output|image|picture|photo|assistant|ai|summary|text|option)"
    r"\s*(?:\d{1,2}\s*|\([^()\n]{1,40}\)\s*)?:"
    r"|(?:sure(?:\s+thing)?|certainly|of course|okay|ok|absolutely|yes|great|no problem|gladly|hello|hi)\s*(?:[!,.:]|$)"
    r"|(?:happy|glad|thanks?|thank you|(?:what\s+an?\s+)?(?:great|nice|lovely|beautiful|interesting|cool)"
    r"\s+(?:photo|picture|image|shot))\b[^.!?\n]{0,60}!"
    r"|here(?:'s| is| are)\b[^.:!?\n]{0,80}:)\s*",
    re.IGNORECASE,
)
# "Jeopardy! game show": a name that goes on is no end
_END = re.compile(r"""(?P<word>[^\s.!?]{0,40})(?:\.|[.!?]+(?!\s+[a-z]))["')\]]*(?=\s|$)""")
_ABBREVIATIONS = frozenset({"st", "mt", "mr", "mrs", "ms", "dr", "jr", "sr", "vs", "no", "approx", "e.g", "i.e", "etc"})
_REPEATED_AFTER = 6
_LONGEST_WORD = 60
# a word that stands where a description was asked for
_NO_DESCRIPTION = {"image", "picture", "photo", "caption", "description", "text", "answer", "sentence", "assistant"}
_HEADING = re.compile(
    rf"(?:the\s+)?(?:(?:short|brief|final|concise|image|picture|photo|one[- ]sentence)\s+){{0,2}}"
    rf"(?:{'|'.join(sorted(_NO_DESCRIPTION))}|summary|response|output)\W*",
    re.IGNORECASE,
)
# a model that thinks aloud, with no mark around it
_ALOUD = re.compile(
    r"^(?:(?:okay|ok|alright|hmm+|so|well|got it|first|now),? )?"
    r"(?:let's see|let me (?:see|think|look|start|describe|try)|the user (?:wants|asks|is asking|asked|provided|has)"
    r"|(?:i|we) (?:need|have|should|must|are asked) to (?:describe|produce|write|output|give|name|provide|answer)"
    r"|(?:i|we) (?:should|must|will) (?:describe|produce|write|output|answer)|i'?ll (?:describe|write|give))\b",
    re.IGNORECASE,
)


def clean_sentence(text: str, max_words: int) -> str | Rejection:
    """Read one short sentence out of an answer.

    Takes the first sentence behind any preamble ("Sure! Here is …:"), label ("Answer:"), list mark or quotes, folds
    white space, and drops trailing punctuation. More than ``max_words`` words are cut off.

    Args:
        text: the answer as it came; 50 kB cost no more than 4.
        max_words: at least 1.

    Returns:
        The sentence, or why there is none: ``EMPTY``, ``REFUSAL``, ``NOT_LATIN``, or ``RAMBLING`` for an answer that
        goes on and on with the same few words.

    Raises:
        ValueError: ``max_words`` below 1.
    """
    if max_words < 1:
        raise ValueError(f"max_words must be at least 1, not {max_words}")
    cleaned = clean(text)
    found = fault(cleaned)
    if found in (Rejection.EMPTY, Rejection.REFUSAL):
        return found
    sentence = _first_sentence(described(cleaned) or cleaned)
    # What is left behind a preamble may again be nothing, or a refusal.
    found = fault(sentence)
    if found is not None:
        return found
    words = sentence.split()
    if len(words) == 1 + (words[0].casefold() in {"a", "an", "the"}) and words[-1].casefold() in _NO_DESCRIPTION:
        return Rejection.EMPTY
    if _repeats(words) or _ALOUD.match(sentence) or max(map(len, words)) > _LONGEST_WORD:
        return Rejection.RAMBLING
    return _strip(" ".join(words[:max_words])) if len(words) > max_words else sentence


def _first_sentence(text: str) -> str:
    heading = ""
    for line in text.split("\n"):
        rest = _bare(line)
        # A line that ends in a colon announces what follows.
        if not any(map(str.isalpha, rest)) or rest.endswith(":"):
            continue
        if not heading and _HEADING.fullmatch(rest):
            heading = rest
            continue
        return _strip(_cut_at_end(rest))
    return _strip(heading)


def _bare(line: str) -> str:
    """Take marks, labels and pleasantries off the front of a line until nothing changes."""
    while True:
        rest = _PREFIX.sub("", _LIST_MARK.sub("", line).strip("|").lstrip("\"' "), count=1)
        if rest == line:
            return fold_spaces(rest)
        line = rest


def _cut_at_end(line: str) -> str:
    for match in _END.finditer(line):
        word = match["word"].casefold().lstrip("(\"'")
        if word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and match.end() < len(line)):
            continue
        if any(map(str.isalpha, line[: match.end()])):
            return line[: match.end()]
    return line


def _strip(sentence: str) -> str:
    sentence = fold_spaces(sentence).strip("\"' ")
    sentence = sentence.rstrip(".!?,;:\"' ")
    if sentence.startswith("(") and sentence.endswith(")"):
        sentence = sentence[1:-1]
    return sentence.strip()


def _repeats(words: list[str]) -> bool:
    """Tell whether the same few words come again and again."""
    head = [word.casefold().strip(".,;") for word in words[:60]]
    return len(head) > _REPEATED_AFTER and 2 * len(set(head)) <= len(head)
