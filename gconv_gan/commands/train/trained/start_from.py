"""Fine-tuning of a GAN: the initial weights of a run are those of another run, or of an exported generator."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from gconv_gan.commands.exported import DESCRIPTION, TENSORS, load_exported
from gconv_gan.commands.train.networks import build_networks, load_run
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.methods.method import PlayerName
from gconv_gan.models.changes import Record, inherited, rebuild, summaries
from gconv_gan.training.checkpoint import STATE


@dataclass(frozen=True)
class Started:
    """What the networks of a run took from ``start_from``."""

    messages: list[str]
    """A sentence for each network of which something keeps its random weights, and for each change of structure."""
    records: list[Record]
    """Records of these changes, which every checkpoint of the run keeps."""


@dataclass(frozen=True)
class Source:
    """A run or an exported folder whose weights are taken."""

    folder: Path
    config: GANRunConfig
    networks: dict[PlayerName, nn.Module]
    changes: list[Record]
    described: Path
    """The file that holds the records of the changes."""

    def before_changes(self, name: PlayerName, num_classes: int | None) -> nn.Module | None:
        """Return a network as this config builds it for ``num_classes``; None: it has none for so many, or has classes and the run none."""
        if self.config.conditional != (num_classes is not None):
            return None  # the norms are other modules
        try:
            generator, discriminator = build_networks(self.config, num_classes)
        except UserError:
            return None
        return generator if name == "generator" else discriminator


def start_from(folder: Path, generator: nn.Module, discriminator: nn.Module, *, num_classes: int | None) -> Started:
    """Copy the weights in ``folder`` into newly built networks, tensor by tensor of equal name and shape.

    The generator takes the *averaged* weights, of which its own average is then a copy; the discriminator those of the same checkpoint.
    A network whose structure a training method changed (pruning, factorisation) is changed alike first, in place. Optimisers and counters
    start anew. An exported folder has no discriminator, which keeps its random weights.

    Returns:
        What to tell the user, and the records of the changes that both networks now have.

    Raises:
        UserError: there is no such model; or its structure was changed, and it is another network than the run's.

    """
    source = _source(folder)
    targets: dict[PlayerName, nn.Module] = {"generator": generator, "discriminator": discriminator}
    messages = [] if len(source.networks) == 2 else [f"start_from: {folder} holds no discriminator, which starts with random weights"]
    changed: list[PlayerName] = []
    for name, network in source.networks.items():
        if _change(name, source, targets[name], num_classes):
            changed.append(name)
            messages += [f"start_from: the {name} is changed as in {folder}, {words}" for words in _words(name, source)]
        messages += _copy(name, network, targets[name])
    return Started(messages, inherited(source.changes, changed))


def _source(folder: Path) -> Source:
    if not folder.exists():
        raise UserError(f"start_from: {does_not_exist(folder)}")
    if (folder / TENSORS).is_file():
        generator, description = load_exported(folder)
        return Source(folder, description.run, {"generator": generator}, list(description.methods), folder / DESCRIPTION)
    run = load_run(folder)
    networks: dict[PlayerName, nn.Module] = {"generator": run.generator(), "discriminator": run.discriminator()}
    return Source(folder, run.config, networks, run.changes, run.checkpoint / STATE)


def _words(name: PlayerName, source: Source) -> list[str]:
    return summaries(name, source.changes, source=source.described)


def _change(name: PlayerName, source: Source, target: nn.Module, num_classes: int | None) -> bool:
    """Repeat on ``target`` the changes of structure that a network of ``source`` went through; return whether it did."""
    if not inherited(source.changes, [name]):
        return False
    twin = source.before_changes(name, num_classes)
    whole = None if twin is None else _shapes(twin)
    if twin is not None:
        rebuild(name, twin, source.changes, source=source.described)
        if _shapes(twin) == whole:
            return False  # the methods changed the other network alone
    if whole != _shapes(target):
        raise UserError(
            f"start_from: a training method changed the structure of the {name} in {source.folder}, which is another {name} than this"
            f" run's: give [{name}], conditional and data.size their values in {source.folder / DESCRIPTION}, or start from one without"
            " such changes"
        )
    rebuild(name, target, source.changes, source=source.described)
    return True


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _copy(name: PlayerName, source: nn.Module, target: nn.Module) -> list[str]:
    """Copy what fits from ``source`` to ``target`` in place; return a message where something of ``target`` is left as it was."""
    found, expected = source.state_dict(), target.state_dict()
    fitting = {key: found[key] for key, tensor in expected.items() if key in found and found[key].shape == tensor.shape}
    target.load_state_dict(fitting, strict=False)
    left = [key for key in expected if key not in fitting]
    if not left:
        return []
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    return [f"start_from: {len(left)} of {len(expected)} tensors of the {name} keep their random weights: {', '.join(left[:3])}{more}"]
