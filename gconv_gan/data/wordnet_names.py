"""Names for class folders that are called by WordNet numbers ("n01443537"), from the lists that ImageNet's pictures come with."""

import re
from collections.abc import Sequence
from pathlib import Path

from gconv_gan.config.errors import UserError
from gconv_gan.data.class_names import read_words, readable
from gconv_gan.data.reading.archives import open_tree

LISTS = ("words.txt", "LOC_synset_mapping.txt", "synset_words.txt")  # Tiny-ImageNet's, Kaggle's, Caffe's: one form
WNID = re.compile(r"n\d{8}")


def wordnet_names(path: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes, with those that are WordNet numbers replaced where a list in the data or beside it has their name.

    Args:
        path: the folder or archive of the data, which may be absent; a list is looked for in it and in the folder around it.
        classes: the names of the class folders.

    """
    numbers = [name for name in classes if WNID.fullmatch(name)]
    if not numbers:
        return tuple(classes)
    beside = [path.parent / name for name in LISTS]
    names = next((read_words(file.read_text()) for file in beside if file.is_file()), {})
    try:
        tree = open_tree(path)
        inside = min((parts for parts in tree.names() if parts[-1] in LISTS), key=len, default=None)
        if inside is not None:
            names = read_words(tree.read(inside).decode())
    except UserError:
        pass  # a run may be looked at without its data, and other forms of data name their classes themselves
    return readable(classes, {number: names[number] for number in numbers if number in names})
