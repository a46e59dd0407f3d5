import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.class_list import ClassList
from ants_engine.errors import ClassListError
from ants_engine.method.class_names import same_name, tidy_name


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
        st.text(st.characters(codec="utf-8", exclude_characters=",;|_")).map(lambda text: f"q{text}q"),
        unique_by=same_name,
        min_size=1,
    )
)
def test_a_class_name_is_data(names: list[str]) -> None:
    classes = ClassList.of([*names, "zebra {}"], "The nice {}.")
    assert [texts[0] for texts in classes.prompts] == [f"The nice {tidy_name(name)}." for name in [*names, "zebra {}"]]
