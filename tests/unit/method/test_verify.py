"""A table of wordings: what MLLMs answer to "verify or describe", and what each of them says of the picture.

The question was about a lion. Many of the wordings are those of a small instruction-tuned model.
"""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.answer import Rejection
from ants_engine.method.sentence import clean_sentence
from ants_engine.method.verify import Says, Verdict, VerdictReader

NAMES = [
    "lion",
    "zebra",
    "no parking sign",
    "bald eagle",
    "yes logo",
    "golden retriever",
    "car (automobile)",
    "T-shirt",
    "school bus",
    "great white shark",
]
READER = VerdictReader(NAMES, 24)

ASKED = [
    "yes",
    "YES!",
    " Yes.",
    '"yes"',
    "'Yes'",
    "**Yes**",
    "**Answer:** Yes",
    "Answer: yes",
    "The answer is yes.",
    "The answer is: **yes**",
    "My final answer: Yes.",
    "A: yes",
    "Yes, it is a lion.",
    "Yes – a lion",
    "Yes - a lion",
    "Yes—a lion.",
    "Yes (lion)",
    "Yes it is a lion",
    "Yes indeed",
    "Yep.",
    "Yeah, that's a lion",
    "Correct.",
    "Absolutely.",
    "Exactly!",
    "That's right.",
    "I would say yes.",
    "I'd say yes, it is a lion",
    "Sure, yes.",
    "Yes, it does show a lion, standing",
    "Yes, the picture shows a big cat with a mane.",
    "Yes. A wolf",
    "Yes, but the lion is far away.",
    "Yes, it is a lion, not a tiger.",
    "Yes, no doubt.",
    "yes yes yes",
    "Yes. Yes. Yes.",
    "It does show a lion.",
    "It does.",
    "This is a lion",
    "This is a lion.",
    "lion",
    '"lion"',
    "Lions.",
    "A lion resting in the grass",
    "The picture shows two lions and a zebra.",
    "I see a lion.",
    "It looks like a lion.",
    "It appears to be a male lion.",
    "In the picture, a lion is sleeping.",
    "Is this a lion? Yes.",
    '{"answer": "yes"}',
    '{"answer": "Yes", "description": null}',
    '{"answer": true}',
    "{'answer': 'yes'}",
    '["yes"]',
    "<think>It may be a lion.</think>Yes",
    "<answer>yes</answer>",
    "\\boxed{yes}",
    "A cartoon lion",
    "Oui, c'est un lion.",
    "Oui",
    "Ja",
    "Sí, es un león",
    "Sì.",
    "はい",
    "はい、ライオンです",
    "是",
    "是的，这是一只狮子",
    "네",
    "Да, это лев",
    "ｙｅｓ",
    "YES, IT IS A LION",
    "yes lion",
    "1. Yes",
    "- yes",
    "> yes",
    "| yes |",
    "[yes]",
    "(yes)",
    "yes, because it has a mane",
    "A big cat lying in grass. Yes.",
    "It's a lion cub.",
    "A young lion",
    "Lion cub",
    "A pride of lions",
    "A slice of lion",
    "A close-up of a lion's face",
    "A picture of a lion in a zoo",
    "Yes: lion",
    "Lion: yes",
    "Q: Is it a lion? A: Yes.",
    "yes.\n\nExplanation: The picture shows a lion in the grass.",
    "I think it is a lion.",
    "Probably a lion",
    "Yes, probably.",
    "It is likely a lion.",
    "Two lions",
    "2 lions",
    "lion.",
    "The lion",
    "Lion, resting",
    "Lion in the grass",
    "Lions at sea",
    "A lion, a zebra and a wolf",
    "Yes, I can see the picture. It shows a wolf.",
    "Yes. N/A",
    "Y",
    "true",
    '{"class": "lion", "match": true}',
    '{"yes": true}',
    "A lion<|im_end|>",
    "Yes<|im_end|>\n<|im_start|>user\nNo",
    "ANSWER: YES",
    "答：是",
    "Antwort: Ja, das ist ein Löwe.",
    "Oui !",
    "Si, es un leon",
    "Ja, ein Löwe",
    "نعم",
    "हाँ",
    "The picture shows a zebra, but it's actually a lion.",
    "I can see a lion in this picture.",
    "yes\n\nA lion in the grass.",
    "Yes. A lion stands in tall, dry grass under a tree. It looks to the left, and behind it",
]
OTHER = [
    ("Yes, it is a zebra.", "zebra"),
    ("No, it's a zebra.", "zebra"),
    ("No, this is a zebra.", "zebra"),
    ("No. Two zebras at a water hole", "zebra"),
    ("No, it's not a lion. It's a zebra.", "zebra"),
    ("A zebra.", "zebra"),
    ("Zebra", "zebra"),
    ("The image depicts a zebra.", "zebra"),
    ("The animal in the picture is a zebra.", "zebra"),
    ("A car parked in a street", "car (automobile)"),
    ("An automobile on a road", "car (automobile)"),
    ("cars", "car (automobile)"),
    ("T-shirts on a line", "T-shirt"),
    ("School buses in a row", "school bus"),
    ("No parking sign on a wall", "no parking sign"),
    ("A no parking sign", "no parking sign"),
    ("Yes logo on a red wall", "yes logo"),
    ("A bowl of zebras", "zebra"),
    ("The sign in front of the house is a no parking sign", "no parking sign"),
    ("The picture does not show a lion, it shows a zebra.", "zebra"),
    ('{"verdict": "no", "what": "A zebra in the grass"}', "zebra"),
    ("The picture has a red car but not a lion.", "car (automobile)"),
    ("The picture is a red sports car in a garage, but it shows a lion.", "car (automobile)"),
]
OOD: list[tuple[str, str | Rejection]] = [
    ("Yes, but it's not a lion, it's a tiger.", "it's a tiger"),
    ('Does the picture show "lion"? No, a wolf.', "a wolf"),
    ('{"shows_lion": false, "description": "A wolf in the snow"}', "A wolf in the snow"),
    ('{"answer": "no", "description": "A wolf in the snow"}', "A wolf in the snow"),
    ('{"no": "A wolf in the snow"}', "A wolf in the snow"),
    ('{"description": "A wolf in the snow"}', "A wolf in the snow"),
    ("<think>It is no lion.</think>\n\nNo. A wolf in the snow", "A wolf in the snow"),
    ("No", Rejection.EMPTY),
    ("no.", Rejection.EMPTY),
    ("**No.**", Rejection.EMPTY),
    ("No. A wolf in the snow", "A wolf in the snow"),
    ("No, a wolf in the snow.", "a wolf in the snow"),
    ("No - a wolf in the snow", "a wolf in the snow"),
    ("No it is a wolf", "it is a wolf"),
    ("No a wolf in the snow", "a wolf in the snow"),
    ("No: A wolf in the snow", "A wolf in the snow"),
    ("No. Description: A wolf in the snow.", "A wolf in the snow"),
    ("Answer: No. Description: A wolf in the snow.", "A wolf in the snow"),
    ("No. Instead, it shows: a wolf", "a wolf"),
    ("No, instead it shows a wolf", "it shows a wolf"),
    ("No, it is not a lion.", Rejection.ECHO),
    ("No, it is not. It's a wolf.", "It's a wolf"),
    ("No, it isn't; it is a wolf", "it is a wolf"),
    ("No lion. A wolf in the snow", "A wolf in the snow"),
    ("No lion is visible, just a wolf.", "just a wolf"),
    ("There is no lion in the picture. A wolf in the snow.", "A wolf in the snow"),
    ("No, a mountain lion on a rock", "a mountain lion on a rock"),
    ("No, a toy lion", "a toy lion"),
    ("No, a statue of a lion", "a statue of a lion"),
    ("No. N/A", Rejection.EMPTY),
    ("Not a lion but a tiger cub", "a tiger cub"),
    ("Not a lion.", Rejection.ECHO),
    ("not a lion, a wolf", "a wolf"),
    ("It is not a lion.", Rejection.ECHO),
    ("It isn't a lion; it's a wolf.", "it's a wolf"),
    ("This is not a lion. It is a tiger.", "It is a tiger"),
    ("The picture does not show a lion. It shows a wolf in the snow.", "It shows a wolf in the snow"),
    ('The picture does not show "lion". It shows a wolf.', "It shows a wolf"),
    ("I don't see a lion. It is a wolf.", "It is a wolf"),
    ("I do not see any lion in this image.", Rejection.ECHO),
    ("A wolf, not a lion", "A wolf"),
    ("A wolf rather than a lion", "A wolf"),
    ("A wolf (not a lion) in the snow", "A wolf in the snow"),
    ("A wolf in the snow", "A wolf in the snow"),
    ("A zebra-striped couch", "A zebra-striped couch"),
    ("A zebra striped couch", "A zebra striped couch"),
    ("A zebra print rug", "A zebra print rug"),
    ("Zebra stripes on a wall", "Zebra stripes on a wall"),
    ("A man riding a zebra", "A man riding a zebra"),
    ("A couch with a zebra pattern", "A couch with a zebra pattern"),
    ("An animal like a zebra", "An animal like a zebra"),
    ("A sea lion on a rock", "A sea lion on a rock"),
    ("A sea-lion on a rock", "A sea-lion on a rock"),
    ("A statue of a lion", "A statue of a lion"),
    ("A toy lion on a shelf", "A toy lion on a shelf"),
    ("A dog that looks like a lion", "A dog that looks like a lion"),
    ("A dog dressed as a lion", "A dog dressed as a lion"),
    ("A lion statue in front of a library", "A lion statue in front of a library"),
    ("A golden eagle on a branch", "A golden eagle on a branch"),
    ("A dog running", "A dog running"),
    ("No people on the beach", "No people on the beach"),
    ("Non-fiction books on a shelf", "Non-fiction books on a shelf"),
    ("No. 5 perfume bottle", "No. 5 perfume bottle"),
    ("Nein. Ein Wolf im Schnee", "Ein Wolf im Schnee"),
    ("Nein, ein Wolf im Schnee.", "ein Wolf im Schnee"),
    ("Não, um lobo na neve", "um lobo na neve"),
    ("Non, un loup dans la neige", "un loup dans la neige"),
    ("いいえ、オオカミです", Rejection.NOT_LATIN),
    ("不是，是一只狼", Rejection.NOT_LATIN),
    ("否", Rejection.EMPTY),
    ("不", Rejection.EMPTY),
    ("Нет, это волк", Rejection.NOT_LATIN),
    ("No, because it is a wolf", "it is a wolf"),
    ("Nope, a wolf.", "a wolf"),
    ("False. A wolf", "A wolf"),
    ("Neither. A wolf", "A wolf"),
    ("A wolf in the snow. So the answer is no.", "A wolf in the snow"),
    ("The picture does not show", Rejection.ECHO),
    ("The picture depicts a golden eagle, but it's not a lion.", "The picture depicts a golden eagle"),
    ("The picture has a balloon, but it's not actually a lion.", "The picture has a balloon"),
    ("A street without a lion", "A street"),
    ("A cage without lions, in a park", "A cage, in a park"),
    ("A glass of water", "A glass of water"),
    ("A statue of a zebra", "A statue of a zebra"),
    ("A man on a zebra", "A man on a zebra"),
    ("It doesn't show a lion. Instead, it shows a wolf.", "it shows a wolf"),
    ("It does not show a lion but a wolf in the snow.", "a wolf in the snow"),
    ("The image does not contain a lion; rather, it depicts a wolf.", "it depicts a wolf"),
    ("There isn't a lion in this picture, only a wolf.", "only a wolf"),
    ("This isn't a lion, this is a wolf.", "this is a wolf"),
    ("Lion: no, a wolf", "a wolf"),
    ("Shows lion? no. A wolf.", "A wolf"),
    ("The answer is no. It shows a wolf in the snow.", "It shows a wolf in the snow"),
    ("No.\n\nDescription: A wolf stands in the snow.", "A wolf stands in the snow"),
    ("**No.** *A wolf stands in the snow.*", "A wolf stands in the snow.*"),
    ("No → a wolf in the snow", "a wolf in the snow"),
    ("No; a wolf in the snow", "a wolf in the snow"),
    ("No… a wolf", "a wolf"),
    ("NO A WOLF IN THE SNOW", "A WOLF IN THE SNOW"),
    ("no (it's a wolf)", "it's a wolf"),
    ("Not quite. It's a wolf.", "It's a wolf"),
    ("Not really, it is a wolf", "it is a wolf"),
    ("It is something else: a wolf in the snow.", "It is something else: a wolf in the snow"),
    ("Something else", Rejection.EMPTY),
    ("Other", Rejection.EMPTY),
    ("I believe this is a wolf.", "I believe this is a wolf"),
    ("Panthera leo", "Panthera leo"),
    ('The word "lion" on a sign', 'The word "lion" on a sign'),
    ("Sorry, this is not a lion, it is a wolf.", "it is a wolf"),
    ("I'm sorry, but this is not a lion.", Rejection.ECHO),
    ("Sorry, no.", Rejection.EMPTY),
    ("Yesterday's paper", "Yesterday's paper"),
    ("Noodles in a bowl", "Noodles in a bowl"),
    ("Nothing but sand", "Nothing but sand"),
    ("n", Rejection.EMPTY),
    ('{"match": false}', Rejection.EMPTY),
    ('[{"answer": "no"}, {"sentence": "A wolf in the snow"}]', "A wolf in the snow"),
    ("Nein, das ist kein Löwe. Ein Wolf im Schnee.", "das ist kein Löwe"),
    ("Nee, een wolf in de sneeuw", "een wolf in de sneeuw"),
    ("Ei, susi lumessa", "susi lumessa"),
    ("لا، ذئب في الثلج", Rejection.NOT_LATIN),
    ("아니요, 늑대입니다", Rejection.NOT_LATIN),
    (
        "The picture depicts a golden eagle, but it's not a bald eagle.",
        "The picture depicts a golden eagle, but it's not a bald eagle",
    ),
    ("The picture of a lion is a bear, not a lion.", "The picture of a lion is a bear"),
    ("The picture shows an empty street, but it doesn't have a lion.", "The picture shows an empty street"),
    ("The picture is a slice of pizza with cheese. It's a staple.", "The picture is a slice of pizza with cheese"),
    (
        'The picture is a plate of sushi, but it doesn\'t necessarily show "lion" here.',
        "The picture is a plate of sushi",
    ),
    ("The picture depicts a lioness, not a zebra.", "The picture depicts a lioness, not a zebra"),
    ("She is not a lion.", Rejection.ECHO),
    ("No\nA wolf in the snow", "A wolf in the snow"),
    ('```json\n{"answer": "no", "description": "A wolf in the snow."}\n```', "A wolf in the snow"),
    ("No. a dog dog dog dog dog dog dog dog dog", Rejection.RAMBLING),
]
NOTHING = [
    ("Yes, but it is blurry", Rejection.UNDECIDED),
    ("Yes, but it is not a lion", Rejection.UNDECIDED),
    ("yes or no", Rejection.UNDECIDED),
    ("yes/no", Rejection.UNDECIDED),
    ("Yes and no.", Rejection.UNDECIDED),
    ("Yes. No.", Rejection.UNDECIDED),
    ("No. A lion in the grass", Rejection.UNDECIDED),
    ("No, I cannot see any picture.", Rejection.REFUSAL),
    ("An eagle on a branch", Rejection.NAMES_ID_CLASS),
    ("A retriever with a stick", Rejection.NAMES_ID_CLASS),
    ("Maybe a lion", Rejection.UNDECIDED),
    ("It could be a lion.", Rejection.UNDECIDED),
    ("Perhaps", Rejection.UNDECIDED),
    ("I'm not sure if this is a lion.", Rejection.REFUSAL),
    ("Is this a lion?", Rejection.UNDECIDED),
    ("I'm sorry, I can't help with that.", Rejection.REFUSAL),
    ("I cannot see the picture.", Rejection.REFUSAL),
    ("There is no image attached.", Rejection.REFUSAL),
    ("none", Rejection.REFUSAL),
    ("None of the above", Rejection.UNDECIDED),
    ("Nothing", Rejection.REFUSAL),
    ("...", Rejection.EMPTY),
    ("unknown", Rejection.REFUSAL),
    ("We need to decide if the picture shows a lion", Rejection.NAMES_ID_CLASS),
    ("Okay, the user asks whether this is a lion. It is.", Rejection.RAMBLING),
    ("a group of people near a lion", Rejection.NAMES_ID_CLASS),
    ("No. The picture shows a lion.", Rejection.UNDECIDED),
    ("No, not a lion. A lion cub.", Rejection.UNDECIDED),
    ("Possibly yes", Rejection.UNDECIDED),
    ("A wolf, a zebra and a lion", Rejection.NAMES_ID_CLASS),
    ("A wolf and a lion", Rejection.NAMES_ID_CLASS),
    ('A sign that says "no"', Rejection.NAMES_ID_CLASS),
    ("A sign that says yes", Rejection.NAMES_ID_CLASS),
    ("I'm sorry, I can't tell if it is a lion.", Rejection.REFUSAL),
    ("It is hard to tell.", Rejection.REFUSAL),
    ("Unclear", Rejection.REFUSAL),
    ("Yes, please provide the image.", Rejection.REFUSAL),
    ("Yes. I'm sorry, I cannot see images.", Rejection.REFUSAL),
    ("yes\nno", Rejection.UNDECIDED),
    ("no\nyes", Rejection.UNDECIDED),
    ("Yes.\nNo. A wolf", Rejection.UNDECIDED),
    ('{"answer": "yes or no"}', Rejection.UNDECIDED),
    ("<think>", Rejection.EMPTY),
    ("<think>yes</think>", Rejection.EMPTY),
    ("The picture shows a lion, but it's actually a bear.", Rejection.UNDECIDED),
    ("The picture shows a lion, but it's not a lion.", Rejection.UNDECIDED),
    ("The picture is a lion, but I'm not sure of it yet.", Rejection.UNDECIDED),
    ("The picture shows a striped couch with a lion on it.", Rejection.NAMES_ID_CLASS),
    ("", Rejection.EMPTY),
    ("N/A", Rejection.REFUSAL),
]

EVERY = [*ASKED, *(text for table in (OTHER, OOD, NOTHING) for text, _ in table)]


def read(text: str, asked: str = "lion", names: list[str] | None = None) -> Verdict:
    if names is None:
        return READER.read(text, NAMES.index(asked))
    return VerdictReader(names, 24).read(text, names.index(asked))


@pytest.mark.parametrize("text", ASKED)
def test_it_shows_the_class_that_was_asked_about(text: str) -> None:
    verdict = read(text)
    assert verdict == Verdict(Says.ASKED, 0)
    assert verdict.is_id is True


@pytest.mark.parametrize(("text", "name"), OTHER)
def test_it_shows_another_id_class(text: str, name: str) -> None:
    verdict = read(text)
    assert verdict == Verdict(Says.OTHER, NAMES.index(name))
    assert verdict.is_id is True


@pytest.mark.parametrize(("text", "left"), OOD)
def test_it_shows_no_id_class_and_the_sentence_is_what_is_left(text: str, left: str | Rejection) -> None:
    verdict = read(text)
    if isinstance(left, Rejection):
        assert verdict == Verdict(Says.OOD, rejection=left)
    else:
        assert verdict == Verdict(Says.OOD, sentence=left)
    assert verdict.is_id is False


@pytest.mark.parametrize(("text", "why"), NOTHING)
def test_it_decides_nothing(text: str, why: Rejection) -> None:
    verdict = read(text)
    assert verdict == Verdict(Says.NOTHING, rejection=why)
    assert verdict.is_id is None


def test_the_table_is_long_enough() -> None:
    assert len(set(EVERY)) == len(EVERY) >= 300


def test_a_plain_description_is_cleaned_as_every_sentence_is() -> None:
    for text in ("Sure! Here is a caption: A wolf, in snow.", "1. A wolf\n2. A dog", "A wolf. It howls.", "“A wolf.”"):
        assert read(text).sentence == clean_sentence(text, 24)
    assert VerdictReader(NAMES, 3).read("No. A grey wolf in the snow", 0).sentence == "A grey wolf"


@pytest.mark.parametrize(
    ("text", "names", "asked", "expected"),
    [
        # of names within each other the longest counts
        ("A sea lion on a rock", ["lion", "sea lion"], "lion", Verdict(Says.OTHER, 1)),
        ("A sea lion on a rock", ["lion", "sea lion"], "sea lion", Verdict(Says.ASKED, 1)),
        ("A lion on a rock", ["lion", "sea lion"], "sea lion", Verdict(Says.OTHER, 0)),
        ("No, a lion", ["lion", "sea lion"], "sea lion", Verdict(Says.OTHER, 0)),
        ("No, a mountain lion", ["lion", "mountain lion"], "lion", Verdict(Says.OTHER, 1)),
        # names that hold the words that decide
        ("No parking sign on a pole", ["no parking sign", "wolf"], "no parking sign", Verdict(Says.ASKED, 0)),
        ("No, a wolf", ["no parking sign", "wolf"], "no parking sign", Verdict(Says.OTHER, 1)),
        ("The picture shows a no parking sign.", ["no parking sign"], "no parking sign", Verdict(Says.ASKED, 0)),
        (
            "It is not a no parking sign.",
            ["no parking sign"],
            "no parking sign",
            Verdict(Says.OOD, rejection=Rejection.ECHO),
        ),
        ("yes", ["yes", "no"], "no", Verdict(Says.ASKED, 1)),
        ("no", ["yes", "no"], "yes", Verdict(Says.OOD, rejection=Rejection.EMPTY)),
        ("yes", ["none", "nothing"], "none", Verdict(Says.ASKED, 0)),
        ("School bus: no, a truck", ["school bus"], "school bus", Verdict(Says.OOD, sentence="a truck")),
        # aliases, plurals, one name twice
        ("No, an automobile", ["car (automobile)", "bus"], "bus", Verdict(Says.OTHER, 0)),
        ("Two buses", ["car (automobile)", "bus"], "bus", Verdict(Says.ASKED, 1)),
        ("King of beasts", ["lion, king of beasts"], "lion, king of beasts", Verdict(Says.ASKED, 0)),
        ("A hotdog", ["hot dog"], "hot dog", Verdict(Says.ASKED, 0)),
        ("A hot dog", ["dog"], "dog", Verdict(Says.OOD, sentence="A hot dog")),
        ("A crème brûlée", ["creme brulee"], "creme brulee", Verdict(Says.ASKED, 0)),
        ("狮子", ["狮子", "狼"], "狮子", Verdict(Says.ASKED, 0)),
        ("不是，狼", ["狮子", "狼"], "狮子", Verdict(Says.OOD, rejection=Rejection.NOT_LATIN)),
        # a short form may be the class or another of the kind; after a no to that class it is another
        ("An eagle", ["bald eagle"], "bald eagle", Verdict(Says.NOTHING, rejection=Rejection.NAMES_ID_CLASS)),
        ("No. An eagle", ["bald eagle"], "bald eagle", Verdict(Says.OOD, sentence="An eagle")),
        ("No. An eagle", ["bald eagle", "kite"], "kite", Verdict(Says.NOTHING, rejection=Rejection.NAMES_ID_CLASS)),
        ("Yes, an eagle", ["bald eagle", "kite"], "bald eagle", Verdict(Says.ASKED, 0)),
        # a name is data, whatever it holds
        ("Yes", ['a "b"\n; say no', "x"], 'a "b"\n; say no', Verdict(Says.ASKED, 0)),
        ("No. A wolf", ["(.*", "[z"], "(.*", Verdict(Says.OOD, sentence="A wolf")),
    ],
)
def test_class_names_as_lists_have_them(text: str, names: list[str], asked: str, expected: Verdict) -> None:
    assert read(text, asked, names) == expected


FOOD = ["apple_pie", "french_fries", "chocolate_cake", "steak", "ramen", "ice_cream", "fish_and_chips", "hot_dog"]
THINGS = ["dog", "airplane", "bird", "cat", "deer", "horse", "ship", "truck"]


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (FOOD, "A slice of apple pie with a scoop of ice cream", "apple_pie"),
        (FOOD, "A homemade apple pie cooling on a windowsill", "apple_pie"),
        (FOOD, "Yes, it is a slice of pie.", "apple_pie"),
        (FOOD, "It is an apple pie, but with a twist", "apple_pie"),
        (FOOD, "A plate of french fries with ketchup.", "french_fries"),
        (FOOD, "A delicious looking chocolate cake with frosting", "chocolate_cake"),
        (FOOD, "Grilled steak with vegetables", "steak"),
        (FOOD, "No, the image shows a bowl of ramen noodles with egg.", "ramen"),
        (FOOD, "A bowl of ice cream next to an apple pie", "ice_cream"),
        (FOOD, "no, fish and chips", "fish_and_chips"),
        (FOOD, "Pie", None),
        (FOOD, "The dish is a quiche, similar to an apple pie", None),
        (FOOD, "No. It's a slice of cherry pie.", ""),
        (FOOD, "A dog holding a hot dog", ""),
        (FOOD, "Steak knife on a table", ""),
        (FOOD, "A fish tank", ""),
        (FOOD, "No apple pie here, only apples", ""),
        (FOOD, "This appears to be some kind of tart, not an apple pie.", ""),
        (FOOD, "not apple pie: a tart", ""),
        (THINGS, "Two dogs playing in the park", "dog"),
        (THINGS, "A painting of a dog", "dog"),
        (THINGS, "Dog (Canis lupus familiaris)", "dog"),
        (THINGS, "Yes: brown dog sitting.", "dog"),
        (THINGS, "yes its a dog", "dog"),
        (THINGS, "| yes | a dog |", "dog"),
        (THINGS, "The picture shows a tail, so my answer is yes.", "dog"),
        (THINGS, "✅ yes", "dog"),
        (THINGS, "It's a cat, not a dog.", "cat"),
        (THINGS, "Not a dog. Cat.", "cat"),
        (THINGS, "No\n\nA cat is sitting on a chair.", "cat"),
        (THINGS, "No, I don't see a dog. I see a cat.", "cat"),
        (THINGS, "A cat and a dog", "cat"),
        (THINGS, "A flock of birds flying over the sea", "bird"),
        (THINGS, "A fire truck", "truck"),
        (THINGS, "A man walking a dog", None),
        (THINGS, "It's hard to see, but it looks like a dog", None),
        (THINGS, "The image is too blurry to identify.", None),
        (THINGS, "It is blurry", None),
        (THINGS, "I can't tell.", None),
        (THINGS, "A toy truck", ""),
        (THINGS, "An airplane wing", ""),
        (THINGS, "A horse-drawn carriage", ""),
        (THINGS, "A dog house", ""),
        (THINGS, "A stuffed dog", ""),
        (THINGS, "A boy feeding a horse", ""),
        (THINGS, "No, I see a keyboard.", ""),
        (THINGS, "I see no dog.", ""),
        (THINGS, "I do not think this is a dog.", ""),
        (THINGS, "I don't think it's a dog; it looks like a fox.", ""),
        (THINGS, "The picture shows something that is not a dog.", ""),
        (THINGS, "Definitely not a dog", ""),
        (THINGS, "Certainly not. It is a fox.", ""),
        (THINGS, "neither a dog nor a cat, a fox", ""),
        (THINGS, "[No] A fox in the grass", ""),
        (THINGS, "No.A fox in the grass", ""),
        (THINGS, "1. No\n2. A fox in the grass", ""),
        (THINGS, "- Answer: no\n- Description: A fox in the grass", ""),
    ],
)
def test_what_is_said_of_other_lists(names: list[str], text: str, expected: str | None) -> None:
    """The first class is asked about; "" is OOD, and ``None`` no vote."""
    verdict = read(text, names[0], names)
    assert (None if verdict.row is None else names[verdict.row]) == (expected or None)
    assert verdict.is_id is (None if expected is None else expected != "")


def test_a_name_that_a_list_holds_twice_is_the_asked_one() -> None:
    assert VerdictReader(["crane", "wolf", "crane"], 24).read("A crane at a lake", 2) == Verdict(Says.ASKED, 2)


@pytest.mark.parametrize(
    "dress",
    [
        "  {}\n\n".format,
        '"{}"'.format,
        "“{}”".format,
        "\t{} ".format,
        "<think>A lion? No. Yes.</think>\n{}".format,
        "{}<|im_end|>".format,
        "<answer>{}</answer>".format,
    ],
)
def test_what_surrounds_an_answer_makes_no_difference(dress: Callable[[str], str]) -> None:
    for text in EVERY:
        if "<" not in text and not text.startswith(("{", "[", "```")) and any(map(str.isalnum, text)):
            assert read(dress(text)) == read(text), text


def test_upper_case_makes_no_difference() -> None:
    for text in EVERY:
        if text.isascii() and "{" not in text and "boxed" not in text:
            found, shouted = read(text), read(text.upper())
            assert (found.says, found.row) == (shouted.says, shouted.row), text


@given(
    text=st.one_of(
        st.text(max_size=200),
        st.lists(
            st.sampled_from(
                [*'yn.,:;\n -("', "yes ", "no ", "not ", "a ", "lion ", "zebra ", "it is ", "but ", "wolf "],
            ),
            max_size=20,
        ).map("".join),
    ),
    asked=st.integers(0, len(NAMES) - 1),
)
def test_any_answer_is_exactly_one_of_four(text: str, asked: int) -> None:
    verdict = READER.read(text, asked)
    assert verdict == READER.read(f"  {text}\n ", asked)
    match verdict.says:
        case Says.ASKED:
            assert verdict == Verdict(Says.ASKED, asked)
        case Says.OTHER:
            assert verdict.row not in {None, asked}
            assert verdict == Verdict(Says.OTHER, verdict.row)
        case Says.OOD:
            assert verdict.row is None
            assert (verdict.sentence is None) != (verdict.rejection is None)
            assert verdict.sentence is None or verdict.sentence == " ".join(verdict.sentence.split()) != ""
        case Says.NOTHING:
            assert verdict == Verdict(Says.NOTHING, rejection=verdict.rejection)
            assert verdict.rejection is not None


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "yes ",
            "no, ",
            "not a lion, ",
            "lion ",
            "a lion but ",
            "(not a lion) ",
            "zebra-",
            "it is ",
            ", ",
            "\n",
            "of ",
        ),
        *("{", "but it's actually a "),
    ],
)
def test_a_huge_answer_costs_nothing(unit: str) -> None:
    started = time.process_time()
    read(unit * (200_000 // len(unit)))
    assert time.process_time() - started < 1.0


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(IndexError, match="class 10 of 10"):
        READER.read("yes", 10)
    with pytest.raises(ValueError, match="max_words must be at least 1"):
        VerdictReader(NAMES, 0)
