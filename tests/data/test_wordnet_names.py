"""Names of class folders that are called by WordNet numbers."""

import zipfile
from pathlib import Path

import pytest

from gconv_gan.data.wordnet_names import wordnet_names

WORDS = "n01443537\tgoldfish, Carassius auratus\nn02012849\tcrane\nn03126707\tcrane\n"


@pytest.mark.parametrize("place", ["inside", "beside", "zip"])
@pytest.mark.parametrize("name", ["words.txt", "LOC_synset_mapping.txt"])
def test_numbers_get_the_names_of_a_list_in_the_data_or_beside_it(place: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "train"
    if place == "zip":
        path = tmp_path / "train.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"set/{name}", WORDS)
    else:
        path.mkdir()
        ((path if place == "inside" else tmp_path) / name).write_text(WORDS)
    found = wordnet_names(path, ("n01443537", "n02012849", "n03126707", "n09999999", "cat"))
    assert found == ("goldfish", "crane (n02012849)", "crane (n03126707)", "n09999999", "cat")


def test_without_a_list_or_without_data_folders_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for path in (tmp_path / "train", tmp_path / "absent"):
        assert wordnet_names(path, ("n01443537", "cat")) == ("n01443537", "cat")
