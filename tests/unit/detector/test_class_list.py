import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.detector.class_list import ClassList
from ants_engine.errors import ClassListError
from ants_engine.method.class_names import same_name, spoken_name
from tests.support.imagenet import IMAGENET_CLASSNAMES


def test_names_get_the_template_and_mappings_keep_their_prompts() -> None:
    assert ClassList.of(["cat"], "The nice {}.").prompts == (("The nice cat.",),)
    both = ClassList.of({"cat": ["a cat", "a kitten"], "dog": "a dog"}, "The nice {}.")
    assert both.names == ("cat", "dog")
    assert both.prompts == (("a cat", "a kitten"), ("a dog",))


@pytest.mark.parametrize(
    ("given_classes", "said"),
    [
        ([], "empty"),
        ({}, "empty"),
        ("cat", "is one text"),
        (["cat", " "], "#1 is blank"),
        (["cat", "Cat"], "#1 'Cat' is the same as #0"),
        (["cat", "big  dog", "big dog"], "#2 'big dog' is the same as #1"),
        (["cat", 3], "#1 is a int"),
        ({"cat": []}, "#0 'cat' has a prompt"),
        ({"cat": ["", "a cat"]}, "#0 'cat' has a prompt"),
    ],
)
def test_unusable_lists_are_refused_by_entry(given_classes: object, said: str) -> None:
    with pytest.raises(ClassListError) as error:
        ClassList.of(given_classes, "{}")  # type: ignore[arg-type]
    assert said in str(error.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ClassListError, match=r"#1 is blank; #2 'A' is the same as #0"):
        ClassList.of(["a", "", "A"], "{}")


def test_too_long_texts_are_named() -> None:
    classes = ClassList.of(["cat", "x" * 100], "{}")
    classes.check_length(lambda text: True)
    with pytest.raises(ClassListError, match=r"'x{57}…'"):
        classes.check_length(lambda text: len(text) < 50)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters=",;|")).map(lambda text: f"q{text}q"),
        unique_by=same_name,
        min_size=1,
    )
)
def test_a_class_name_is_data(names: list[str]) -> None:
    classes = ClassList.of([*names, "zebra {}"], "The nice {}.")
    assert [texts[0] for texts in classes.prompts] == [
        f"The nice {spoken_name(name)}." for name in [*names, "zebra {}"]
    ]


PUBLISHED = [
    "7-up", "Boeing 747-400", "U.S. flag", "St. Bernard", "T-shirt, jersey", "2012 BMW 3 Series Wagon",
    "AM General Hummer SUV 2000", "Mickey Mouse, Inc.", "737-200", "A340-300", "apple_pie", "Queen Anne's lace",
    "kite (bird of prey)", "baluster / handrail", "bell or wind chime", "passing American football (not in game)",
    "jack-o'-lantern", "black-eyed susan", "Yahoo!", "0", "A", "lion/lioness", "1,000 dollar bill", "crème brûlée",
    "bag",    "label maker", "3 o'clock", "C++", "AC/DC", "$100 bill", "#1 finger", "n", "name tag",
]  # fmt: skip


def test_real_names_are_accepted_as_they_are() -> None:
    for names in (PUBLISHED, [f"{i} - {word}" for i, word in enumerate(("zero", "one", "two"))], IMAGENET_CLASSNAMES):
        assert ClassList.of(names, "{}").names == tuple(names)


@pytest.mark.parametrize(
    ("given_classes", "said"),
    [
        (["lion,", "elephant,"], "#0 'lion,' ends in ','; write 'lion'; #1 'elephant,'"),
        (["'lion'", "panda"], "stands in quotes; write lion"),
        (["- lion", "- panda"], "begins with a bullet; write 'lion'"),
        (["7,lion", "3,panda"], "begins with a number; write 'lion'"),
        (["0 lion", "1 panda"], "'0 lion' and all others are numbered; write 'lion', 'panda'"),
        (["id,name", "0,lion"], "'id,name' is the heading of a table"),
        (["class_name", "lion"], "'class_name' is the heading"),
        (["./classes.txt", "lion"], "is a path"),
        (["lion.jpg", "panda.jpg"], "#1 'panda.jpg' is a path"),
        (["n02129165", "n02504013"], "is an id, in no caption"),
        (["n02129165 lion", "n02504013 elephant"], "begins with an id; write 'lion'"),
        (["lion elephant panda"], "for 3 classes .*lion, elephant, panda.* for one class write 'lion_elephant_panda'"),
        (["lion, elephant"], "for 2 classes"),
        ("lion, elephant", r"give a list of names: \['lion', 'elephant'\]"),
        ({"lion", "elephant"}, "is a set, whose order changes"),
        ({"lion": 0, "elephant": 1}, r"sorted\(id_classes, key=id_classes.get\)"),
        ({0: "lion", 1: "elephant"}, "maps numbers to names"),
    ],
)
def test_what_is_no_name_is_asked_about_with_the_fix(given_classes: object, said: str) -> None:
    with pytest.raises(ClassListError, match=said):
        ClassList.of(given_classes, "{}")  # type: ignore[arg-type]


def test_the_fixes_of_errors_are_accepted() -> None:
    assert ClassList.of(["great_white_shark"], "a {}").prompts == (("a great white shark",),)
    assert ClassList.of({"n02129165": "a lion"}, "{}").names == ("n02129165",)
    assert ClassList.of(sorted({"lion", "elephant"}), "{}").names == ("elephant", "lion")


def test_clip_is_asked_for_the_first_synonym_unless_two_classes_share_it() -> None:
    names = ["lion, king of beasts, Panthera leo", "apple_pie", "maillot", "maillot, tank suit", "kite (bird, of prey)"]
    found = ClassList.of(names, "a {}")
    said = ["a lion", "a apple pie", "a maillot", "a maillot, tank suit", "a kite (bird, of prey)"]
    assert found.names == tuple(names)
    assert [texts[0] for texts in found.prompts] == said
    assert any("CLIP is asked for the first" in note for note in found.notes)
    own = {names[0]: "The lion, king of beasts, Panthera leo.", "tench, Tinca tinca": "The tench, Tinca tinca."}
    mapped = ClassList.of(own, "{}")
    assert [texts[0] for texts in mapped.prompts] == list(own.values())
    assert (mapped.template, mapped.own_template, mapped.notes) == ("The {}.", True, ())
    spaced = ClassList.of({"apple_pie": "one apple pie", "hot_dog": "one hot dog"}, "{}")
    assert (spaced.template, spaced.own_template) == ("one {}", True)


def test_a_published_list_keeps_its_doubles_and_says_so() -> None:
    found = ClassList.of(IMAGENET_CLASSNAMES, "The nice {}.")
    assert found.names == tuple(IMAGENET_CLASSNAMES)
    assert found.notes[0].startswith("2 names stand for several classes")
    assert "missile (657, 744), sunglasses (836, 837)" in found.notes[0]
    first = [name.partition(",")[0] for name in (*IMAGENET_CLASSNAMES[:600], "crane", "crane", "maillot", "maillot")]
    assert len(ClassList.of(first, "{}")) == 604
    many = [f"thing {i % 10_000} of {i % 3}" for i in range(10_400)]
    assert len(ClassList.of(many, "{}")) == 10_400


@pytest.mark.parametrize(
    "names",
    [
        ["missile", "panda", "missile"],
        [*IMAGENET_CLASSNAMES, "goldfish"],
        [*IMAGENET_CLASSNAMES, "missile"],
        IMAGENET_CLASSNAMES * 2,
    ],
)
def test_a_name_twice_by_accident_is_refused(names: list[str]) -> None:
    with pytest.raises(ClassListError, match="is the same as #"):
        ClassList.of(names, "{}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("lion", "\ufefflion"),
        ("sea lion", "sea\u00a0lion"),
        ("lion", "li\u200bon"),
        ("lion", "\uff4c\uff49\uff4f\uff4e"),
        ("straße", "STRASSE"),
    ],
)
def test_two_spellings_that_look_alike_are_one_name(one: str, other: str) -> None:
    with pytest.raises(ClassListError, match=r"#1 .* is the same as #0"):
        ClassList.of([one, other], "{}")
    assert ClassList.of([other], "{}").prompts[0][0].casefold() == ClassList.of([one], "{}").prompts[0][0].casefold()


def test_a_name_is_kept_as_it_was_written_and_clip_is_asked_for_what_is_seen() -> None:
    found = ClassList.of(["ca\u200bt", "\ufefflion", "\uff4c\uff4d", "\u202egnp"], "a {}")
    assert found.names == ("ca\u200bt", "lion", "\uff4c\uff4d", "\u202egnp")
    assert [texts[0] for texts in found.prompts] == ["a cat", "a lion", "a lm", "a gnp"]
    with pytest.raises(ClassListError, match="#0 is blank"):
        ClassList.of(["\u200b", "cat"], "{}")


def test_names_in_other_scripts_and_little_ones_are_accepted_with_a_note() -> None:
    found = ClassList.of(["лев", "大熊猫", "tiger"], "{}")
    assert len(found) == 3
    assert found.notes[0].startswith("2 of 3 class names are not in Latin script (лев, 大熊猫)")
    letters = ClassList.of([*"ABCI", "the", "panda"], "{}")
    assert letters.notes[0].startswith("5 class names are single letters or little words (A, B, C, …)")
    assert ClassList.of([*"0123", "man"], "{}").notes == ()


def test_one_line_says_how_many_there_are_and_which() -> None:
    assert str(ClassList.of(["lion"], "{}")) == "1 class: lion"
    assert str(ClassList.of([*"abcdefghij"], "{}")) == "10 classes: a, b, c, d, e, f, g, h, …"


def test_a_checked_list_is_taken_as_it_is() -> None:
    once = ClassList.of(IMAGENET_CLASSNAMES, "{}")
    assert ClassList.of(once, "another {}") is once
