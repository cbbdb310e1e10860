"""Suggestions for mistyped words and for keys of other platforms."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

OTHER_NAMES = {
    "learning_rate": "lr learning_rates g_lr d_lr",
    "betas": "beta1 beta2 b1 b2",
    "weight_decay": "wd",
    "half_life_images": "decay ema_decay ema_kimg half_life",
    "total_images": "epochs num_epochs steps num_steps total_steps max_steps max_train_steps iterations iters niter kimg total_kimg",
    "batch_size": "batch bs batchsize train_batch_size",
    "n_dis": "d_steps num_d_steps n_critic",
    "size": "resolution res img_size image_size",
    "latent_dim": "z_dim dim_z nz",
    "width": "ch channels ngf ndf",
    "flip": "mirror hflip",
    "precision": "amp fp16 bf16 mixed_precision allow_tf32 tf32",
    "conditional": "cond",
    "runs_dir": "outdir output_dir out_dir save_dir",
    "checkpoint_every": "snap save_every checkpointing_steps",
    "max_grad_norm": "grad_clip clip",
    "micro_batches": "grad_accum gradient_accumulation_steps accumulation_steps",
    "path": "data_dir dataroot data_root",
    "every": "eval_every",
}
"""A key -> its names in StudioGAN, mimicry, StyleGAN's repositories and diffusers' scripts."""
ALIASES = {other: key for key, others in OTHER_NAMES.items() for other in others.split()}

WAYS = {
    "resume": "the same command again resumes its run",
    "resume_from_checkpoint": "the same command again resumes its run",
    "auto_resume": "the same command again resumes its run",
    "gpus": "accelerate launch --num_processes N starts N processes",
    "num_gpus": "accelerate launch --num_processes N starts N processes",
    "workers": "images are held converted, there are no loader processes",
    "orthogonal": "the method of this name adds it, --methods.0.kind orthogonal --methods.0.generator 5e-5",
    "num_workers": "images are held converted, there are no loader processes",
}
"""Flags of other platforms -> the corresponding usage here."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'X'?" for the nearest of ``known``, or "" if none is near."""
    if word.replace(".", "").isdecimal():  # two numbers that share digits are not similar words
        return ""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def check_choice(name: str, value: object, choices: object) -> None:
    """Check a value against its ``Literal`` annotation, for constructors that are called from Python.

    Raises:
        ValueError: naming the argument, the value, the admitted values, and the nearest of these.

    """
    admitted = get_args(choices)
    if value not in admitted:
        raise ValueError(f"{name} = {value!r} is not among {', '.join(map(str, admitted))}{did_you_mean(str(value), map(str, admitted))}")


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """Return the dotted keys of ``known`` nearest to ``key``, joined by "or"; None if none is near.

    Another platform's name for a key counts as the key. A key without its section is found in the section that has it.
    """
    known = list(known)
    section, _, name = key.rpartition(".")
    alias = ALIASES.get(name, name)
    if alias != name or not section:
        found = [other for other in known if other.rpartition(".")[2] == alias]
        inside = [other for other in found if section and (other.startswith(f"{section}.") or other.startswith(f"{section}_"))]
        shortest = min((other.count(".") for other in inside or found), default=0)
        chosen = [other for other in inside or found if other.count(".") == shortest]
        if 0 < len(chosen) <= 3:
            return " or ".join(chosen)
    return next(iter(difflib.get_close_matches(key, known, n=1)), None)


def does_not_exist(path: Path) -> str:
    """Return a message that ``path`` does not exist, with a similar name in its folder."""
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"{path} does not exist" + (f"; did you mean {path.parent / near[0]}?" if near else "")
