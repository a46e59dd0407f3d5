"""A lexicon: nouns and adjectives as candidates for negative labels (stage 1)."""

import gzip
import hashlib
import io
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ants_engine.common.atomic_file import read_at_most
from ants_engine.common.text_file import decode_text
from ants_engine.errors import LexiconError
from ants_engine.method.class_names import ClassNames

Kind: TypeAlias = Literal["noun", "adjective"]

SHIPPED = "wordnet"
MAX_BYTES = 64 * 1024 * 1024
"""Size limit, decompressed."""
MAX_WORD_CHARACTERS = 200

_KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
_GZIP_MAGIC = b"\x1f\x8b"
_WHAT_TO_DO = "a line is word<TAB>noun or word<TAB>adjective"


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Unique candidates for negative labels."""

    words: tuple[str, ...]
    """In file order and spelling."""
    kinds: tuple[Kind, ...]
    """One per word."""
    sha256: str = field(init=False)
    """Hex digest of words and kinds, independent of the file."""

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for word, kind in zip(self.words, self.kinds, strict=True):
            digest.update(f"{word}\t{kind}\n".encode())
        object.__setattr__(self, "sha256", digest.hexdigest())

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.words)

    def without(self, names: Iterable[str], *, aliases: bool = False) -> "Lexicon":
        """Remove words that name an ID class: as negative labels they would make their own class look OOD.

        Args:
            names: ID class names, compared ignoring case, underscores and extra spaces.
            aliases: also remove a class's other names, singular and plural, see `ClassNames`.
        """
        names = list(names)
        whole, known = {_key(name) for name in names}, ClassNames(names if aliases else [])
        pairs = zip(self.words, self.kinds, strict=True)
        kept = [pair for pair in pairs if _key(pair[0]) not in whole and not known.equals(pair[0])]
        return Lexicon(tuple(word for word, _ in kept), tuple(kind for _, kind in kept))


def load_lexicon(source: str) -> Lexicon:
    """Read a lexicon.

    A file has one ``word<TAB>noun`` or ``word<TAB>adjective`` a line, in UTF-8 (or UTF-16 with a byte order mark),
    optionally gzip-compressed; blank lines and lines that begin with ``#`` are skipped. Of words that differ only in
    case, the first is kept.

    Args:
        source: ``wordnet`` for the one that ships with the package, or a file as a path.

    Raises:
        LexiconError: a missing, damaged or empty file; not UTF-8; larger than 64 MiB decompressed; or a malformed line
            (given by number).
    """
    name = source if source != SHIPPED else "the lexicon of the package"
    seen: dict[str, tuple[str, Kind]] = {}
    try:
        text = decode_text(_unpack(_read(source), name))
    except UnicodeDecodeError as error:
        bad = error.object.count(b"\n", 0, error.start) + 1
        raise LexiconError(f"{name}, line {bad} is not UTF-8; save the file as UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        entry = _entry(line, f"{name}, line {number}")
        if entry is not None:
            seen.setdefault(_key(entry[0]), entry)
    if not seen:
        raise LexiconError(f"{name} holds no word; {_WHAT_TO_DO}")
    words, kinds = zip(*seen.values(), strict=True)
    return Lexicon(words, kinds)


def _read(source: str) -> bytes:
    if source == SHIPPED:
        return resources.files("ants_engine.lexicon").joinpath("wordnet.txt.gz").read_bytes()
    try:
        with Path(source).open("rb") as file:
            data = read_at_most(file, MAX_BYTES + 1)
    except FileNotFoundError:
        raise LexiconError(f'no lexicon at {source}; give "{SHIPPED}", or the path of a file ({_WHAT_TO_DO})') from None
    except (OSError, ValueError) as error:
        raise LexiconError(f"the lexicon {source} cannot be read: {error}") from error
    _check_size(data, source)
    return data


def _unpack(data: bytes, name: str) -> bytes:
    if data.startswith(_GZIP_MAGIC):
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = read_at_most(file, MAX_BYTES + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise LexiconError(f"{name} is a damaged gzip file: {error}; copy or compress it again") from error
        _check_size(data, name)
    return data


def _check_size(data: bytes, name: str) -> None:
    if len(data) > MAX_BYTES:
        raise LexiconError(
            f"{name} is larger than {MAX_BYTES // 2**20} MiB; is it a lexicon? Leave out what is not needed"
        )


def _entry(text: str, where: str) -> tuple[str, Kind] | None:
    if not text.strip() or text.startswith("#"):
        return None
    word, tab, kind = text.rpartition("\t")
    word, kind = " ".join(word.split()), kind.strip()
    if not tab or kind not in _KINDS:
        shown = text.strip()[:40]
        raise LexiconError(f"{where}: {shown!r} is of another form; {_WHAT_TO_DO}")
    if not word:
        raise LexiconError(f"{where} has no word; {_WHAT_TO_DO}")
    if len(word) > MAX_WORD_CHARACTERS:
        raise LexiconError(f"{where}: a word of {len(word)} characters; at most {MAX_WORD_CHARACTERS} are allowed")
    return word, _KINDS[kind]


def _key(word: str) -> str:
    return unicodedata.normalize("NFC", " ".join(word.replace("_", " ").split()).casefold())
