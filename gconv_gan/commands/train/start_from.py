"""Fine-tuning of a GAN: the initial weights of a run are those of another run, or of an exported generator."""

from pathlib import Path

from torch import nn

from gconv_gan.commands.exported import TENSORS, load_exported
from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.models.changes import made


def start_from(folder: Path, generator: nn.Module, discriminator: nn.Module) -> list[str]:
    """Copy the weights in ``folder`` into newly built networks, tensor by tensor of equal name and shape.

    The generator takes the *averaged* weights, of which its own average is then a copy; the discriminator those of the same checkpoint.
    Optimisers and counters start anew. An exported folder has no discriminator, which keeps its random weights.

    Returns:
        a message for each network of which something keeps its random weights; it names the first of these tensors.

    Raises:
        UserError: there is no such model, or a training method changed its structure.

    """
    if not folder.exists():
        raise UserError(f"start_from: {does_not_exist(folder)}")
    pairs: list[tuple[str, nn.Module, nn.Module]] = []
    if (folder / TENSORS).is_file():
        exported, description = load_exported(folder)
        changed = bool(description.methods)
        pairs.append(("generator", exported, generator))
    else:
        run = load_run(folder)
        changed = bool(made(run.changes))
        pairs += [("generator", run.generator(), generator), ("discriminator", run.discriminator(), discriminator)]
    if changed:
        raise UserError(
            f"start_from: a training method changed the structure of the networks in {folder}, which a new run does not have: "
            "go on with that run (a larger --trainer.total-images), or start from one without such changes"
        )
    messages = [] if len(pairs) == 2 else [f"start_from: {folder} holds no discriminator, which starts with random weights"]
    return messages + [sentence for name, source, target in pairs for sentence in _copy(name, source, target)]


def _copy(name: str, source: nn.Module, target: nn.Module) -> list[str]:
    """Copy what fits from ``source`` to ``target`` in place; return a message where something of ``target`` is left as it was."""
    found, expected = source.state_dict(), target.state_dict()
    fitting = {key: found[key] for key, tensor in expected.items() if key in found and found[key].shape == tensor.shape}
    target.load_state_dict(fitting, strict=False)
    left = [key for key in expected if key not in fitting]
    if not left:
        return []
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    return [f"start_from: {len(left)} of {len(expected)} tensors of the {name} keep their random weights: {', '.join(left[:3])}{more}"]
