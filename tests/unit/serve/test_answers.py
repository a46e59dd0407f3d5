import pytest

from ants_engine.detector.scores import NearText
from ants_engine.serve.answers import Near


@pytest.mark.parametrize(
    ("kind", "source", "origin"),
    [
        ("ens", "/home/someone/private/cat.jpg", "what the MLLM said of cat.jpg"),
        ("ens", "C:\\Users\\someone\\cat.jpg", "what the MLLM said of cat.jpg"),
        ("ens", "https://host.example/a/b.png", "what the MLLM said of b.png"),
        ("ens", "PIL.Image #3", "what the MLLM said of PIL.Image #3"),
        ("vsnl", "wolf/dog", "looks like wolf/dog"),
        ("neglabel", "wordnet", "from the lexicon wordnet"),
        ("class", "The nice lion.", "The nice lion."),
    ],
)
def test_of_a_path_only_its_last_part_is_told(kind: str, source: str, origin: str) -> None:
    assert Near.of(NearText("a text", 0.5, kind, source)).origin == origin
