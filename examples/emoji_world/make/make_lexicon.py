"""Write the lexicon: the single words of the captions' vocabulary, without the ID names and their synonyms."""

import re

from benchmark import SYNONYMS, known_classes
from emoji import all_emoji
from words import caption_words
from workspace import WORLD

ADJECTIVES_TEXT = """
1st 2nd 3rd adhesive american anatomical angry anguished anxious articulated asian astonished baby bald beaming
beating bento big billed biting black blond blowing blue bouncing bowing bright broken brown canned capped
cartwheeling clapping classical climbing clinking clockwise closed cold concerned confounded confused cooked
counterclockwise crossed crossing crying curling curly curving dancing dashing deaf deciduous decorative decreasing
derelict diagonal dim disappointed disguised diving dizzy dotted double down downcast downwards drooling dusk eight
eighteen electric empty enraged evergreen evil exhaling exploding expressionless facing fallen fantasy fast fearful
female fencing flat flexed floppy flushed fluttering flying foggy folded folding four framed french fried front
frowning full geometric gesturing getting gibbous glowing golfing green grey grimacing grinning growing hatching
hearing heavy heeled high hiking hindu holding hollow horizontal hot hugging hundred hushed incoming increasing
japanese juggling kissing kneeling large last latin laughing leafy left leftwards levitating lifting light linked
locked long loving low lowered lying magic magnifying male martial mechanical medical medium melting mending
military milky mobile motorized mountain musical muted mx national nauseated neutral new nice old older oncoming
open optical orange orthodox peeking pensive performing persevering pinched pinching pink playing pleading pointed
pointing polar postal potable potted pouring pouting pregnant prohibited public purple pushing racing radioactive
raised raising red registered relieved religious resting reverse revolving right rightwards ringed roasted rolled
rolling round rowing running sad saluting savoring screaming see sewing shaking shallow shaved shooting shopping
showing shrugging shushing single six sleeping sleepy slightly small smiling smirking sneezing soft sparkling
speaking spiral splayed spoked spouting square squinting standing steaming steamy straight struck stuffed surfing
sweet swimming tear thinking tilted tipping tired triangular tropical two unamused unlocked unwell upside upwards
vertical vomiting walking waning warning waving wavy waxing wearing weary white wilted winking wireless woozy
worried wrapped writing wry yawning yellow zany
"""
ADJECTIVES = frozenset(ADJECTIVES_TEXT.split())
"""The words of the captions that describe rather than name."""

LEFT_OUT_TEXT = """
a an and at away background behind but by d david de doing e for from getting image in is isn it kind lis loudly
making mans me mens mrs no non not of off ok on one or out over photo picture showing some something soon t taking
that the thing this to together under up way with without womans womens x you your
"""
LEFT_OUT = frozenset(LEFT_OUT_TEXT.split())
"""Words that neither name nor describe, and those that every caption has."""


def lexicon() -> list[tuple[str, str]]:
    """The words with their kind, nouns and adjectives."""
    known = {word for name in known_classes() for word in name.split()}
    known |= {word for words in SYNONYMS.values() for word in words}
    known |= {f"{word}s" for word in known}
    return [
        (word, "adjective" if word in ADJECTIVES else "noun")
        for word in caption_words(all_emoji())
        if re.fullmatch(r"[a-z][a-z0-9]+|[0-9][a-z]+", word) and word not in known and word not in LEFT_OUT
    ]


def main() -> None:
    """Write the lexicon."""
    words = lexicon()
    head = (
        "# The words of the emoji world's captions, one a line with its kind.",
        "# The ID class names and their synonyms are left out.",
    )
    lines = [*head, *(f"{word}\t{kind}" for word, kind in words)]
    (WORLD / "lexicon.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    nouns = sum(kind == "noun" for _, kind in words)
    print(f"{nouns} nouns, {len(words) - nouns} adjectives")


if __name__ == "__main__":
    main()
