"""Keys of earlier versions, translated when a config is read."""

from collections.abc import Mapping
from typing import Any

from gconv_gan.config.base import Config
from gconv_gan.config.schema import table

NETWORKS = {"generator": "GENERATORS", "discriminator": "DISCRIMINATORS"}


def translated(model: type[Config], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a config file with the keys of earlier versions in today's form.

    ``generator.orthogonal`` and ``discriminator.orthogonal`` were the weights of orthogonal regularisation: they become the method
    ``orthogonal``, before the listed methods, as it acted. ``trainer.mixed_precision`` and ``trainer.tf32`` become ``trainer.precision``.
    An ablation's comparisons had no ``kind``, and those of classifiers were a list ``claims`` about ``proposed`` and ``baseline``.

    Args:
        model: what the data are read into; that of an exported generator, which is not trained, has no use for the weights.
        data: the file's content, of which nothing has been checked.

    """
    found = _with_precision(data) if {"precision", "micro_batches"} <= model.model_fields.keys() else dict(data)
    if {"arms", "compare"} <= model.model_fields.keys():
        found = _with_comparisons(found)
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


def _with_precision(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a section [trainer] in which ``mixed_precision`` and ``tf32``, if their values were valid, are ``precision``.

    Without TF32's key, convolutions were in TF32 and products of matrices exact, which has no name any more: they become "tf32".
    """
    autocast, tf32 = trainer.get("mixed_precision"), trainer.get("tf32")
    known = {"mixed_precision": autocast in (None, "no", "bf16"), "tf32": tf32 is None or isinstance(tf32, bool)}
    present = [key for key in known if key in trainer]
    if not present or "precision" in trainer or not all(known[key] for key in present):
        return dict(trainer)
    precision = "bf16" if autocast == "bf16" else "fp32" if tf32 is False else "tf32" if autocast == "no" else None
    return {key: value for key, value in trainer.items() if key not in known} | {"precision": precision}


def _with_comparisons(ablation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of an ablation with ``claim`` as its ``question``, ``claims`` as ``compare``, and a ``kind`` of each comparison."""
    keys = {"proposed": "arm", "baseline": "against"}
    found = {{"claim": "question", "claims": "compare"}.get(name, name): value for name, value in ablation.items()}
    if "claims" in ablation:
        found = {"test": "t", **found}
    if isinstance(entries := found.get("compare"), list):
        found["compare"] = [
            {"kind": "difference", **{keys.get(name, name): value for name, value in entry.items()}} if isinstance(entry, dict) else entry
            for entry in entries
        ]
    return found


def _has(owner: str, section: Mapping[str, Any], key: str) -> bool:
    """Return whether the kind of a section, which may be a plug-in's, has this key itself."""
    model = table(owner).models().get(str(section.get("kind", "resnet")))
    return model is not None and key in model.model_fields
