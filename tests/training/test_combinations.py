"""Every pair of network, convolution, norm, loss, penalty and augmentation trains, or is refused in one sentence.

The kinds are read from the tables of parts, so that a new one is tested from then on. All pairs of kinds are covered by some hundred
runs of the real command on 8-px digits. Where one is refused, the values it is refused for are found and kept out of later runs.
No iteration reads anything on the host, and all of a run are the same sequence of operations.
"""

import math
from pathlib import Path
from typing import Any

import pytest

from gconv_gan import parts
from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.commands.train.objective import build_objective
from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import validated
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.runtime.tracking import read_metrics
from gconv_gan.training import engine, report, samples
from tests.reference.host_free import HostFreeEngine
from tests.reference.pairwise import Combination, Row, every_pair, next_row, pairs_of

STEPS, BATCH = 3, 4  # the first makes constants and optimiser state, the others are the same sequence of operations
NEEDED = {"width": 8, "latent_dim": 6}  # small values of fields without a default, or with a large one


# a value is a kind, or a kind with one more setting: "conv_norm bn=true"
AXES: dict[str, tuple[str, ...]] = {
    "generator": tuple(parts.GENERATORS),
    "generator.conv": (*parts.CONVS, "gconv mode=bank"),
    "generator.norm": tuple(parts.NORMS),
    "discriminator": tuple(parts.DISCRIMINATORS),
    "discriminator.norm": (*parts.WEIGHT_NORMS, "conv_norm bn=true"),
    "discriminator.conv": (*parts.DISCRIMINATOR_CONVS, "invariant whiten=true"),
    "discriminator.block_norm": tuple(parts.BLOCK_NORMS),
    "objective.loss": tuple(parts.LOSSES),
    "objective.penalty": tuple(parts.PENALTIES),
    "augment": tuple(parts.AUGMENTATIONS),
    "conditional": ("true", "false"),
}
DEFAULTS: Row = {axis: values[0] for axis, values in AXES.items()}


def member_of(axis: str, kind: str) -> type[Config]:
    return {"generator": parts.GENERATORS, "discriminator": parts.DISCRIMINATORS}[axis].models()[kind]


def config_of(row: Row, folder: Path, name: str) -> GANRunConfig:
    data: dict[str, Any] = {
        "name": name,
        "runs_dir": str(folder),
        "conditional": row["conditional"] == "true",
        "data": {"kind": "digits", "split": "test", "cache_dir": str(folder / "cache")},
        "objective": {"loss": row["objective.loss"]},
        "ema": {"half_life_images": 20},
        "trainer": {"total_images": STEPS * BATCH, "batch_size": BATCH, "log_every": STEPS * BATCH},
    }
    for network in ("generator", "discriminator"):
        fields = member_of(network, row[network]).model_fields
        data[network] = {"kind": row[network]} | {field: small for field, small in NEEDED.items() if field in fields}
    for axis in row.keys() - {"generator", "discriminator", "objective.loss", "conditional"}:
        part, _, key = axis.rpartition(".")
        if part in ("generator", "discriminator") and row[axis] == DEFAULTS[axis] and key not in member_of(part, row[part]).model_fields:
            continue  # a network without such a part; any other value is refused as an unknown key
        kind, *settings = row[axis].split()
        place = data[part] if part else data
        place[key] = {"kind": kind}
        for setting in settings:
            option, _, value = setting.partition("=")
            place[key][option] = {"true": True, "false": False}.get(value, value)
    return validated(GANRunConfig, data, "combination")


def outcome(row: Row, folder: Path, name: str, *, train: bool = True) -> str | None:
    """Train a few steps (or only build everything); return None, or the sentence of the refusal. Any other exception is a failure."""
    try:
        config = config_of(row, folder, name)
        if not train:
            num_classes = 10 if config.conditional else None
            build_objective(config, build_networks(config, num_classes)[1], num_classes)
            return None
        recipe.fit(config)
    except UserError as refusal:
        return str(refusal)
    (line,) = read_metrics(folder / name / "metrics.jsonl")
    assert line["images"] == STEPS * BATCH, row
    assert all(math.isfinite(value) for value in line.values()), (row, line)
    return None


def culprit(row: Row, folder: Path, known: dict[Combination, bool]) -> Combination:
    """Return the values for which the row is refused: as many values as possible are reset to defaults while it is still refused.

    `known` keeps which rows are refused, for this call and later ones.
    """

    def is_refused(row: Row) -> bool:
        key = frozenset(row.items())
        if key not in known:
            known[key] = outcome(row, folder, "x", train=False) is not None
        return known[key]

    known[frozenset(row.items())] = True
    for axis in row:
        simpler = {**row, axis: DEFAULTS[axis]}
        if is_refused(simpler):
            row = simpler
    found = {item for item in row.items() if not is_refused({**row, item[0]: DEFAULTS[item[0]]})}
    # either value of "conditional" may be the refused one, so it is not reset to its default
    other = {"true": "false", "false": "true"}[row["conditional"]]
    if not is_refused({**row, "conditional": other}):
        found.add(("conditional", row["conditional"]))
    return frozenset(found)


def test_every_pair_trains_or_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "save_grid", lambda *_, **__: None)  # grids are tested elsewhere
    monkeypatch.setattr(report, "log_picture", lambda *_: None)
    monkeypatch.setattr(engine, "EagerEngine", HostFreeEngine)
    missing = every_pair(AXES)
    refused: dict[Combination, str] = {}
    known: dict[Combination, bool] = {}
    for index in range(1000):
        if not missing:
            break
        row = next_row(AXES, missing, refused)
        sentence = outcome(row, tmp_path, f"row{index}")
        if sentence is None:
            missing -= pairs_of(row)
            continue
        found = culprit(row, tmp_path, known)
        assert len(found) > 1, f"{dict(found) or row} is refused whatever goes with it: {sentence}"
        if found in refused:  # two refusals together exclude this pair
            missing.discard(min(missing, key=sorted))
            continue
        refused[found] = sentence
        missing.discard(found)
    assert not missing
    for values, sentence in refused.items():
        assert "\n" not in sentence, (values, sentence)
        assert 20 < len(sentence) < 400, (values, sentence)
        print(*(f"{axis}={value}" for axis, value in sorted(values)), "->", sentence)
    assert refused.keys() >= EXPECTED


# refusals that must stay: without them the results would be wrong
COUPLING = {
    "discriminator.norm": ("conv_norm bn=true",),
    "discriminator.conv": ("invariant whiten=true",),
    "discriminator.block_norm": ("batch", "iter", "group_plus"),
}
EXPECTED: set[Combination] = {
    *(
        frozenset([(axis, value), ("objective.penalty", kind)])
        for axis, values in COUPLING.items()
        for value in values
        for kind in tuple(parts.PENALTIES)
        if kind != "none"
    ),
    *(frozenset([("augment", "ada"), ("objective.loss", loss)]) for loss in ("wasserstein", "relativistic_pairing")),
}
