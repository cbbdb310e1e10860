"""Trained classifiers for an experiment: folders of runs, or a config that is trained with several seeds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from gconv_gan.commands.train.classifier import fit
from gconv_gan.config.load import load_config, validated
from gconv_gan.config.sections.classifiers import ClassifierRunConfig


def trained_folders(runs: Sequence[str], *, seeds: int, runs_dir: str, places: Mapping[str, str]) -> list[Path]:
    """Return the run folders, after training those of a config that are not complete.

    Args:
        runs: folders, or files of configs (``.toml``).
        seeds: seeds 0, 1, … of a config.
        runs_dir: where a config's runs are.
        places: keys of ``data`` and ``test_data`` that replace those of the config.

    """
    folders = []
    for name in runs:
        if not name.endswith(".toml"):
            folders.append(Path(name))
            continue
        fields = json.loads(load_config(ClassifierRunConfig, Path(name)).model_dump_json())
        for section in ("data", "test_data"):
            fields[section] |= places
        for seed in range(seeds):
            run = {**fields, "name": f"{Path(name).stem}-s{seed}", "runs_dir": runs_dir, "seed": seed}
            fit(validated(ClassifierRunConfig, run, name))
            folders.append(Path(runs_dir) / str(run["name"]))
    return folders
