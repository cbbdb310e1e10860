"""The runs of an experiment: one for each arm and seed."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gconv_gan.config.ablations import AblationConfig
from gconv_gan.config.commands import ExperimentCommand
from gconv_gan.config.load import load_config, merged, validated, with_plugins
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.comparisons import ComparisonConfig
from gconv_gan.config.sections.runs import GANRunConfig

Run = TypeVar("Run", GANRunConfig, ClassifierRunConfig)
Experiment = TypeVar("Experiment", AblationConfig, ComparisonConfig)


def load_experiment(model: type[Experiment], path: Path, plugins: Sequence[str]) -> Experiment:
    """Return the experiment of a file.

    The plug-ins of the command line, of the file, of its ``run`` and of all arms are imported: parts can be added only before the first
    run is read.

    Raises:
        UserError: the file is wrong, or a plug-in cannot be imported.

    """
    config: Experiment = load_config(model, path, ["--plugins", *plugins] if plugins else [])
    for changes in (config.run, *config.arms.values()):
        with_plugins(changes, [], path)
    return config


def arm_fields(base: Mapping[str, Any], config: AblationConfig | ComparisonConfig, arm: str) -> dict[str, Any]:
    """Return the fields of an arm: ``base`` with the experiment's changes and those of the arm, and the plug-ins of all of these."""
    parts: list[Mapping[str, Any]] = [base, {"plugins": config.plugins}, config.run, config.arms[arm]]
    plugins = list(dict.fromkeys(name for part in parts for name in part.get("plugins", ())))
    return merged(merged(base, config.run), config.arms[arm]) | ({"plugins": plugins} if plugins else {})


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
