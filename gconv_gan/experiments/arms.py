"""The runs of an ablation: one for each arm and seed."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gconv_gan.config.ablations import AblationConfig
from gconv_gan.config.commands import ExperimentCommand
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, merged, read_file, validated, with_plugins
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig

RunConfig = GANRunConfig | ClassifierRunConfig
Run = TypeVar("Run", GANRunConfig, ClassifierRunConfig)
PLACES = {"path", "cache_dir"}
NOT_OF_THE_RUN: dict[type[RunConfig], dict[str, set[str]]] = {
    GANRunConfig: {"data": {*PLACES, "resident"}, "trainer": {"total_images"}, "evaluation": {"every"}},
    ClassifierRunConfig: {"data": PLACES, "test_data": PLACES},
}
"""Keys that two runs of the same name may differ in."""


def load_ablation(path: Path, plugins: Sequence[str] = ()) -> AblationConfig:
    """Return the ablation of a file, with its base as part of ``run``.

    The plug-ins of the command line, of the file, of its base and ``run`` and of all arms are imported: parts can be added only before
    the first run is read.

    Raises:
        UserError: the file or its base is wrong, or a plug-in cannot be imported.

    """
    config = load_config(AblationConfig, path, ["--plugins", *plugins] if plugins else [])
    for changes in (config.run, *config.arms.values()):
        with_plugins(changes, [], path)
    if config.base is None:
        return config
    base = _base(path.parent / config.base)
    named = dict.fromkeys([*base.pop("plugins", ()), *config.plugins])
    return config.model_copy(update={"base": None, "run": merged(base, config.run), "plugins": tuple(named)})


def _base(path: Path) -> dict[str, Any]:
    model: type[RunConfig] = ClassifierRunConfig if "test_data" in read_file(path) else GANRunConfig
    return load_config(model, path).model_dump(mode="json", exclude_unset=True)


def arm_run(config: AblationConfig, command: ExperimentCommand, arm: str, seed: int) -> RunConfig:
    """Return the run of one arm with one seed.

    Args:
        config: the ablation, see ``load_ablation``.
        command: overrides of the command line.
        arm: its name.
        seed: of the run.

    Raises:
        UserError: a key is wrong, or a GAN has no scores.

    """
    fields = merged(config.run, config.arms[arm])
    plugins = dict.fromkeys([*config.plugins, *config.run.get("plugins", ()), *config.arms[arm].get("plugins", ())])
    fields |= {"plugins": list(plugins)} if plugins else {}
    identity = (config.name, arm, seed)
    if "test_data" in fields:
        return named_run(ClassifierRunConfig, fields, command, identity, also=config.attacks.model_dump_json())
    run = named_run(GANRunConfig, fields, command, identity)
    if not run.evaluation.every:
        raise UserError(f"ablation {config.name} computes no scores: set run.evaluation.every")
    return run


def named_run(
    model: type[Run], fields: Mapping[str, Any], command: ExperimentCommand, identity: tuple[str, str, int], *, also: str = ""
) -> Run:
    """Return the run of one arm with one seed; its name contains a hash of its settings, so that changed settings give another run.

    Args:
        model: sort of run.
        fields: its config, without name and seed.
        command: overrides of the command line.
        identity: experiment, arm, seed.
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
    settings = run.model_dump_json(exclude=NOT_OF_THE_RUN[model]) + also
    name = f"{arm}-s{seed}-{hashlib.sha256(settings.encode()).hexdigest()[:10]}"
    return run.model_copy(update={"name": name, "runs_dir": str(Path(command.runs_dir) / experiment)})
