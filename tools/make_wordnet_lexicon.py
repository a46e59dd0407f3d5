"""Make the lexicon that ships with the package, out of Debian's ``wordnet-base`` (WordNet 3.0).

``python tools/make_wordnet_lexicon.py`` writes into ``ants_engine/lexicon/``: ``wordnet.txt.gz`` (``word<TAB>noun`` or
``word<TAB>adjective`` a line, sorted, nouns first; without a time stamp, so that the same input gives the same bytes)
and ``LICENSE-WordNet.txt``.

What is kept: common nouns that a picture could show, and adjectives. In particular these are left out:

- nouns of which every sense is an *instance* (Paris, Einstein): there is no class to show. Capitalised class names
  (Siamese cat) stay;
- taxonomic groups (genus Canis, Canidae) and Latin binomials (Canis lupus), which CLIP has hardly seen in captions
  and which stand beside their everyday names;
- nouns of which every sense is abstract by WordNet's own files (`ABSTRACT`), such as "nonexistence";
- more than three words, single letters, and anything but letters, apostrophes and hyphens;
- adjectives that are spelt like a noun in the list: every word is one candidate.
"""

import argparse
import gzip
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The names of WordNet's noun files, in the order of their numbers (lexnames(5WN)).
NOUN_FILES = (
    *("Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling"),
    *("food", "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process"),
    *("quantity", "relation", "shape", "state", "substance", "time"),
)
FIRST_NOUN_FILE = 3
ABSTRACT = frozenset(
    {
        *("Tops", "attribute", "cognition", "communication", "feeling", "group", "motive", "possession", "process"),
        *("quantity", "relation", "state", "time"),
    }
)
RANKS = "(?:sub|super|infra)?(?:genus|family|order|class|phylum|division|kingdom|tribe)"
TAXON = re.compile(rf"{RANKS}_[A-Z]")
USABLE = re.compile(r"[A-Za-z][A-Za-z'-]+(?: [A-Za-z'-]+){0,2}")
ADJECTIVE_MARK = re.compile(r"\((?:a|p|ip)\)$")


@dataclass(frozen=True, slots=True)
class Synset:
    """One sense: the words that share it, and what they point to."""

    file: int
    words: tuple[str, ...]
    pointers: tuple[str, ...]


def read_synsets(path: Path) -> Iterator[Synset]:
    """Read a WordNet ``data.*`` file (format: wndb(5WN))."""
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith("  "):  # the licence
            continue
        fields = line.split(" | ")[0].split()
        count = int(fields[3], 16)
        end = 4 + 2 * count
        pointers = int(fields[end])
        yield Synset(
            file=int(fields[1]),
            words=tuple(fields[4:end:2]),
            pointers=tuple(fields[end + 1 : end + 1 + 4 * pointers : 4]),
        )


def nouns(folder: Path) -> dict[str, str]:
    """Return the kept nouns: the word in lower case, and as it is written."""
    synsets = list(read_synsets(folder / "data.noun"))
    taxa = [synset for synset in synsets if any(TAXON.match(word) for word in synset.words)]
    genera = {word for synset in taxa for word in synset.words if "_" not in word}
    genera |= {word.partition("_")[2] for synset in taxa for word in synset.words if "_" in word}
    latin = {id(synset) for synset in taxa}
    kept: dict[str, str] = {}
    for synset in synsets:
        if id(synset) in latin or "@i" in synset.pointers or NOUN_FILES[synset.file - FIRST_NOUN_FILE] in ABSTRACT:
            continue
        for word in synset.words:
            first, _, rest = word.partition("_")
            binomial = first in genera and rest.islower()
            if not binomial:
                _keep(kept, word.replace("_", " "))
    return kept


def adjectives(folder: Path) -> dict[str, str]:
    """Return the kept adjectives: the word in lower case, and as it is written."""
    kept: dict[str, str] = {}
    for synset in read_synsets(folder / "data.adj"):
        for word in synset.words:
            _keep(kept, ADJECTIVE_MARK.sub("", word).replace("_", " "))
    return kept


def _keep(kept: dict[str, str], word: str) -> None:
    if USABLE.fullmatch(word) is None:
        return
    # "turkey" rather than "Turkey", whichever comes first
    present = kept.get(word.lower())
    if present is None or word > present:
        kept[word.lower()] = word


def lexicon_text(folder: Path) -> str:
    """Return the lexicon's lines: nouns, then adjectives, each in alphabetical order."""
    found_nouns, found_adjectives = nouns(folder), adjectives(folder)
    lines = [f"{found_nouns[key]}\tnoun\n" for key in sorted(found_nouns)]
    lines += [f"{found_adjectives[key]}\tadjective\n" for key in sorted(found_adjectives) if key not in found_nouns]
    return "".join(lines)


def main() -> int:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder with data.noun, data.adj"
    )
    parser.add_argument("--licence", type=Path, default=Path("/usr/share/doc/wordnet-base/copyright"))
    parser.add_argument("--to", type=Path, default=Path(__file__).resolve().parents[1] / "ants_engine" / "lexicon")
    arguments = parser.parse_args()
    if not (arguments.wordnet / "data.noun").is_file():
        print(f"{arguments.wordnet} holds no data.noun: apt-get install wordnet-base", file=sys.stderr)
        return 1
    text = lexicon_text(arguments.wordnet)
    # No time and no file name in the header.
    (arguments.to / "wordnet.txt.gz").write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))
    (arguments.to / "LICENSE-WordNet.txt").write_bytes(arguments.licence.read_bytes())
    kinds = [line.rpartition("\t")[2] for line in text.splitlines()]
    print(f"{kinds.count('noun')} nouns, {kinds.count('adjective')} adjectives")
    return 0


if __name__ == "__main__":
    sys.exit(main())
