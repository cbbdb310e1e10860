"""A trained classifier on disk: ``model.safetensors`` and ``model.json`` in one folder.

The JSON object holds ``network`` (a name), ``arguments`` (its config without the name, and ``image_size``), ``classes`` (their names,
in the order of the logits), if the network standardises its input, ``standardise`` (mean and deviation), and, if training methods changed
its structure, ``methods`` (their records, see ``models.changes``). Other entries are for information only.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.load import validated
from gconv_gan.config.schema import PartConfig
from gconv_gan.config.sections.classifier_units import NamedClassifierConfig
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sorts import require_folder_of
from gconv_gan.models.changes import Record, made, rebuild
from gconv_gan.models.classifiers.parts.standardised import Standardised
from gconv_gan.models.factory import build_classifier_network
from gconv_gan.models.tables import CLASSIFIERS

TENSORS = "model.safetensors"
DESCRIPTION = "model.json"


def describe(config: PartConfig, *, image_size: int, classes: Sequence[str]) -> dict[str, Any]:
    """Return the JSON object that describes the network of ``config``."""
    arguments = config.model_dump(mode="json", exclude={"kind", "name"})
    name = config.name if isinstance(config, NamedClassifierConfig) else config.kind
    return {"network": name, "arguments": {"image_size": image_size, **arguments}, "classes": list(classes)}


def with_changes(description: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """Return a description with the records of a run's training methods behind those that it holds; none without changes."""
    changes = [*description.get("methods", []), *made(records)]
    return {**description, **({"methods": changes} if changes else {})}


def load_classifier(folder: Path | str) -> tuple[Any, dict[str, Any]]:
    """Return the network in ``folder`` and its description.

    Raises:
        UserError: a file is missing, does not describe a known network, or does not fit it; the message names it.

    """
    folder = Path(folder)
    require_folder_of(ClassifierRunConfig, folder)
    for path in (folder / DESCRIPTION, folder / TENSORS):
        if not path.is_file():
            raise UserError(f"{folder} is not a classifier: {path} is missing")
    fields = _fields(folder / DESCRIPTION)
    network = built(fields, folder / DESCRIPTION)
    try:
        network.load_state_dict(load_file(folder / TENSORS))
    except RuntimeError as error:
        raise UserError(f"{folder / TENSORS} does not fit {folder / DESCRIPTION}: {' '.join(str(error).split())}") from error
    return network.eval(), fields


def _fields(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text())
        complete = {"network", "arguments", "classes"} <= fields.keys()
    except (json.JSONDecodeError, AttributeError):
        complete = False
    if not complete:
        raise UserError(f'{path} must be a JSON object with "network", "arguments" and "classes"')
    return dict(fields)


def built(fields: Mapping[str, Any], path: Path) -> nn.Module:
    """Return a new network as a description, read from ``path``, says.

    Raises:
        UserError: it describes no known network.

    """
    name, classes, arguments = fields["network"], fields["classes"], dict(fields["arguments"])
    image_size, expected = arguments.pop("image_size", None), arguments.pop("num_classes", len(classes))
    if len(classes) != expected:
        raise UserError(f"{path} names {len(classes)} classes, the network has {expected}")
    kinds = CLASSIFIERS.models()
    config: Any
    if name in kinds:
        config = validated(kinds[name], arguments, f"{path}, arguments")
    else:
        config = validated(NamedClassifierConfig, {"name": name, **arguments}, f"{path}, arguments")
    if not isinstance(image_size, int):
        raise UserError(f"{path}, arguments: key 'image_size' is required")
    try:
        network = build_classifier_network(config, num_classes=len(classes), image_size=image_size)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    network = Standardised(network, **fields["standardise"]) if fields.get("standardise") else network
    rebuild("classifier", network, fields.get("methods", []), source=path)
    return network
