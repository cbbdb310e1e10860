"""Prepare a data set before training: download it where possible, convert it, verify every byte, print what it is and where it lies.

    gconv-gan prepare cifar100
    gconv-gan prepare folder --path my.zip --split train --size 32

The flags are the keys of the config's [data] table. Files that can be downloaded are downloaded, unless --download False is given. Exit
codes: 0 done; 2 the input is wrong; 3 the disk is full; 130 interrupted (the same command continues the download).
"""

if __name__ == "__main__":  # before large libraries are imported, so that an interrupt prints nothing
    from gconv_gan.runtime.script import run_command

    run_command("gconv_gan.data.prepare")

import contextlib
import difflib
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from gconv_gan.config.errors import UserError, reworded
from gconv_gan.config.help_page import PLUGINS, Argument, Group, help_page
from gconv_gan.config.load import parse_command, typed
from gconv_gan.config.plugins import load_plugins, take_plugins
from gconv_gan.config.sections.data import DataConfig, as_flags
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.datasets import DATASETS, source_of
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.sources.source import Source

SUMMARY = "Download a data set where possible, convert it, verify every byte, and print what it is and where it lies."
EXAMPLES = """cifar100
folder --path my.zip --split train --size 32"""


def main(arguments: Sequence[str]) -> None:
    """Prepare the data set that ``arguments`` name and print what it is and where it lies.

    Raises:
        UserError: the command line or the data set is wrong, or the data are absent.
        GuardError: the disk is full.

    """
    if list(arguments[:1]) in (["-h"], ["--help"]):
        print(usage())
        return
    config = config_of(arguments)
    flags = {name: f"--{name.replace('_', '-')}" for name in type(config).model_fields}
    with reworded(partial(as_flags, flags, config.kind)), _needed_space_told():
        text = summary(open_dataset(config, verify=True), source_of(config))
    print(text)


@contextlib.contextmanager
def _needed_space_told() -> Iterator[None]:
    """Print what a conversion logs before it begins: how much disk space it needs."""
    ours, handler = logging.getLogger("gconv_gan"), logging.StreamHandler()
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)


def usage() -> str:
    """Return the help of the command without a kind of data."""
    kinds = [Argument(kind, (model.__doc__ or "").strip().splitlines()[0]) for kind, model in DATASETS.models().items()]
    options = [
        Argument("--KEY VALUE", "A key of [data] in a config file, such as --size 64; missing files are downloaded: --download false."),
        PLUGINS,
        Argument("-h, --help", f"Print this help; {typed()} KIND --help lists the keys of a kind."),
    ]
    examples = "\n".join(f"  {typed()} {words}" for words in EXAMPLES.splitlines())
    return help_page(f"{typed()} KIND [options]", SUMMARY, [Group("KIND", kinds), Group("options", options)], end=f"examples\n{examples}")


def config_of(arguments: Sequence[str]) -> DataConfig:
    """Return the config that ``arguments`` (kind, then flags) describe."""
    named, arguments = take_plugins(arguments)
    load_plugins(named)
    if not arguments or arguments[0] not in DATASETS:
        near = difflib.get_close_matches(arguments[0], DATASETS, n=1) if arguments else []
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"the first argument names the kind of data: {', '.join(DATASETS)}{hint}")
    model: Any = DATASETS.models()[arguments[0]]
    config: DataConfig = parse_command(model, arguments[1:], start=_defaults(model), chosen=arguments[0])
    return config


def _defaults(model: type[Any]) -> DataConfig:
    """Return the config with its defaults and downloading on; a field without a default must be given on the command line."""
    fields = model.model_fields.items()
    values = {name: tyro.MISSING if field.is_required() else field.get_default() for name, field in fields}
    if "download" in values:
        values["download"] = True
    config: DataConfig = model.model_construct(**values)
    return config


def summary(dataset: ImageDataset, source: Source) -> str:
    """Return the description of the prepared data set and its folder, one fact per line."""
    manifest = dataset.manifest
    counts = [f"{name} {count:,}" for name, count in zip(manifest.classes, manifest.class_counts, strict=True)]
    lines = [
        f"{manifest.title}: {manifest.count:,} images of {manifest.size}×{manifest.size}, split {manifest.split or 'whole'}",
        f"source   {manifest.location}",
        f"formats  {', '.join(f'{name} {count:,}' for name, count in manifest.formats.items())}",
        f"classes  {len(counts)}: {', '.join(counts[:20])}{', …' if len(counts) > 20 else ''}" if counts else "classes  none",
        f"recipe   {manifest.recipe}",
        f"equals   {source.published}",
        f"hash     {manifest.content_hash}",
        f"cache    {dataset.folder}, {size_on_disk(dataset.folder) / 2**20:,.1f} MiB",
    ]
    lines += [f"skipped  {image.name}: {image.reason}" for image in manifest.skipped]
    return "\n".join(lines)


def size_on_disk(folder: Path) -> int:
    """Return the bytes of the files in ``folder``."""
    return sum(path.stat().st_size for path in folder.iterdir())
