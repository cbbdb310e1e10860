"""Samples as PNG files: in a folder or a zip, with their seed in the name and their class in the folder's name or in ``dataset.json``."""

import io
import json
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.runtime.files.atomic import require_possible_folder, write_text
from gconv_gan.runtime.files.full_disk import writing
from gconv_gan.runtime.files.locking import exclusive

Layout = Literal["folders", "dataset_json", "flat"]
MANIFEST, LABELS, LOCK = "samples.json", "dataset.json", ".lock"
PNG_END = bytes.fromhex("0000000049454e44ae426082")  # the last chunk of every whole PNG file
EPOCH = (1980, 1, 1, 0, 0, 0)  # equal samples give equal zips


@dataclass(frozen=True)
class SampleFiles:
    """Where the files of numbered images lie.

    Attributes:
        out: the folder, or the .zip that is written when all files are there.
        seed: the seed in the names.
        layout: folders: one per class; dataset_json: StyleGAN's list of labels beside flat files; flat: no labels.
        classes: the names of the classes; empty without classes.

    """

    out: Path
    seed: int
    layout: Layout
    classes: Sequence[str]

    @property
    def zipped(self) -> bool:
        """Return whether the files end in a zip."""
        return self.out.suffix.lower() == ".zip"

    @property
    def folder(self) -> Path:
        """Return the folder of the files; of a zip, the one beside it that holds them until all are there."""
        return self.out.with_name(f".{self.out.name}.partial") if self.zipped else self.out

    def name(self, number: int, label: int | None) -> str:
        """Return the path of an image in the folder."""
        file = f"seed{self.seed}-{number:06d}.png"
        return f"{self._directories()[label]}/{file}" if self.layout == "folders" and label is not None else file

    def _directories(self) -> list[str]:
        names = [readable(name) for name in self.classes]
        return names if len(set(names)) == len(names) else [f"{index:04d}-{name}" for index, name in enumerate(names)]

    def alone(self) -> AbstractContextManager[None]:
        """Return a context that locks the folder; it raises ``UserError`` if another command writes into it."""
        return exclusive(self.folder / LOCK, purpose=f"writing of samples into {self.out}", wait=False)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Check, without writing, that samples of these ``settings`` can be written, or added to those that are there.

        Raises:
            UserError: the folder holds something else, or samples of other settings, or the zip exists.

        """
        require_possible_folder(self.folder, "--out")
        if self.zipped and self.out.exists():
            raise UserError(f"--out {self.out} exists already: remove it, or name another file")
        manifest = self.folder / MANIFEST
        if manifest.is_file():
            earlier = json.loads(manifest.read_text())
            unlike = [key for key in settings if earlier.get(key) != settings[key]]
            if unlike:
                key = unlike[0]
                raise UserError(
                    f"--out {self.folder} holds other samples: {key} {earlier.get(key)!r}, now {settings[key]!r}; name another folder"
                )
        elif self.folder.is_dir() and any(path.name != LOCK for path in self.folder.iterdir()):
            raise UserError(f"--out {self.folder} holds other files: name a new or an empty folder")

    def prepare(self, settings: Mapping[str, Any]) -> None:
        """Create the folder, with the settings of its samples."""
        write_text(self.folder / MANIFEST, json.dumps(dict(settings), indent=2) + "\n")
        for directory in self._directories() if self.layout == "folders" else []:
            (self.folder / directory).mkdir(exist_ok=True)

    def is_there(self, number: int, label: int | None) -> bool:
        """Return whether the file of an image is there and whole."""
        path = self.folder / self.name(number, label)
        if not path.is_file():
            return False
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(PNG_END)))
            return file.read() == PNG_END

    def write(self, number: int, label: int | None, image: UInt8[Tensor, "3 h w"]) -> None:
        """Write the file of an image, under a temporary name first."""
        path = self.folder / self.name(number, label)
        part = path.with_name(f".{path.name}.part")
        with writing(path):
            part.write_bytes(png(image))
            part.replace(path)

    def finish(self, labels: Iterable[tuple[int, int | None]]) -> None:
        """Write the list of the labels, if the layout has one, and the zip of all images in the order of ``labels``."""
        numbered = list(labels)
        if self.layout == "dataset_json":
            known = [[self.name(number, label), label] for number, label in numbered if label is not None]
            write_text(self.folder / LABELS, json.dumps({"labels": known or None}) + "\n")
        if not self.zipped:
            (self.folder / LOCK).unlink()
            return
        part = self.out.with_name(f".{self.out.name}.part")
        with writing(self.out):
            with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed
                names = [self.name(number, label) for number, label in numbered]
                for name in (*names, *([LABELS] if self.layout == "dataset_json" else [])):
                    archive.writestr(zipfile.ZipInfo(name, EPOCH), (self.folder / name).read_bytes())
            part.replace(self.out)
        shutil.rmtree(self.folder)


def readable(name: str) -> str:
    """Return a class's name as part of a file's name: letters, digits, dots, hyphens; anything else is an underscore."""
    return "".join(character if character.isalnum() or character in "._-" else "_" for character in name)


def png(image: UInt8[Tensor, "3 h w"]) -> bytes:
    """Return an image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()
