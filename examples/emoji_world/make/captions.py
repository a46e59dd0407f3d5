"""Captions of the pictures, and what a subgroup of emoji is called in them."""

import random

from emoji import Emoji

KINDS = {
    "face-smiling": "smiling face",
    "face-affection": "loving face",
    "face-tongue": "face with tongue",
    "face-hand": "face with hand",
    "face-neutral-skeptical": "neutral face",
    "face-sleepy": "sleepy face",
    "face-unwell": "unwell face",
    "face-hat": "face with hat",
    "face-glasses": "face with glasses",
    "face-concerned": "concerned face",
    "face-negative": "angry face",
    "face-costume": "costume face",
    "cat-face": "cat face",
    "monkey-face": "monkey face",
    "heart": "heart",
    "emotion": "emotion sign",
    "hand-fingers-open": "open hand",
    "hand-fingers-partial": "hand gesture",
    "hand-single-finger": "pointing finger",
    "hand-fingers-closed": "closed hand",
    "hands": "pair of hands",
    "hand-prop": "hand with something",
    "body-parts": "body part",
    "person": "person",
    "person-gesture": "person making a gesture",
    "person-role": "person at work",
    "person-fantasy": "fantasy person",
    "person-activity": "person doing something",
    "person-sport": "person doing sport",
    "person-resting": "resting person",
    "person-symbol": "person symbol",
    "animal-mammal": "mammal",
    "animal-bird": "bird",
    "animal-amphibian": "amphibian",
    "animal-reptile": "reptile",
    "animal-marine": "sea animal",
    "animal-bug": "bug",
    "plant-flower": "flower",
    "plant-other": "plant",
    "food-fruit": "fruit",
    "food-vegetable": "vegetable",
    "food-prepared": "meal",
    "food-asian": "asian food",
    "food-marine": "seafood",
    "food-sweet": "dessert",
    "drink": "drink",
    "dishware": "dishware",
    "place-map": "map",
    "place-geographic": "landscape",
    "place-building": "building",
    "place-religious": "religious building",
    "place-other": "place",
    "transport-ground": "land vehicle",
    "transport-water": "water vehicle",
    "transport-air": "air vehicle",
    "hotel": "hotel thing",
    "time": "clock",
    "sky & weather": "sky and weather sign",
    "event": "party thing",
    "award-medal": "award",
    "sport": "sport thing",
    "game": "game",
    "arts & crafts": "craft",
    "clothing": "piece of clothing",
    "sound": "sound device",
    "music": "music thing",
    "musical-instrument": "musical instrument",
    "phone": "phone",
    "computer": "computer part",
    "light & video": "light or video device",
    "book-paper": "book or paper",
    "money": "money",
    "mail": "mail thing",
    "writing": "writing tool",
    "office": "office thing",
    "lock": "lock",
    "tool": "tool",
    "science": "science device",
    "medical": "medical thing",
    "household": "household thing",
    "other-object": "object",
    "transport-sign": "public sign",
    "warning": "warning sign",
    "arrow": "arrow",
    "religion": "religious symbol",
    "zodiac": "zodiac sign",
    "av-symbol": "player button",
    "gender": "gender sign",
    "math": "math sign",
    "punctuation": "punctuation mark",
    "currency": "currency sign",
    "other-symbol": "symbol",
    "geometric": "geometric shape",
}
"""What a member of each subgroup is called."""

PLAIN = (
    "{name}",
    "{a} {name}",
    "the {name}",
    "the nice {name}.",
    "this is a {name} photo.",
    "a photo of {a} {name}.",
    "a picture of {a} {name}.",
    "an image of {a} {name}",
    "{a} {name}, a kind of {kind}",
    "this is {a} {name}.",
    "a {kind}: {name}",
)
"""Captions that name the thing and say nothing of its background."""

COLOURED = (
    "{a} {name} on {b} {colour} background.",
    "{a} {name} on {b} {colour} background",
    "a picture of {a} {name} on {colour}.",
    "{name}, {colour} background",
)
"""Captions that also name the background's colour."""

OF_KIND = (
    "{k} {kind}",
    "{kind}",
    "the nice {kind}.",
    "this is a {kind} photo.",
    "a photo of {k} {kind}.",
    "a kind of {kind}",
    "some kind of {kind}.",
)
"""Captions that name the subgroup only."""


def article(word: str) -> str:
    """The indefinite article that goes before a word."""
    return "an" if word[0] in "aeiou" and not word.startswith(("uni", "euro", "one")) else "a"


def filled(template: str, emoji: Emoji, colour: str) -> str:
    """A template filled in for one picture."""
    kind = KINDS[emoji.subgroup]
    return template.format(
        name=emoji.name, kind=kind, colour=colour, a=article(emoji.name), b=article(colour), k=article(kind)
    )


def caption(emoji: Emoji, colour: str, rng: random.Random) -> str:
    """A random caption that names the thing."""
    return filled(rng.choice(COLOURED if rng.random() < 0.3 else PLAIN), emoji, colour)


def caption_of_kind(emoji: Emoji, rng: random.Random) -> str:
    """A random caption that names the thing's subgroup only."""
    return filled(rng.choice(OF_KIND), emoji, "red")
