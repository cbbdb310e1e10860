"""Changes of a network's structure by training methods: recorded in run folders, and repeated on every newly built network.

A record is JSON: ``{"method": {"kind": "…", keys of its section}, "facts": {…}}``. It holds all that repeats the change, so that a
checkpoint, a trained classifier and an exported generator need nothing else. A GAN that started from changed networks *inherits* their
records: they stand before those of its own methods, and "networks" names the networks that they hold for.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import did_you_mean
from gconv_gan.config.load import validated
from gconv_gan.config.schema import PartConfig, constructor, table

NetworkName = Literal["generator", "discriminator", "classifier"]
Record = dict[str, Any]
NETWORKS = "networks"
"""Key of an inherited record: the networks that it holds for."""


@runtime_checkable
class Changing(Protocol):
    """The part of a training method that changes structure; see ``methods.method.Method``."""

    section: PartConfig | None

    def facts(self) -> dict[str, Any]:
        """Return JSON data about its changes."""
        ...

    def rebuild(self, name: NetworkName, network: nn.Module, facts: Mapping[str, Any]) -> None:
        """Repeat them on a newly built network."""
        ...

    def summary(self, name: NetworkName, facts: Mapping[str, Any]) -> str:
        """Return in a few words what they did to a network; empty: nothing."""
        ...


def records_of(methods: Sequence[Changing]) -> list[Record]:
    """Return a record of each method that a config lists, in its order; without changes its facts are empty."""
    return [{"method": method.section.model_dump(mode="json"), "facts": method.facts()} for method in methods if method.section is not None]


def read_records(state: Path) -> list[Record]:
    """Return the records in the ``state.json`` of a checkpoint; empty for a checkpoint of an earlier version."""
    return list(json.loads(state.read_text()).get("methods", []))


def made(records: Sequence[Record]) -> list[Record]:
    """Return the records that hold changes."""
    return [record for record in records if record["facts"]]


def inherited(records: Sequence[Record], names: Collection[NetworkName] | None = None) -> list[Record]:
    """Return the records that a run inherited; with ``names`` those of ``records`` that hold for these networks, as inherited ones."""
    if names is None:
        return [record for record in records if NETWORKS in record]
    held = [(record, [name for name in names if _holds(record, name)]) for record in made(records)]
    return [{**record, NETWORKS: of} for record, of in held if of]


def repeat(networks: Mapping[NetworkName, nn.Module], records: Sequence[Record], methods: Sequence[Changing], *, source: Path) -> None:
    """Repeat recorded changes on newly built ``networks`` in place, those of the run itself by its methods, which store them.

    Args:
        networks: by name.
        records: of the checkpoint that the run goes on from; empty for one of an earlier version.
        methods: of the run.
        source: the file that holds the records, for messages.

    Raises:
        UserError: the checkpoint was written by other methods.

    """
    for name, network in networks.items():
        rebuild(name, network, inherited(records), source=source)
    own = [record for record in records if NETWORKS not in record]
    listed = [method for method in methods if method.section is not None] if own else []
    before, now = [record["method"]["kind"] for record in own], [method.section.kind for method in listed if method.section is not None]
    if before != now:
        raise UserError(
            f"{source} was written with the methods {', '.join(before)}, and this run lists {', '.join(now) or 'none'}: list the same, or"
            " take start_from instead of fork"
        )
    for method, record in zip(listed, own, strict=True):
        if record["facts"]:
            for name, network in networks.items():
                method.rebuild(name, network, record["facts"])


def rebuild(name: NetworkName, network: nn.Module, records: Sequence[Record], *, source: Path) -> None:
    """Repeat recorded changes on a newly built ``network`` in place, before its weights are loaded.

    Args:
        name: name of the network; "generator" for its average too.
        network: the network as built from its config.
        records: records of the run.
        source: the file or folder that holds them, for messages.

    Raises:
        UserError: a method is unknown, or has other keys in this version.

    """
    for record in made(records):
        if _holds(record, name):
            _method(record["method"], source).rebuild(name, network, record["facts"])


def summaries(name: NetworkName, records: Sequence[Record], *, source: Path) -> list[str]:
    """Return what recorded changes did to the network ``name``, one sentence for each method: "taylor: 12 of 40 units removed".

    Args:
        name: name of the network.
        records: records of the run.
        source: the file that holds them, for messages.

    Raises:
        UserError: a method is unknown, or has other keys in this version.

    """
    said = [
        (record["method"]["kind"], _method(record["method"], source).summary(name, record["facts"]))
        for record in made(records)
        if _holds(record, name)
    ]
    return [f"{kind}: {words}" for kind, words in said if words]


def _holds(record: Record, name: NetworkName) -> bool:
    return name in record.get(NETWORKS, (name,))


def _method(section: Mapping[str, Any], source: Path) -> Changing:
    kinds = table("METHODS").models()
    kind = section["kind"]
    if kind not in kinds:
        hint = did_you_mean(kind, kinds) or ": give --plugins with the file that adds it"
        raise UserError(f"{source}: the training method '{kind}', which changed the network, is not known{hint}")
    config = validated(kinds[kind], dict(section), f"{source}, methods")
    method: Changing = constructor(config, "methods")()
    method.section = config if isinstance(config, PartConfig) else None
    return method
