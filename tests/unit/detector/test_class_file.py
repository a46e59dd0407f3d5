from pathlib import Path

import pytest

from ants_engine.cli.options import read_classes
from ants_engine.detector.class_list import ClassList, parse_class_text, read_class_file
from ants_engine.errors import ClassListError

THREE = ["lion", "elephant", "panda"]


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("lion\nelephant\npanda\n", ".txt"),
        ("# mine\n\n lion \nelephant\n\tpanda", ".txt"),
        ("lion,\nelephant,\npanda,\n", ".txt"),
        ('"lion",\n"elephant",\n"panda"\n', ".txt"),
        ("- lion\n- elephant\n- panda\n", ""),
        ("0 lion\n1 elephant\n2 panda", ".txt"),
        ("1: lion\n2: elephant\n3: panda", ".txt"),
        ("0,lion\n1,elephant\n2,panda", ".txt"),
        ("0\tlion\n1\telephant\n2\tpanda", ".tsv"),
        ("lion 0\nelephant 1\npanda 2", ".txt"),
        ("n02129165 lion\nn02504013 elephant\nn02510455 panda", ".txt"),
        ("0,lion\n1,elephant\n2,panda\n", ".csv"),
        ("name\nlion\nelephant\npanda\n", ".csv"),
        ("lion,\nelephant,\npanda,\n", ".csv"),
        ('["lion", "elephant", "panda"]', ".json"),
        ('{"0": "lion", "1": "elephant", "2": "panda"}', ".json"),
        ('{"1": ["n02504013", "elephant"], "0": ["n02129165", "lion"], "2": ["n02510455", "panda"]}', ".json"),
        ('{"elephant": 1, "lion": 0, "panda": 2}', ".json"),
        ('{"model_type": "vit", "id2label": {"0": "lion", "1": "elephant", "2": "panda"}}', ".json"),
    ],
)
def test_a_list_of_one_meaning_is_read(text: str, suffix: str) -> None:
    assert parse_class_text(text, "classes", suffix) == THREE


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("id,name\n0,lion\n1,elephant\n2,panda\n", ".csv"),
        ("id;name\n0;lion\n1;elephant\n2;panda\n", ".csv"),
        ("sep=;\nid;name;extra\n0;lion;\n1;elephant;\n2;panda;", ".csv"),
        ("id\tname\n0\tlion\n1\telephant\n2\tpanda\n", ".txt"),
        ('id,name\n0,"lion"\n1,elephant\n2,panda,\n', ".txt"),
    ],
)
def test_a_table_needs_its_column_and_the_error_names_it(text: str, suffix: str) -> None:
    with pytest.raises(ClassListError, match=r"is a table .*--column name"):
        parse_class_text(text, "classes", suffix)
    for column in ("name", "NAME", "2"):
        assert parse_class_text(text, "classes", suffix, column) == THREE


@pytest.mark.parametrize(
    ("text", "suffix", "column", "said"),
    [
        ("id,name\n0,lion\n", ".csv", "nom", "no column 'nom'; there are: id, name"),
        ("lion,Panthera leo\nzebra,Equus zebra\n", ".csv", None, "--column 1.*commas between synonyms"),
        ("5,lion\n3,panda\n", ".csv", None, "--column 2"),
        ("id,name\n0,lion\n1,\n", ".csv", "name", "row 2 of the table has no class name"),
        ("lion, elephant, panda\n", ".txt", None, "one line with 3 names"),
        ("\n# nothing\n", ".txt", None, "names no class"),
        ('{"lion": ["a lion"]}', ".json", None, "JSON of another form"),
        ('["lion"', ".json", None, "not valid JSON"),
        ('{"0": "lion", "2": "panda"}', ".json", None, "JSON of another form"),
    ],
)
def test_what_could_be_meant_in_several_ways_is_refused_with_the_fix(
    text: str, suffix: str, column: str | None, said: str
) -> None:
    with pytest.raises(ClassListError, match=said):
        parse_class_text(text, "classes", suffix, column)


def test_commas_of_a_text_file_are_synonyms_and_numbers_of_names_stay() -> None:
    names = [
        "tench, Tinca tinca",
        "T-shirt, jersey",
        "7-up",
        "737-200",
        "2012 BMW 3 Series Wagon",
        "1 euro",
        "St. Bernard",
    ]
    assert parse_class_text("\n".join(names), "classes", ".txt") == names
    for numbers in (["747", "757"], ["1 euro", "2 euro"], ["0", "1", "2"], ["class 0", "class 1", "class 2"]):
        assert parse_class_text("\n".join(numbers), "classes", ".txt") == numbers


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_whatever_saved_the_file_the_names_are_the_same(tmp_path: Path, encoding: str, end: str) -> None:
    file = tmp_path / "classes.txt"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    file.write_bytes((mark + end.join(["# mine", "lion", "crème brûlée", ""])).encode(encoding))
    assert read_class_file(file) == ["lion", "crème brûlée"]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    for data, said in ((b"l\xf6we\n", "not UTF-8"), ("lion\n".encode("utf-16-le"), "zero byte")):
        (tmp_path / "classes.txt").write_bytes(data)
        with pytest.raises(ClassListError, match=said):
            read_class_file(tmp_path / "classes.txt")
    with pytest.raises(ClassListError, match="with one class name a line"):
        read_class_file(tmp_path)
    (tmp_path / "data.yaml").write_text("names:\n  0: lion\n")
    with pytest.raises(ClassListError, match="YAML"):
        read_class_file(tmp_path / "data.yaml")


def test_a_heading_of_a_text_file_is_asked_about_and_column_is_the_fix() -> None:
    text = "name\nlion\nelephant\npanda\n"
    with pytest.raises(ClassListError, match=r"'name' is the heading .*--column NAME"):
        ClassList.of(parse_class_text(text, "classes", ".txt"), "{}")
    assert parse_class_text(text, "classes", ".txt", "name") == THREE


@pytest.mark.parametrize(
    ("given_text", "names"),
    [
        ("lion,elephant,panda", THREE),
        ("lion, elephant, panda,", THREE),
        ("lion\nelephant\npanda\n", THREE),
        ('["lion", "elephant", "panda"]', THREE),
        ("St. Bernard", ["St. Bernard"]),
        ("U.S. flag,7-up", ["U.S. flag", "7-up"]),
    ],
)
def test_names_on_the_command_line(given_text: str, names: list[str]) -> None:
    assert read_classes(given_text) == names


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("{0: 'lion', 1: 'elephant',\n 2: 'panda'}", ".txt"),
        ("['lion', 'elephant', 'panda']\n", ".txt"),
        ('{"images": [], "categories": [{"id": 1, "name": "lion"}, {"id": 18, "name": "elephant"}, '
         '{"id": 20, "name": "panda", "supercategory": "animal"}]}', ".json"),
        ('{"features": {"image": {"_type": "Image"}, "label": {"names": ["lion", "elephant", "panda"]}}}', ".json"),
        ("/m/096mb,lion\n/m/0bwd_0j,elephant\n/m/03bj1,panda\n", ".csv"),
        ("n02129165 1 lion\nn02504013 2 elephant\nn02510455 3 panda\n", ".txt"),
        ("1 001.lion\n2 002.elephant\n3 003.panda\n", ".txt"),
        ("n02129165-lion\nn02504013-elephant\nn02510455-panda\n", ".txt"),
    ],
)  # fmt: skip
def test_lists_of_well_known_data_sets_are_read_as_they_are_published(text: str, suffix: str) -> None:
    assert parse_class_text(text, "classes", suffix) == THREE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("LABEL_0\nLABEL_1\n", "only number the classes"),
        ("class_1\nclass_2\n", "only number the classes"),
        ("\n".join(map(str, range(43))), "only number the classes"),
        ("1: person\n2: bicycle\n13: stop sign\n", "begin with a number"),
        ("Abyssinian 1 1 1\nAmerican_bulldog 2 2 1\n", "end in numbers"),
        ("<li>lion</li>\n<li>elephant</li>\n", "is markup"),
        ("???\nperson\nbicycle\n", "no letter or digit"),
        ("| id | name |\n|---|---|\n| 0 | lion |\n| 1 | elephant |\n", "--column name"),
        ("LabelName\tDisplayName\n/m/011k07\tTortoise\n", "--column DisplayName"),
        ("#1 lion\n#2 elephant\n", "begin with # are comments"),
    ],
)
def test_what_is_no_list_of_names_is_never_misread(text: str, said: str) -> None:
    with pytest.raises(ClassListError, match=said):
        ClassList.of(parse_class_text(text, "classes", ".txt"), "a photo of a {}")


def test_the_digits_may_be_called_by_their_numbers() -> None:
    assert len(parse_class_text("\n".join(map(str, range(10))), "classes", ".txt")) == 10
