import gzip
import re
from pathlib import Path

import pytest

from ants_engine.errors import LexiconError
from ants_engine.lexicon import lexicon as module
from ants_engine.lexicon.lexicon import Lexicon, load_lexicon

LINES = "# a comment\nred fox\tnoun\n\nDog\tnoun\nwoven\tadjective\r\ndog\tadjective\n"


def written(folder: Path, data: bytes | str, name: str = "words.txt") -> str:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def test_the_lexicon_that_ships():
    lexicon = load_lexicon("wordnet")
    assert 70_000 < len(lexicon) < 90_000
    assert set(lexicon.kinds) == {"noun", "adjective"}
    assert {"dog", "Siamese cat", "woven"} <= set(lexicon.words)
    assert not {"Canis lupus", "Canidae", "Paris", "Albert Einstein"} & set(lexicon.words)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z' -]+", word) for word in lexicon.words)
    assert len({word.casefold() for word in lexicon.words}) == len(lexicon)
    assert Path(module.__file__).with_name("LICENSE-WordNet.txt").read_text(encoding="utf-8").count("WordNet 3.0")


@pytest.mark.parametrize(
    "wrap", [bytes, gzip.compress, lambda data: b"\xef\xbb\xbf" + data], ids=["plain", "gz", "bom"]
)
def test_reads_a_file(tmp_path, wrap):
    lexicon = load_lexicon(written(tmp_path, wrap(LINES.encode())))
    assert lexicon.words == ("red fox", "Dog", "woven")
    assert lexicon.kinds == ("noun", "noun", "adjective")
    assert lexicon.sha256 == Lexicon(lexicon.words, lexicon.kinds).sha256


def test_without_names():
    lexicon = Lexicon(("red fox", "Dog", "dogs"), ("noun", "noun", "noun"))
    left = lexicon.without(["DOG", "Red_Fox", "cat"])
    assert left.words == ("dogs",)
    assert left.sha256 != lexicon.sha256
    assert lexicon.without([]) == lexicon
    assert len(left.without(["dogs"])) == 0


def test_sha256_tells_kinds_and_order_apart():
    digests = {
        Lexicon(("a", "b"), ("noun", "noun")).sha256,
        Lexicon(("b", "a"), ("noun", "noun")).sha256,
        Lexicon(("a", "b"), ("noun", "adjective")).sha256,
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("dog\tnoun\ncat\tverb\n", r"line 2: 'cat\\tverb'.*word<TAB>noun"),
        ("dog\tnoun\ncat noun\n", r"line 2: 'cat noun'"),
        ("\tnoun\n", "line 1 has no word"),
        ("a" * 201 + "\tnoun\n", "line 1: a word of 201 characters"),
        (b"dog\tnoun\nb\xe4r\tnoun\n", "line 2 is not UTF-8"),
        ("", "holds no word"),
        ("# only this\n\n", "holds no word"),
        (gzip.compress(b"dog\tnoun\n" * 100, mtime=0)[:20], "damaged gzip"),
        (b"\x1f\x8bnot at all", "damaged gzip"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, data, message):
    with pytest.raises(LexiconError, match=message):
        load_lexicon(written(tmp_path, data))


def test_no_such_file(tmp_path):
    with pytest.raises(LexiconError, match=r'no lexicon at .*give "wordnet"'):
        load_lexicon(str(tmp_path / "absent.txt"))
    with pytest.raises(LexiconError, match="cannot be read"):
        load_lexicon(str(tmp_path))


def test_size_is_bounded_before_and_after_unpacking(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1024 * 1024)
    bomb = gzip.compress(b"\0" * 3 * 1024 * 1024, mtime=0)
    assert len(bomb) < 10_000
    for name, data in (("bomb.gz", bomb), ("large.txt", b"\0" * 2 * 1024 * 1024)):
        with pytest.raises(LexiconError, match="larger than 1 MiB"):
            load_lexicon(written(tmp_path, data, name))


def test_without_aliases():
    lexicon = Lexicon(("lions", "King of Beasts", "eagle", "golden eagle", "sea lion"), ("noun",) * 5)
    names = ["lion, king of beasts", "bald eagle"]
    assert lexicon.without(names, aliases=True).words == ("golden eagle", "sea lion")
    assert lexicon.without(names) == lexicon
