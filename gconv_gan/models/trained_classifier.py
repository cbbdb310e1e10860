"""A trained classifier on disk: ``model.safetensors`` and ``model.json`` in one folder.

The JSON object holds ``network`` (a name), ``arguments`` (what it is built with), ``classes`` (their names, in the order of the
logits) and, where the network standardises its input, ``standardise`` (mean and deviation). Whatever else it holds is for people.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.models.digits_classifier import DigitsClassifier
from gconv_gan.models.standardised import Standardised

TENSORS = "model.safetensors"
DESCRIPTION = "model.json"

# Each has image_size, feature_dim, num_classes, features(x) and head(features).
NETWORKS: dict[str, type[DigitsClassifier]] = {"digits_classifier": DigitsClassifier}


def load_classifier(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the network in ``folder`` and its description.

    Raises:
        UserError: naming the file, where one is missing, does not describe a known network, or does not fit it.

    """
    for path in (folder / DESCRIPTION, folder / TENSORS):
        if not path.is_file():
            raise UserError(f"{folder} is not a classifier: {path} is missing")
    fields = _fields(folder / DESCRIPTION)
    network = _built(fields, folder / DESCRIPTION)
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


def _built(fields: dict[str, Any], path: Path) -> nn.Module:
    name = fields["network"]
    if name not in NETWORKS:
        raise UserError(f"{path} names the network {name!r}; known are {', '.join(sorted(NETWORKS))}")
    try:
        network: Any = NETWORKS[name](**fields["arguments"])
    except TypeError as error:
        raise UserError(f"{path}: {name} was given arguments it does not take: {error}") from error
    if len(fields["classes"]) != network.num_classes:
        raise UserError(f"{path} names {len(fields['classes'])} classes, the network has {network.num_classes}")
    return Standardised(network, **fields["standardise"]) if fields.get("standardise") else network
