"""Python interface: train a config, load a run or an exported folder, draw images, score.

The functions do the same as the commands, in this process, and raise ``UserError`` with the message that a command prints.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from gconv_gan.commands.exported import TENSORS, load_exported
from gconv_gan.commands.sample import class_counts, class_number, sample
from gconv_gan.commands.score import scores
from gconv_gan.commands.train import classifier, gan
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.commands import CheckpointChoice
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean, does_not_exist
from gconv_gan.config.load import load_config, merged, validated, with_plugins
from gconv_gan.config.plugins import load_plugins
from gconv_gan.config.schema import resolved
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.config.sections.scores import ScoreCommand
from gconv_gan.data.reading.transforms import to_unit
from gconv_gan.metrics.extractors.trained_classifier import DESCRIPTION as CLASSIFIER_DESCRIPTION
from gconv_gan.metrics.extractors.trained_classifier import load_classifier
from gconv_gan.metrics.images.sources import BLOCK


@dataclass(frozen=True)
class GAN:
    """A trained generator, with its discriminator where the folder holds one.

    Attributes:
        folder: the run, or the exported folder.
        generator: the averaged generator, in eval mode and without gradients: ``generator(z [B, latent_dim], y [B] | None)`` gives
            images [B, C, H, W] in [-1, 1].
        discriminator: the discriminator, likewise; None for an exported folder.
        config: the whole config of the training run.
        classes: the names of the classes in the order of y; empty for an unconditional generator.
        images_seen: real images that the discriminator had seen.

    """

    folder: Path
    generator: nn.Module
    discriminator: nn.Module | None
    config: GANRunConfig
    classes: tuple[str, ...]
    images_seen: int

    def __repr__(self) -> str:
        """Return kind, image shape, parameters and origin, as a line for each network."""
        kinds = {"generator": self.config.generator.kind, "discriminator": self.config.discriminator.kind}
        classes = f"{len(self.classes)} classes" if self.classes else "no classes"
        lines = [f"GAN of {self.folder}, {self.images_seen:,} images seen, {classes}"]
        lines += [
            f"  {name}: {kinds[name]}, {'gives' if name == 'generator' else 'takes'} images [B, 3, {self.config.data.size}, "
            f"{self.config.data.size}], {_parameters(network):,} parameters"
            for name, network in (("generator", self.generator), ("discriminator", self.discriminator))
            if network is not None
        ]
        return "\n".join(lines)

    def sample(
        self, num: int, *, seed: int = 0, label: int | str | None = None, truncation: float | None = None
    ) -> UInt8[Tensor, "n c h w"]:
        """Return ``num`` images as bytes, on the CPU.

        Image i depends on (seed, i), the label and the truncation alone: it is image i of a score or of ``gconv_gan.sample`` with
        that seed, independent of ``num``.

        Args:
            num: how many.
            seed: of the latents and, where ``label`` is None, of the classes.
            label: one class for all, by its number or its name (a text that is a name is that class);
                None: classes drawn uniformly.
            truncation: threshold t of z, whose entries follow N(0, 1) truncated to [-t, t]; ψ for a generator with a mapping network
                (0: the mean w).

        Raises:
            UserError: the generator has no such class, or ``num`` or a threshold of z is not positive.

        """
        if num < 1:
            raise UserError(f"num must be at least 1, not {num}")
        counts = None
        if label is not None:
            counts = class_counts(self.classes, class_number(label, self.classes, argument="label", model=str(self.folder)))
        return sample(self.generator, count=num, seed=seed, counts=counts, truncation=truncation).cpu()

    def to(self, device: torch.device | str) -> "GAN":
        """Move both networks to ``device`` in place and return the same object."""
        self.generator.to(device)
        if self.discriminator is not None:
            self.discriminator.to(device)
        return self


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        folder: its run folder.
        network: the tested weights, in eval mode: images [B, 3, S, S] in [-1, 1] give logits [B, K].
        config: the whole config of the training run.
        classes: the names of the classes in the order of the logits.
        scores: what the run measured on its test data: accuracy, top5 and loss.

    """

    folder: Path
    network: nn.Module
    config: ClassifierRunConfig
    classes: tuple[str, ...]
    scores: Mapping[str, float]

    def __repr__(self) -> str:
        """Return name, image shape, parameters, scores and origin."""
        size, scores = self.config.image_size, ", ".join(f"{name} {value:.4g}" for name, value in self.scores.items())
        name = getattr(self.config.network, "name", self.config.network.kind)
        return (
            f"Classifier of {self.folder}, {scores or 'not tested'}\n  {name}, takes images [B, 3, {size}, {size}], "
            f"gives {len(self.classes)} logits, {_parameters(self.network):,} parameters"
        )

    @torch.no_grad()
    def predict(self, images: UInt8[Tensor, "n 3 s s"]) -> Int[Tensor, " n"]:
        """Return the number of the most probable class of each image, given as bytes, on the CPU."""
        device = next(self.network.parameters()).device
        parts = [self.network(to_unit(part).to(device)).argmax(1).cpu() for part in torch.split(images, BLOCK)]
        return torch.cat(parts)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def load(folder: str | Path, *, checkpoint: CheckpointChoice | None = None, plugins: Sequence[str | Path] = ()) -> GAN | Classifier:
    """Return the trained model in a run folder, or in a folder that ``gconv_gan.export`` wrote.

    Args:
        folder: the folder.
        checkpoint: images seen at a checkpoint of a GAN's run, or "best"; None: the newest complete one.
        plugins: files and modules to import first; a run that was made with plug-ins asks for them, and imports nothing by itself.

    Raises:
        UserError: there is no complete model in the folder, or it is an export or a classifier and ``checkpoint`` is given.

    """
    load_plugins([str(name) for name in plugins])
    folder = Path(folder)
    if not folder.exists():
        raise UserError(does_not_exist(folder))
    whole = (folder / TENSORS).is_file() or (folder / CLASSIFIER_DESCRIPTION).is_file()
    if whole and checkpoint is not None:
        raise UserError(f"{folder} holds one model and no checkpoints: leave checkpoint out")
    if (folder / TENSORS).is_file():
        generator, description = load_exported(folder)
        return GAN(folder, generator, None, description.run, description.classes, description.images_seen)
    if (folder / CLASSIFIER_DESCRIPTION).is_file():
        network, fields = load_classifier(folder)
        config = load_config(ClassifierRunConfig, folder / "config.json")
        tested: dict[str, float] = {name: float(fields[name]) for name in ("accuracy", "top5", "loss") if name in fields}
        return Classifier(folder, network, config, tuple(fields["classes"]), tested)
    run = load_run(folder, checkpoint=checkpoint)
    return GAN(folder, run.generator(), run.discriminator(), run.config, run.class_names, run.images_seen)


def train(config: str | Path | Mapping[str, Any] | GANRunConfig | ClassifierRunConfig, **overrides: Any) -> GAN | Classifier:
    """Train a config, or resume its run, and return the trained model.

    Args:
        config: a TOML file, its content as nested dicts, or a config object. A file's ``name`` is its stem.
        **overrides: keys of the config: ``name="mine"``, ``trainer={"batch_size": 32}`` or, dotted, ``**{"trainer.batch_size": 32}``.
            A part whose ``kind`` changes is replaced as a whole. ``plugins=["mine.py"]``, or those of a TOML file, are imported first.

    Raises:
        UserError: a key or value is wrong, or the data are absent.
        GuardError: a guard stopped training (a number that is not finite, a full disk).

    """
    source = str(config) if isinstance(config, str | Path) else "config"
    data = with_plugins(_content(config), [str(name) for name in overrides.pop("plugins", ())], Path(source))
    for key, value in overrides.items():
        data = merged(data, _nested(key, value))
    if "test_data" in data:
        supervised = validated(ClassifierRunConfig, data, source)
        classifier.fit(supervised)
        return load(Path(supervised.runs_dir) / supervised.name)
    adversarial = validated(GANRunConfig, data, source)
    gan.fit(adversarial)
    return load(Path(adversarial.runs_dir) / adversarial.name)


def _content(config: str | Path | Mapping[str, Any] | GANRunConfig | ClassifierRunConfig) -> dict[str, Any]:
    """Return a config as nested dicts."""
    if isinstance(config, GANRunConfig | ClassifierRunConfig):
        return dict(json.loads(config.model_dump_json()))
    if isinstance(config, Mapping):
        return dict(config)
    path = Path(config)
    if not path.is_file():
        raise UserError(f"config file {path} does not exist")
    text = path.read_text()
    try:
        data: dict[str, Any] = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return {"name": path.stem, **data}


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: _nested(rest, value) if rest else value}


def score(source: str | Path, *, plugins: Sequence[str | Path] = (), **options: Any) -> list[dict[str, Any]]:
    """Score a run, or images in a folder or zip, and return what ``gconv-gan score --json`` writes: one entry a protocol.

    Each is ``{"scores": {"fid": …, "is_mean": …, …}, "card": …}``; a run keeps them in its folder, too.

    Args:
        source: a run folder, or images in a folder or zip.
        plugins: files and modules to import first, see :func:`load`.
        **options: the options of ``gconv-gan score``, such as ``protocol="fid50k_train"``, ``reference="reals/"``,
            ``extractor="efficientnet_lite0"``, ``metrics=["fid", "kid"]``, ``num_fake=10_000``, ``checkpoint="best"``.

    Raises:
        UserError: something is absent or does not fit.

    """
    load_plugins([str(name) for name in plugins])
    known = {name for name in ScoreCommand.model_fields if name not in ("source", "json_out")}
    for name in options:
        if name not in known:
            raise UserError(f"score has no option '{name}'{did_you_mean(name, known)}")
    for name in ("protocol", "metrics", "extractor"):
        if isinstance(options.get(name), str):
            options[name] = [options[name]]
    command = validated(resolved(ScoreCommand), {"source": str(source), **options}, "score")
    return [dict(json.loads(result.to_json())) for result, _ in scores.scored(command)]
