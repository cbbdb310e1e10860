"""The runs of an experiment: one for each arm and seed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from gconv_gan.config.commands import ExperimentCommand
from gconv_gan.config.load import validated
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig

Run = TypeVar("Run", GANRunConfig, ClassifierRunConfig)


def named_run(
    model: type[Run],
    fields: Mapping[str, Any],
    command: ExperimentCommand,
    identity: tuple[str, str, int],
    *,
    left_out: dict[str, set[str]],
    also: str = "",
) -> Run:
    """Return the run of one arm with one seed; its name contains a hash of its settings, so that changed settings give another run.

    Args:
        model: sort of run.
        fields: its config, without name and seed.
        command: overrides of the command line.
        identity: experiment, arm, seed.
        left_out: keys of each section that are not part of the hash.
        also: further settings that are part of the hash, as text.

    """
    experiment, arm, seed = identity
    fields = {**fields, "name": "arm", "seed": seed}
    places = {"path": command.data_path, "cache_dir": command.cache_dir}
    for section in fields.keys() & {"data", "test_data"}:
        fields[section] = {**fields[section], **{name: value for name, value in places.items() if value is not None}}
    if command.images is not None:
        fields["trainer"] = {**fields["trainer"], "total_images": command.images}
    run = validated(model, fields, f"experiment {experiment}, arm {arm}")
    settings = run.model_dump_json(exclude=left_out) + also
    name = f"{arm}-s{seed}-{hashlib.sha256(settings.encode()).hexdigest()[:10]}"
    return run.model_copy(update={"name": name, "runs_dir": str(Path(command.runs_dir) / experiment)})
