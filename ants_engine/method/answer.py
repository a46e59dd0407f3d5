"""An MLLM's answer before it is used: cleaned of markup, bounded, told from a refusal; and one sentence out of it.

The sentence is stage 3 (ENS; paper eq. 7).
"""

import re
import unicodedata
from enum import StrEnum

from ants_engine.method.final_part import final_part, one_turn
from ants_engine.method.list_items import described
from ants_engine.method.refusal import is_refusal

MAX_CHARACTERS = 4096
"""How much of an answer is looked at; a longer one costs nothing more."""


class Rejection(StrEnum):
    """Why an answer, or a part of it, is not used."""

    EMPTY = "empty"
    """Nothing in it that could be read as a word."""
    REFUSAL = "refusal"
    """The MLLM declined, or gave a placeholder such as "none"."""
    ECHO = "echo"
    """It repeats the class that was asked about, and says nothing else."""
    NOT_LATIN = "not_latin"
    """Mostly letters of another script, which CLIP's text encoder cannot read."""
    NAMES_ID_CLASS = "names_id_class"
    """It names an ID class, and would make that class look unknown."""
    DUPLICATE = "duplicate"
    """The same was said before."""
    RAMBLING = "rambling"
    """Too long, prose where a name was asked for, or the same words over and over."""
    UNDECIDED = "undecided"
    """Asked whether the picture shows a class, it says yes and no, or neither."""
    BANK_FULL = "bank_full"
    """A good text, for which the bank has no place left."""


_TAG = re.compile(r"</?[A-Za-z|][^<>\n]{0,80}>")
_FENCE = re.compile(r"```[A-Za-z]*")
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*\)")
_EMPHASIS = re.compile(r"\*\*|__|`|~~|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)")
_BOLD_LINE = re.compile(r"^([ \t]{0,20})(?:\*\*|__)([^*\n]{1,80}?)(?:\*\*|__)[ \t]{0,4}:?[ \t]{0,4}$", re.MULTILINE)
_ESCAPED = re.compile(r"\\([-.*_#()\[\]!])")
_ITEM = re.compile(r"<li(?:\s[^<>\n]{0,80})?>|\\item\b", re.IGNORECASE)
_LINE_END = re.compile(r"<br\s?/?>|</(?:li|p|tr|div|h[1-6])>", re.IGNORECASE)
_CELL_END = re.compile(r"</t[dh]>", re.IGNORECASE)
# keycaps, and digits in circles
_NUMBER_SIGN = re.compile(r"(?:\d\ufe0f?\u20e3|🔟|[①-⑳❶-❿➀-➉])[.):]?\s?")
_QUOTES = str.maketrans({"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})

_WORD = re.compile(r"[^\W_]+")
_SMALL = frozenset({"a", "an", "the"})
_BEFORE_ECHO = 4
"""Words that may stand before a question that is repeated: "You said:", "Echo of the prompt:"."""


def clean(text: str) -> str:
    """Bound an answer and strip what is markup and not language; line breaks stay.

    A model's reasoning goes (see `final_part`), the turns that a leaked chat template adds, control and invisible
    characters, HTML-like and chat-template tags, code fences, links and emphasis; typographic quotes become plain ones.
    What ends within its reasoning has no text.

    Args:
        text: as the MLLM gave it; only the first `MAX_CHARACTERS` behind the reasoning are looked at.
    """
    head = one_turn((final_part(text) or "")[: 4 * MAX_CHARACTERS]).lstrip()[:MAX_CHARACTERS]
    head = unicodedata.normalize("NFC", head).translate(_QUOTES)
    head = head.replace("\r\n", "\n").replace("\r", "\n")
    head = "".join(_printable(character) for character in head)
    head = _NUMBER_SIGN.sub(lambda found: f"{_number(found[0])}. ", head)
    head = _CELL_END.sub(" | ", _LINE_END.sub("\n", _ITEM.sub("\n- ", head)))
    head = _LINK.sub(r"\1", _FENCE.sub("\n", _TAG.sub(" ", head)))
    head = _BOLD_LINE.sub(r"\1# \2", _ESCAPED.sub(r"\1", head))
    return _EMPHASIS.sub("", head).strip()


def without_echo(text: str, prompt: str) -> str:
    """Return an answer without the question that it repeats in front; empty when it says nothing else.

    An answer is an echo when its words, articles aside, are a run of at least three words of the prompt, or five words
    and more that all stand in the prompt.

    Args:
        text: the answer as it came. It is returned as it is unless the question stands in front.
        prompt: the question.
    """
    asked = _words(prompt)
    said = one_turn(final_part(text) or "")[: 4 * MAX_CHARACTERS]
    spoken = list(_WORD.finditer(said))
    heard = [word[0].casefold() for word in spoken[: len(asked) + _BEFORE_ECHO]]
    begin = next((at for at in range(_BEFORE_ECHO + 1) if asked and heard[at : at + len(asked)] == asked), None)
    if begin is not None:
        rest = said[spoken[begin + len(asked) - 1].end() :].lstrip(" \t\n.:!?\"'*`)]")
        return rest if any(map(str.isalpha, rest)) else ""
    words, known = ([word for word in every if word not in _SMALL] for every in (_words(said[:2000]), asked))
    for _ in range(2):
        runs = {tuple(known[at : at + len(words)]) for at in range(len(known) - len(words) + 1)}
        if len(words) >= 3 and (tuple(words) in runs or (len(words) >= 5 and set(words) <= set(known))):
            return ""
        # once more without numbers: it may repeat the question as a list
        words, known = ([word for word in every if not word.isdecimal()] for every in (words, known))
    return text


def plain_words(text: str) -> str:
    """Return the words of an answer's final part in lower case, to compare it with others."""
    return " ".join(_words(clean(text)))


def fold_spaces(text: str) -> str:
    """Turn every run of white space into one space; none at the ends."""
    return " ".join(text.split())


def is_latin(text: str) -> bool:
    """Tell whether at least half of the letters are of the Latin script."""
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(_latin(character) for character in letters) >= len(letters)


def fault(text: str) -> Rejection | None:
    """Return what makes a cleaned text unusable by itself: nothing in it, a refusal, another script; or ``None``."""
    if not any(character.isalpha() for character in text):
        return Rejection.EMPTY
    if is_refusal(text):
        return Rejection.REFUSAL
    return None if is_latin(text) else Rejection.NOT_LATIN


def _number(sign: str) -> int:
    first = sign[0]
    return 10 if first == "🔟" else int(unicodedata.numeric(first))


def _words(text: str) -> list[str]:
    return [word[0].casefold() for word in _WORD.finditer(text)]


def _latin(character: str) -> bool:
    # Basic Latin to Latin Extended-B, Latin Extended Additional, and the fi and fl ligatures.
    return character < "\u0250" or "\u1e00" <= character <= "\u1eff" or "\ufb00" <= character <= "\ufb06"


def _printable(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    # Invisible format characters stand inside words; everything else that cannot be printed parts them.
    return "" if unicodedata.category(character) == "Cf" else " "


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
