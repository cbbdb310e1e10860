"""An exported generator: a folder with the weights and the description that rebuilds it, without the data set and without the run."""

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config
from gconv_gan.config.schema import Choice
from gconv_gan.config.sections.networks import AnyGenerator
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.models.changes import rebuild
from gconv_gan.models.factory import build_generator
from gconv_gan.training.checkpoint import load_network

TENSORS = "generator.safetensors"
DESCRIPTION = "config.json"


class ExportedGenerator(Config):
    """The content of ``config.json`` in an exported folder."""

    exported: int = 1
    """Version of this layout."""
    plugins: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    """Files and modules that its parts come from."""
    generator: Annotated[AnyGenerator, Choice("GENERATORS", kind="resnet")]
    image_size: int
    """Side of an image in pixels."""
    classes: tuple[str, ...]
    """Names in the order of y; empty for an unconditional generator."""
    data_title: str
    images_seen: int
    """Real images the discriminator had seen."""
    weights_sha256: str
    methods: tuple[dict[str, Any], ...] = Field((), exclude_if=lambda records: not records)
    """Records of what training methods changed in the structure of the generator, see ``models.changes``."""
    run: GANRunConfig
    """The whole config of the training run, for information; sampling does not need it."""

    @property
    def num_classes(self) -> int | None:
        """Return the generator's number of classes; None for an unconditional one."""
        return len(self.classes) or None


def load_exported(folder: Path | str) -> tuple[nn.Module, ExportedGenerator]:
    """Return the generator in ``folder``, in eval mode, and its description.

    Raises:
        UserError: a file is missing, damaged, or inconsistent with the others.

    """
    folder = Path(folder)
    for path in (folder / DESCRIPTION, folder / TENSORS):
        if not path.is_file():
            raise UserError(f"{folder} is not an exported generator: {path} is missing; gconv-gan export RUN makes one")
    description = load_config(ExportedGenerator, folder / DESCRIPTION)
    with torch.random.fork_rng(devices=[]):  # networks are built on the CPU
        generator = build_generator(description.generator, image_size=description.image_size, num_classes=description.num_classes)
    rebuild("generator", generator, description.methods, source=folder / DESCRIPTION)
    load_network(folder / TENSORS, generator)
    return generator.eval().requires_grad_(False), description
