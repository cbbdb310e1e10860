"""Keys of earlier versions, translated when a config is read."""

from collections.abc import Mapping
from typing import Any

from gconv_gan.config.base import Config
from gconv_gan.config.schema import table

NETWORKS = {"generator": "GENERATORS", "discriminator": "DISCRIMINATORS"}


def translated(model: type[Config], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a config file with the keys of earlier versions in today's form.

    ``generator.orthogonal`` and ``discriminator.orthogonal`` were the weights of orthogonal regularisation: they become the method
    ``orthogonal``, before the listed methods, as it acted.

    Args:
        model: what the data are read into; that of an exported generator, which is not trained, has no use for the weights.
        data: the file's content, of which nothing has been checked.

    """
    found = dict(data)
    weights: dict[str, Any] = {}
    for name, owner in NETWORKS.items():
        section = data.get(name)
        if name in model.model_fields and isinstance(section, dict) and "orthogonal" in section and not _has(owner, section, "orthogonal"):
            found[name] = {key: value for key, value in section.items() if key != "orthogonal"}
            weights |= {name: section["orthogonal"]} if section["orthogonal"] else {}
    listed = data.get("methods", [])
    if weights and NETWORKS.keys() <= model.model_fields.keys() and isinstance(listed, list):
        found["methods"] = [{"kind": "orthogonal", **weights}, *listed]
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Config) and isinstance(data.get(name), dict):
            found[name] = translated(inner, found[name])
    return found


def _has(owner: str, section: Mapping[str, Any], key: str) -> bool:
    """Return whether the kind of a section, which may be a plug-in's, has this key itself."""
    model = table(owner).models().get(str(section.get("kind", "resnet")))
    return model is not None and key in model.model_fields
