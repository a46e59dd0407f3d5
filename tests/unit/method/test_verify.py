import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.answer import Rejection
from ants_engine.method.sentence import clean_sentence
from ants_engine.method.verify import Says, VerdictReader, Verification
from tests.support.verdict_wordings import ASKED, EVERY, NAMES, NOTHING, OOD, OTHER

READER = VerdictReader(NAMES, 24)


def read(text: str, asked: str = "lion", names: list[str] | None = None) -> Verification:
    if names is None:
        return READER.read(text, NAMES.index(asked))
    return VerdictReader(names, 24).read(text, names.index(asked))


@pytest.mark.parametrize("text", ASKED)
def test_it_shows_the_class_that_was_asked_about(text: str) -> None:
    verdict = read(text)
    assert verdict == Verification(Says.ASKED, 0)
    assert verdict.is_id is True


@pytest.mark.parametrize(("text", "name"), OTHER)
def test_it_shows_another_id_class(text: str, name: str) -> None:
    verdict = read(text)
    assert verdict == Verification(Says.OTHER, NAMES.index(name))
    assert verdict.is_id is True


@pytest.mark.parametrize(("text", "left"), OOD)
def test_it_shows_no_id_class_and_the_sentence_is_what_is_left(text: str, left: str | Rejection) -> None:
    verdict = read(text)
    if isinstance(left, Rejection):
        assert verdict == Verification(Says.OOD, rejection=left)
    else:
        assert verdict == Verification(Says.OOD, sentence=left)
    assert verdict.is_id is False


@pytest.mark.parametrize(("text", "why"), NOTHING)
def test_it_decides_nothing(text: str, why: Rejection) -> None:
    verdict = read(text)
    assert verdict == Verification(Says.NOTHING, rejection=why)
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
        ("A sea lion on a rock", ["lion", "sea lion"], "lion", Verification(Says.OTHER, 1)),
        ("A sea lion on a rock", ["lion", "sea lion"], "sea lion", Verification(Says.ASKED, 1)),
        ("A lion on a rock", ["lion", "sea lion"], "sea lion", Verification(Says.OTHER, 0)),
        ("No, a lion", ["lion", "sea lion"], "sea lion", Verification(Says.OTHER, 0)),
        ("No, a mountain lion", ["lion", "mountain lion"], "lion", Verification(Says.OTHER, 1)),
        # names that hold the words that decide
        ("No parking sign on a pole", ["no parking sign", "wolf"], "no parking sign", Verification(Says.ASKED, 0)),
        ("No, a wolf", ["no parking sign", "wolf"], "no parking sign", Verification(Says.OTHER, 1)),
        ("The picture shows a no parking sign.", ["no parking sign"], "no parking sign", Verification(Says.ASKED, 0)),
        (
            "It is not a no parking sign.",
            ["no parking sign"],
            "no parking sign",
            Verification(Says.OOD, rejection=Rejection.ECHO),
        ),
        ("yes", ["yes", "no"], "no", Verification(Says.ASKED, 1)),
        ("no", ["yes", "no"], "yes", Verification(Says.OOD, rejection=Rejection.EMPTY)),
        ("yes", ["none", "nothing"], "none", Verification(Says.ASKED, 0)),
        ("School bus: no, a truck", ["school bus"], "school bus", Verification(Says.OOD, sentence="a truck")),
        # aliases, plurals, one name twice
        ("No, an automobile", ["car (automobile)", "bus"], "bus", Verification(Says.OTHER, 0)),
        ("Two buses", ["car (automobile)", "bus"], "bus", Verification(Says.ASKED, 1)),
        ("King of beasts", ["lion, king of beasts"], "lion, king of beasts", Verification(Says.ASKED, 0)),
        ("A hotdog", ["hot dog"], "hot dog", Verification(Says.ASKED, 0)),
        ("A hot dog", ["dog"], "dog", Verification(Says.OOD, sentence="A hot dog")),
        ("A crème brûlée", ["creme brulee"], "creme brulee", Verification(Says.ASKED, 0)),
        ("狮子", ["狮子", "狼"], "狮子", Verification(Says.ASKED, 0)),
        ("不是，狼", ["狮子", "狼"], "狮子", Verification(Says.OOD, rejection=Rejection.NOT_LATIN)),
        # a short form may be the class or another of the kind; after a no to that class it is another
        ("An eagle", ["bald eagle"], "bald eagle", Verification(Says.NOTHING, rejection=Rejection.NAMES_ID_CLASS)),
        ("No. An eagle", ["bald eagle"], "bald eagle", Verification(Says.OOD, sentence="An eagle")),
        (
            "No. An eagle",
            ["bald eagle", "kite"],
            "kite",
            Verification(Says.NOTHING, rejection=Rejection.NAMES_ID_CLASS),
        ),
        ("Yes, an eagle", ["bald eagle", "kite"], "bald eagle", Verification(Says.ASKED, 0)),
        # a name is data, whatever it holds
        ("Yes", ['a "b"\n; say no', "x"], 'a "b"\n; say no', Verification(Says.ASKED, 0)),
        ("No. A wolf", ["(.*", "[z"], "(.*", Verification(Says.OOD, sentence="A wolf")),
    ],
)
def test_class_names_as_lists_have_them(text: str, names: list[str], asked: str, expected: Verification) -> None:
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
    assert VerdictReader(["crane", "wolf", "crane"], 24).read("A crane at a lake", 2) == Verification(Says.ASKED, 2)


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
            assert verdict == Verification(Says.ASKED, asked)
        case Says.OTHER:
            assert verdict.row not in {None, asked}
            assert verdict == Verification(Says.OTHER, verdict.row)
        case Says.OOD:
            assert verdict.row is None
            assert (verdict.sentence is None) != (verdict.rejection is None)
            assert verdict.sentence is None or verdict.sentence == " ".join(verdict.sentence.split()) != ""
        case Says.NOTHING:
            assert verdict == Verification(Says.NOTHING, rejection=verdict.rejection)
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
