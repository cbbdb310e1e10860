"""Convert a data set ahead of training, check every byte of the result, and say where it lies.

    python -m gconv_gan.data.prepare folder --path my.zip --split train --size 32

Takes the keys of the config's [data] table as flags. Exit codes: 0 done; 2 the input is wrong; 3 the disk is full; 130 interrupted.
"""

import errno
import signal
import sys
from collections.abc import Sequence

import tyro

from gconv_gan.config.data import CIFAR10DataConfig, DataConfig, DigitsDataConfig, FolderDataConfig
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import apply_overrides
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset

CONFIGS: dict[str, type[DataConfig]] = {
    "digits": DigitsDataConfig,
    "cifar10": CIFAR10DataConfig,
    "folder": FolderDataConfig,
}
USAGE = f"python -m gconv_gan.data.prepare {{{','.join(CONFIGS)}}} [options]; options of one: … prepare folder --help"


def main(arguments: Sequence[str]) -> int:
    """Prepare what ``arguments`` name; return the exit code."""
    if list(arguments[:1]) in (["-h"], ["--help"]):
        print(f"{__doc__}\n{USAGE}")
        return 0
    try:
        print(summary(prepare(arguments)))
    except UserError as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        return _complain("interrupted; nothing was stored", 128 + signal.SIGINT)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _complain(f"cannot write the cache: {error}", 3 if full else 2)
    return 0


def prepare(arguments: Sequence[str]) -> ImageDataset:
    """Return the data set that ``arguments`` (kind, then flags) describe, converted and verified."""
    if not arguments or arguments[0] not in CONFIGS:
        raise UserError(f"the first argument names the kind of data: {', '.join(CONFIGS)}")
    config = apply_overrides(_defaults(CONFIGS[arguments[0]]), arguments[1:])
    return open_dataset(config, verify=True)


def _defaults(model: type[DataConfig]) -> DataConfig:
    """Return the config with its defaults, whatever has none marked as missing for the command line to ask for."""
    fields = model.model_fields.items()
    return model.model_construct(**{name: tyro.MISSING if field.is_required() else field.get_default() for name, field in fields})


def summary(dataset: ImageDataset) -> str:
    """Return what was prepared and where it lies, one fact a line."""
    manifest = dataset.manifest
    counts = [f"{name} {count:,}" for name, count in zip(manifest.classes, manifest.class_counts, strict=True)]
    lines = [
        f"{manifest.title}: {manifest.count:,} images of {manifest.size}×{manifest.size}, split {manifest.split or 'whole'}",
        f"source   {manifest.location}",
        f"formats  {', '.join(f'{name} {count:,}' for name, count in manifest.formats.items())}",
        f"classes  {len(counts)}: {', '.join(counts[:20])}{', …' if len(counts) > 20 else ''}" if counts else "classes  none",
        f"recipe   {manifest.recipe}",
        f"hash     {manifest.content_hash}",
        f"cache    {dataset.folder}",
    ]
    lines += [f"skipped  {image.name}: {image.reason}" for image in manifest.skipped]
    return "\n".join(lines)


def _complain(sentence: str, code: int) -> int:
    print(f"gconv_gan.data.prepare: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
