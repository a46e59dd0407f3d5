"""What an answer to "verify or describe" (``ens/v3``) says of a picture: an ID class, something else, or nothing.

CLIP takes a picture for an ID class, and the MLLM is asked whether it shows that class: a yes, or a description. The
first word decides; where there is no yes or no, what the description is about does. For the judge of the threshold a
picture that shows the asked class or another ID class is a yes, anything else that is shown is a no, be it with or
without a sentence that can be used, and an answer that decides nothing is no vote.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ants_engine.method.answer import Rejection, clean
from ants_engine.method.class_names import ClassNames, Mention
from ants_engine.method.sentence import clean_sentence
from ants_engine.method.yes_no import refuses, split_yes_no

_LOOKED_AT = 60
"""Words of the first sentence that are searched for class names."""

_NOT = re.compile(
    r"(?:\b(?:and|but)\s+)?(?:\b(?:is|are|was|does|do|did|can|could|has)n't\b|\b(?:cannot|can't|don't)\b"
    r"|\b(?:not|no|neither|never|without|lacks?|nothing like)\b|\b(?:instead of|rather than|as opposed to|unlike)\b)"
    r"(?!\s+(?:only|just|sure|certain|clear|tell|say|know|determine|confirm|verify|identify|be sure)\b)",
    re.IGNORECASE,
)
_NEAR = 8
"""Words behind a negation in which the class that it denies stands."""
_OPEN_ENDED = re.compile(r"(?:^|\b(?:is|are|was|were|does|do|did|can|could|i|we|be|to))\W*$", re.IGNORECASE)
_BARE_DENIAL = re.compile(
    r"\W*(?:(?:it|this|that|the (?:picture|image|photo)) (?:(?:is|does|was)(?: not|n't)|'s not)|it's not|not)"
    r"(?: (?:show|depict|contain|match|fit|seem|appear|look|to|be|like|it|that|this|one|so|correct|right|true|the case"
    r"|(?:an?|the|that|this) (?:class|label|object|category|description|name|thing|animal)))*\W*",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"(\s*(?:[.!?]+(?=\s|$)|[,;:\n]+(?=\s|$)|\s[-–—]+\s|[–—])\s*"
    r"|(?<!think)(?<!believe)(?<!that)(?<!if)(?<!whether)(?<!sure)\s+"
    r"(?=(?:but|instead|it's|it is|this is|there is)\b))",
    re.IGNORECASE,
)
_HANGING = re.compile(r"(?:[\s,;:–—-]+(?:with|and|but|that|which|or|is|are)\b)*[\s,;:–—-]*$", re.IGNORECASE)
_CLAUSES = 24
"""Clauses among which a denial is looked for."""
_ASIDE = re.compile(r"\s*\(([^()]{1,120})\)")
_CONNECTIVE = re.compile(
    r"^(?:(?:[\s,;:.!–—-]|\b(?:but|instead|rather|actually|however|in fact|and|so|because|since|though|although"
    r"|(?:it|this|the (?:picture|image|photo)) (?:(?:actually|instead|rather) )?(?:shows|is|depicts)(?=\s*:))\b)+)",
    re.IGNORECASE,
)
_RESERVED = re.compile(r"\W*(?:but|however|though|although|except)\b", re.IGNORECASE)
_UNSURE = re.compile(
    r"\b(?:maybe|perhaps|possibly|might|may be|could be|can't tell|cannot tell|not sure|not certain|unsure|uncertain"
    r"|unclear|if|whether)\b",
    re.IGNORECASE,
)
_DECIDES_NOTHING = re.compile(
    r"\W*(?:(?:it|that) depends|maybe|perhaps|possibly|probably|likely|unsure|uncertain"
    r"|none of (?:the above|these|those|them)"
    r"|(?:maybe|perhaps|possibly|probably|likely),? (?:yes|no|not))\W*",
    re.IGNORECASE,
)
_POOR = re.compile(
    r"(?:it|the (?:picture|image|photo))(?: is|'s| looks| appears)(?: \w+){0,2}? (?:blurry|blurred|unclear"
    r"|too dark|pixelated|low[- ]resolution|indistinct|out of focus)\b",
    re.IGNORECASE,
)
_IT_LOOKS_LIKE = re.compile(r"(?:\b(?:it|this)|^that) (?:looks|seems) like\b", re.IGNORECASE)
_VAGUE = re.compile(
    r"(?:it(?:'s| is) )?(?:(?:something|anything|someone) (?:else|different)|other|different|unrelated"
    r"|(?:an?|some) ?(?:other|different|unrelated) (?:animal|thing|object|class|picture|image|subject|scene|one))",
    re.IGNORECASE,
)
_CORRECTED = re.compile(r",?\s+but (?:it|this|that)(?:'s| is) (?:actually|really|in fact)\s+", re.IGNORECASE)
_IDENTIFIES = re.compile(
    r"^\W*(?:i (?:think|believe|guess|see|can see)(?: that)?\s+)?"
    r"(?:(?:in|on) (?:the|this) (?:picture|image|photo|photograph)\b,?\s+)?"
    r"(?:(?:the|this|that|it|these|those|what)\b[^,.;]{0,60}?"
    r"\b(?:is|are|shows?|depicts?|appears to be|seems to be|looks like)\s+(?=(?:an?|the|two|some)\b))?",
    re.IGNORECASE,
)
# "a slice of pizza" and "a picture of a pizza" are about pizza
_SOME_OF = re.compile(
    r"\b(?:slice|piece|plate|platter|bowl|cup|mug|glass|bottle|jar|can|tray|basket|box|pile|stack|heap|row|line|bunch"
    r"|bouquet|serving|portion|dish|loaf|variety|number|lot|set|cluster|handful|group|pair|couple|crowd|herd|flock|pack"
    r"|pride|school|swarm|litter|family|team|kind|type|sort|breed|picture|photo|photograph|image|shot|view|close-?up"
    r"|portrait|drawing|painting|illustration|sketch|head|face)s? of\b",
    re.IGNORECASE,
)
_DECIDING_WORD = re.compile(r"\W*(?:yes|yeah|no|not|non|neither|true|false|right|wrong|correct)\b", re.IGNORECASE)
_COMMA = re.compile(r"[,;:]\s|\s[-–—]+\s|[–—]")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_SEES_NONE = re.compile(
    r"\W*(?:(?:i'm |i am )?sorry,? (?:but )?)?"
    r"(?:i (?:do not|don't) (?:think|believe)\b|i (?:do not|don't|cannot|can't) see (?:an?|any)\b"
    r"(?! (?:\w+ )?(?:images?|pictures?|photos?|photographs?|attachments?|files?|visuals?|content|way|reason)\b)"
    r"|(?:this|that|it|the (?:picture|image|photo)) (?:is|does)(?: not|n't)\b(?! (?:\w+ ){0,2}(?:provided|attached"
    r"|uploaded|included|visible|available|shown|showing|displayed|load(?:ed|ing)?|found|there|present|supported"
    r"|accessible|clear|possible|allowed|appropriate|appear)\b))",
    re.IGNORECASE,
)
"""Begins like a refusal and is a no: "I don't see a lion"."""
_LONGEST = 400
"""Characters of an answer in another script that are searched for class names."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_LEAD_IN = _set(
    "a an the it its it's this that that's there there's here here's these those they is are was be being i we you can "
    "see picture image photo photograph photos shot shows show showing shown depicts depicting features featuring "
    "displays displaying contains containing has have of appears seems to likely probably maybe perhaps possibly could "
    "might may actually indeed instead only just also very clearly main subject one two three four five some "
    "several many single pair group herd flock pack bunch couple close up closeup view kind type portrait drawing "
    "illustration painting cartoon emoji icon sketch image's big large small little tiny young old adult baby male "
    "female wild lone cute beautiful black white red green blue yellow orange purple brown pink gray grey golden silver"
)
"""Words in front of a name that do not make another thing of it."""
_SMALL_TALK = _LEAD_IN | _set(
    "sorry i'm unfortunately well oh hmm no but does do did definitely certainly clearly absolutely surely obviously"
)
"""What is left of a denial when its class is taken out."""
_NO_MODIFIER = _set(
    "and or but nor with without by at on in from for to into onto over under near behind beside between through as "
    "than against along among around across above below before after during inside outside who which while where when "
    "riding holding wearing eating watching chasing like resembling toy stuffed plush statue sculpture figurine doll "
    "fake word words text letters logo name no not of a an the his her its their my your this that is are was were"
)
"""Words in front of a name behind which it is not what a sentence is about."""
_UNLIKE = _set(
    "like as than resembling resembles unlike toy stuffed plush statue sculpture figurine doll fake mask word words "
    "text letters says reads logo name labeled"
)
_BACK = 3
"""Words in front of a name among which such a one makes the name no part of the picture."""


class Says(StrEnum):
    """What an answer says of a picture; exactly one of these."""

    ASKED = "asked"
    """It shows the class that was asked about: verified ID."""
    OTHER = "other"
    """It shows another ID class: CLIP was wrong among the ID classes, and the picture is verified ID all the same."""
    OOD = "ood"
    """It shows no ID class."""
    NOTHING = "nothing"
    """A refusal, no words, for and against at once, or a class's name that leaves open whether it is meant."""


@dataclass(frozen=True, slots=True)
class Verification:
    """An answer to "verify or describe", read."""

    says: Says
    row: int | None = None
    """The ID class that the picture shows."""
    sentence: str | None = None
    """What an OOD picture shows, cleaned as every sentence is; it may name an ID class ("a zebra-striped couch")."""
    rejection: Rejection | None = None
    """Why an OOD picture has no sentence, or why an answer says nothing."""

    @property
    def is_id(self) -> bool | None:
        """The vote: ``True`` for ID, ``False`` for OOD, ``None`` for no vote."""
        return None if self.says is Says.NOTHING else self.says is not Says.OOD


class VerdictReader:
    """Reads answers to ``ens/v3`` about the pictures of one class list."""

    def __init__(self, class_names: Sequence[str], max_words: int) -> None:
        """Prepare the names.

        Args:
            class_names: C ID class names, as the questions have them.
            max_words: sentences are cut to so many words, as `clean_sentence` does; at least 1.

        Raises:
            ValueError: ``max_words`` below 1.
        """
        if max_words < 1:
            raise ValueError(f"max_words must be at least 1, not {max_words}")
        self._class_names = tuple(class_names)
        self._names = ClassNames(self._class_names)
        self._own: dict[int, ClassNames] = {}
        self._max_words = max_words

    def read(self, text: str, asked: int) -> Verification:
        """Read one answer.

        Args:
            text: the answer as it came; 50 kB cost no more than 4.
            asked: row of the class that the question named.

        Raises:
            IndexError: there is no such class.
        """
        if not 0 <= asked < len(self._class_names):
            raise IndexError(f"class {asked} of {len(self._class_names)}")
        own = self._own.get(asked)
        if own is None:
            own = self._own[asked] = ClassNames((self._class_names[asked],))
        found = split_yes_no(text)
        if found.both:
            return _nothing(Rejection.UNDECIDED)
        said = None if self._begins_with_name(text) else found.said
        body = clean(text) if said is None and found.said is not None else found.rest
        rest, denied = _without_denials(body, own)
        if declines(rest if said is not None or denied else body, said is not None):
            return _nothing(Rejection.REFUSAL)
        if said is False or (denied and (rest or said is None)):
            return self._refuted(rest, own, Rejection.ECHO if denied else Rejection.EMPTY)
        if said:
            return _nothing(Rejection.UNDECIDED) if denied else self._confirmed(rest, own, asked)
        return self._described(text, own, asked)

    def _confirmed(self, rest: str, own: ClassNames, asked: int) -> Verification:
        """Read what stands behind a yes: it may name another ID class, or take the yes back."""
        content = clean_sentence(rest, _LOOKED_AT)
        if not isinstance(content, Rejection) and own.find(content) is None:
            head = self._head(content, own)
            if head is not None:
                return Verification(Says.OTHER, head.row)
            if _RESERVED.match(rest):
                return _nothing(Rejection.UNDECIDED)
        return Verification(Says.ASKED, asked)

    def _refuted(self, rest: str, own: ClassNames, bare: Rejection) -> Verification:
        """Read what stands behind a no."""
        rest = _CONNECTIVE.sub("", rest, count=1)
        content = clean_sentence(rest, _LOOKED_AT) if rest else bare
        if isinstance(content, Rejection):
            # "No. N/A": a placeholder in place of a description
            return Verification(Says.OOD, rejection=bare if content is Rejection.REFUSAL else content)
        head = self._head(content, own)
        # "No, a mountain lion": not the lion that was asked about
        if head is None and own.find(content) is None and self._short_form(content):
            return _nothing(Rejection.NAMES_ID_CLASS)
        if head is None or (head.own and not head.plain):
            return self._ood(rest)
        return (
            _nothing(Rejection.UNDECIDED) if head.own or _UNSURE.search(content) else Verification(Says.OTHER, head.row)
        )

    def _described(self, text: str, own: ClassNames, asked: int) -> Verification:
        """Read an answer with neither a yes nor a no."""
        content = clean_sentence(text, _LOOKED_AT)
        if isinstance(content, Rejection) and content is not Rejection.NOT_LATIN:
            return _nothing(content)
        said = clean(text)[:_LONGEST] if isinstance(content, Rejection) else content
        corrected = _CORRECTED.search(said)
        if corrected is not None:
            first = self._described(said[: corrected.start()], own, asked)
            then = self._described(said[corrected.end() :], own, asked)
            if first.is_id is not then.is_id:
                return _nothing(Rejection.UNDECIDED)
            return self._ood(text) if then.says is Says.OOD else then
        said = _IT_LOOKS_LIKE.sub("it is", said)
        head = self._head(said, own)
        unsure = head is not None and (_UNSURE.search(said) is not None or clean(text).rstrip("\"' ").endswith("?"))
        if unsure or _DECIDES_NOTHING.fullmatch(said) or _POOR.match(said):
            verdict = _nothing(Rejection.UNDECIDED)
        elif head is not None:
            verdict = Verification(Says.ASKED, asked) if head.own else Verification(Says.OTHER, head.row)
        elif isinstance(content, Rejection):
            verdict = _nothing(content)
        elif self._short_form(said) or self._beside(said, own):
            # without a no these leave open what is meant: "An eagle", and "A man on a horse" asked about a horse
            verdict = _nothing(Rejection.NAMES_ID_CLASS)
        else:
            verdict = self._ood(text)
        return verdict

    def _short_form(self, said: str) -> bool:
        """Tell whether a sentence is about what may be an ID class: "an eagle", with "bald eagle" in the list."""
        return self._names.find_alias(said) is None and self._names.find(said) is not None

    def _ood(self, text: str) -> Verification:
        sentence = clean_sentence(text, self._max_words)
        if isinstance(sentence, Rejection):
            return Verification(Says.OOD, rejection=sentence)
        if _VAGUE.fullmatch(sentence):
            return Verification(Says.OOD, rejection=Rejection.EMPTY)
        return Verification(Says.OOD, sentence=sentence)

    def _begins_with_name(self, text: str) -> bool:
        """Tell whether the yes or no of an answer is the first word of a class's name, such as "no parking sign"."""
        cleaned = clean(text)[:_LONGEST]
        found = self._names.mentions(cleaned) if _DECIDING_WORD.match(cleaned) else []
        return bool(found) and found[0].start == 0 and found[0].end > 1

    def _beside(self, content: str, own: ClassNames) -> bool:
        """Tell whether the asked class is in what a sentence describes, and not as a likeness."""
        every = self._names.mentions(content)
        return any(
            not _UNLIKE.intersection(mention.before[-_BACK:])
            for mention in own.mentions(content)
            if not any(_holds(each, mention) for each in every)
        )

    def _head(self, content: str, own: ClassNames) -> "_Head | None":
        """Return the ID class that a sentence is about: the head of its first noun phrase."""
        for clause in _COMMA.split(_SOME_OF.sub(" ", _IDENTIFIES.sub("", content, count=1))):
            found = self._names.mentions(clause)
            if not found:
                if _LEAD_IN.issuperset(_WORD.findall(clause.casefold())):
                    continue
                return None
            first = found[0]
            before = list(first.before)
            while before and before[0] in _LEAD_IN:
                before.pop(0)
            if len(before) > _BACK or _NO_MODIFIER.intersection(before):
                return None
            same = any((each.start, each.end) == (first.start, first.end) for each in own.mentions(clause))
            return _Head(first.row, same, _LEAD_IN.issuperset(before))
        return None


@dataclass(frozen=True, slots=True)
class _Head:
    """The ID class that a sentence is about."""

    row: int
    own: bool
    """It is the class that was asked about."""
    plain: bool
    """No word in front of it could make it another kind: "a young lion", not "a mountain lion"."""


def _holds(outer: Mention, inner: Mention) -> bool:
    """Tell whether a name is a part of a longer one: "lion" of "sea lion", where both are classes."""
    return outer.start <= inner.start and inner.end <= outer.end and outer.end - outer.start > inner.end - inner.start


def declines(text: str, behind_yes_no: bool = False) -> bool:
    """Tell whether an answer, or what stands behind its yes or no, is a refusal; "I don't see a lion" is none."""
    if _SEES_NONE.match(text):
        return False
    return refuses(text) if behind_yes_no else clean_sentence(text, _LOOKED_AT) is Rejection.REFUSAL


def _nothing(why: Rejection) -> Verification:
    return Verification(Says.NOTHING, rejection=why)


def _without_denials(text: str, own: ClassNames) -> tuple[str, bool]:
    """Take out what says that the picture does not show the class; whether anything did."""
    denied = False
    for aside in _ASIDE.finditer(text):
        if _denial(aside[1], own) is not None:
            text, denied = text.replace(aside[0], "", 1), True
    pieces = _CLAUSE.split(text)
    left = [_denial(piece, own) if at < _CLAUSES else None for at, piece in enumerate(pieces[::2])]
    if not denied and all(each is None for each in left):
        return text, False
    kept = ""
    for at, without in enumerate(left):
        piece = pieces[2 * at] if without is None else without
        if not _SMALL_TALK.issuperset(_WORD.findall(piece.casefold())):
            kept += (pieces[2 * at - 1] if kept else "") + piece
    kept = _HANGING.sub("", kept)
    return (kept if any(map(str.isalpha, kept)) else ""), True


def _denial(clause: str, own: ClassNames) -> str | None:
    """Return what is left of a clause that denies the class; ``None`` for one that does not."""
    if _BARE_DENIAL.fullmatch(clause):
        return ""
    for found in _NOT.finditer(clause):
        behind = " ".join(clause[found.end() :].split()[:_NEAR])
        # "no" may be a part of the name: "no parking sign"
        inside = own.find_alias(behind) is None and own.find_alias(clause[found.start() :]) is not None
        if not inside and own.find(behind) is not None:
            before = clause[: found.start()]
            if "n't" in found[0] or _OPEN_ENDED.search(before):
                return ""
            return _HANGING.sub("", before)
    return None
