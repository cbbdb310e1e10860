"""Export of a run to a self-contained folder, as the Hub expects it: averaged generator, config, model card, samples, ONNX."""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from gconv_gan.commands.exported import DESCRIPTION, TENSORS, ExportedGenerator, load_exported
from gconv_gan.commands.model_card import ONNXFacts, model_card
from gconv_gan.commands.onnx_file import latencies, onnx_difference, require_onnx, write_onnx
from gconv_gan.commands.sample import sample
from gconv_gan.commands.train.networks import TrainedRun, load_run
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint, RunFolder
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command, validated
from gconv_gan.config.plugins import names_in_copy
from gconv_gan.config.schema import resolved
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.gallery.pictures.grid import save_grid
from gconv_gan.models.changes import made
from gconv_gan.runtime.files.atomic import new_folder, require_possible_folder, write_text
from gconv_gan.runtime.run_folder import keep_plugins

ONNX = "generator.onnx"
WITHOUT_ONNX = "leave it out with --no-onnx"
CARD, SAMPLES = "README.md", "samples.png"
SHOWN = 64  # images of seed 0 in the card


class ExportCommand(Config):
    """Export a run to a folder that needs neither the run nor the data: weights, config, model card, ONNX."""

    run: RunFolder
    out: str | None = None
    """The new folder; None: RUN/exported-IMAGES."""
    checkpoint: Checkpoint = None
    no_onnx: bool = False
    """Leave generator.onnx out."""
    push: Annotated[str | None, tyro.conf.arg(metavar="REPO_ID")] = None
    """Upload the folder to this repository of the Hugging Face Hub, OWNER/NAME, which is created if it does not exist; needs a login."""
    private: bool = False
    """Create that repository as a private one."""


def main(arguments: Sequence[str]) -> None:
    """Export the run that the command line names."""
    command = parse_command(ExportCommand, arguments)
    folder = export(command)
    print(f"written to {folder}")
    if command.push is not None:
        print(f"uploaded to {push(folder, command.push, private=command.private)}")


def export(command: ExportCommand) -> Path:
    """Write the folder atomically and return its path.

    Raises:
        UserError: there is no such run or checkpoint, the folder exists, ONNX's packages are missing, the generator cannot be
            exported to ONNX, or its images differ.

    """
    if not command.no_onnx:
        require_onnx(WITHOUT_ONNX)
    run = load_run(command.run, checkpoint=command.checkpoint)
    out = Path(command.out or Path(command.run) / f"exported-{run.images_seen}")
    if out.exists():
        raise UserError(f"{out} exists already: remove it, or name another folder with --out")
    require_possible_folder(out, "--out")
    with new_folder(out) as folder:
        shutil.copyfile(run.checkpoint / "ema.safetensors", folder / TENSORS)
        description = describe(run, (folder / TENSORS).read_bytes())
        write_text(folder / DESCRIPTION, description.model_dump_json(indent=2) + "\n")
        keep_plugins(folder, run.config.plugins, names_in_copy(run.config.plugins))
        generator, _ = load_exported(folder)  # read back as a user of the folder would
        onnx = None
        if not command.no_onnx:
            write_onnx(generator, folder / ONNX, advice=WITHOUT_ONNX)
            difference = onnx_difference(generator, folder / ONNX, advice=WITHOUT_ONNX)
            onnx = ONNXFacts(difference, *latencies(generator, folder / ONNX))
        save_grid(sample(generator, count=SHOWN, seed=0), folder / SAMPLES, columns=math.isqrt(SHOWN))
        card = model_card(generator, description, Path(command.run), onnx=onnx, samples=SAMPLES, repository=command.push)
        write_text(folder / CARD, card)
    return out


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload an exported folder to the Hugging Face Hub and return its address there.

    Raises:
        UserError: the name is no repository, there is no login, or the Hub cannot be reached.

    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    kept = f"{folder} is kept; export is not needed again: huggingface-cli upload {repository} {folder}"
    try:
        hub = huggingface_hub.HfApi()
        address = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"gconv_gan: {folder.name}")
    except HFValidationError as error:
        raise UserError(f"--push {repository} is not the name of a repository, OWNER/NAME: {error}; {kept}") from error
    except LocalTokenNotFoundError as error:
        raise UserError(f"--push {repository} needs a login: run hf auth login, or set HF_TOKEN; {kept}") from error
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"--push {repository}: the Hub answered: {' '.join(str(error).split())[:300]}; {kept}") from error
    return str(address)


def describe(run: TrainedRun, weights: bytes) -> ExportedGenerator:
    """Return the content of the folder's ``config.json``."""
    return resolved(ExportedGenerator)(
        plugins=tuple(names_in_copy(run.config.plugins).values()),
        generator=run.config.generator,
        image_size=run.config.data.size,
        classes=run.class_names,
        data_title=str(run.state["data_title"]),
        images_seen=run.images_seen,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        methods=tuple(made(run.changes)),
        run=_without_places(run.config),
    )


def _without_places(config: GANRunConfig) -> GANRunConfig:
    """Return a config in which a file or folder with an absolute path is named by the last part of its path alone."""

    def shortened(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shortened(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [shortened(inner) for inner in value]
        if isinstance(value, str) and "://" not in value:
            return re.sub(r"(^|:)(~?/[^:]*)", lambda found: found[1] + Path(found[2]).name, value)
        return value

    fields = json.loads(config.model_dump_json())
    if "plugins" in fields:
        fields["plugins"] = list(names_in_copy(config.plugins).values())
    return validated(GANRunConfig, shortened(fields), "exported config")
