"""The classes of the benchmark: what is known, what looks like it, and what is far from it."""

KNOWN = {
    "animal-mammal": ("lion", "elephant", "giraffe", "panda", "zebra", "rabbit"),
    "animal-bird": ("penguin", "owl", "flamingo", "parrot", "duck"),
    "food-fruit": ("banana", "strawberry", "pineapple", "watermelon", "lemon", "grapes"),
    "transport-ground": ("bus", "taxi", "ambulance", "tractor", "bicycle", "locomotive"),
    "musical-instrument": ("guitar", "violin", "trumpet", "drum", "accordion"),
    "food-sweet": ("doughnut", "cookie", "cupcake", "lollipop"),
    "tool": ("hammer", "axe", "screwdriver", "magnet", "shield"),
    "clothing": ("jeans", "dress", "backpack", "crown", "necktie"),
}
"""The ID classes by subgroup."""

NEAR = {
    "animal-mammal": ("wolf", "fox", "tiger", "koala", "hippopotamus", "bear", "kangaroo"),
    "animal-bird": ("eagle", "swan", "peacock", "rooster", "turkey", "dove"),
    "food-fruit": ("pear", "peach", "mango", "cherries", "tangerine", "coconut"),
    "transport-ground": ("automobile", "monorail", "motorcycle", "tram", "skateboard"),
    "musical-instrument": ("saxophone", "banjo", "flute", "maracas"),
    "food-sweet": ("pie", "candy", "shortcake"),
    "tool": ("wrench", "dagger", "bomb", "ladder"),
    "clothing": ("scarf", "socks", "shirt", "shorts", "handbag"),
}
"""The near-OOD concepts: other members of the same subgroups."""

FAR = (
    "ghost",
    "robot",
    "alien",
    "skull",
    "clown face",
    "nerd face",
    "partying face",
    "broken heart",
    "thumbs up",
    "victory hand",
    "tooth",
    "brain",
    "eye",
    "astronaut",
    "police officer",
    "ninja",
    "firefighter",
    "mermaid",
    "santa claus",
    "vampire",
    "soccer ball",
    "basketball",
    "trophy",
    "kite",
    "christmas tree",
    "balloon",
    "fireworks",
    "game die",
    "puzzle piece",
    "bowling",
    "bullseye",
    "artist palette",
    "radioactive",
    "yin yang",
    "peace symbol",
    "warning",
    "no entry",
    "recycling symbol",
)
"""The far-OOD concepts: members of the other groups."""

SYNONYMS = {
    "lion": ("leo",),
    "rabbit": ("bunny",),
    "bus": ("minibus", "trolleybus"),
    "bicycle": ("bicycles", "biking"),
    "locomotive": ("train", "railway", "engine"),
    "watermelon": ("melon",),
}
"""Words of the captions that mean the same as an ID class, or nearly so."""


def known_classes() -> list[str]:
    """The ID class names in index order."""
    return [name for names in KNOWN.values() for name in names]


def near_concepts() -> list[str]:
    """The near-OOD concepts."""
    return [name for names in NEAR.values() for name in names]
