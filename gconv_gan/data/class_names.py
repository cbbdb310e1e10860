"""Readable names of classes, from the files of the data sets."""

from collections import Counter
from collections.abc import Mapping, Sequence

LISTED = 10  # largest number of names in a message


def read_words(text: str) -> dict[str, str]:
    """Return wnid -> name from lines "n01443537<tab or space>goldfish, Carassius auratus", the first synonym only.

    That is the form of Tiny-ImageNet's ``words.txt`` (WordNet's synsets) and of Kaggle's ``LOC_synset_mapping.txt``.
    """
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return {pair[0]: first_synonym(pair[1]) for pair in pairs if len(pair) == 2}


def first_synonym(words: str) -> str:
    """Return "goldfish" of "goldfish, Carassius auratus"."""
    return words.partition(",")[0].strip()


def readable(identifiers: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the name of each class; if two share a name ("crane" is a bird and a machine), both names contain their identifier."""
    chosen = [names.get(identifier, identifier) for identifier in identifiers]
    count = Counter(chosen)
    return tuple(name if count[name] == 1 else f"{name} ({identifier})" for name, identifier in zip(chosen, identifiers, strict=True))


def listed(names: Sequence[str]) -> str:
    """Return "'cat', 'dog' and 190 more": the first ten names, and the number of the others."""
    shown = ", ".join(f"'{name}'" for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED:,} more" if len(names) > LISTED else "")
