"""Whole runs whose iterations read no value on the host, draw from no generator, and are one sequence of operations.

Every pair of parts is run so in ``test_combinations``; here are the options that are no kind of a part, and classifiers.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from gconv_gan.commands.train import classifier as classifier_recipe
from gconv_gan.commands.train import gan as gan_recipe
from gconv_gan.config.load import merged
from gconv_gan.layers.norms import whitening
from gconv_gan.training import engine
from tests.reference.host_free import HostFreeEngine, HostReadError, host_free
from tests.training.tiny import tiny
from tests.training.tiny_classifier import tiny_classifier

SHORT: dict[str, Any] = {"trainer": {"total_images": 192, "checkpoint_every": 1000, "log_every": 64}}

GAN_OPTIONS: dict[str, dict[str, Any]] = {
    "lazy penalty with a schedule": {
        "objective": {"penalty": {"kind": "r1", "every": 3, "schedule": {"kind": "cosine", "end_images": 150}}},
    },
    "consistency": {"objective": {"consistency": {"real_weight": 1.0, "fake_weight": 1.0}}},
    "lecam that sets in": {"objective": {"lecam": {"weight": 0.3, "start_images": 100}}},
    "top-k that shrinks": {"objective": {"top_k": {"final_fraction": 0.5, "decay": 0.9, "decay_images": 40}}},
    "ada": {"augment": {"kind": "ada", "every": 2, "cutout": 1.0, "initial_probability": 0.3, "ramp_images": 500}},
    "scheduled augmentation": {"augment": {"kind": "scheduled", "probability": 0.5, "rise_images": 150}},
    "micro-batches": {"trainer": {"micro_batches": 2}},
    "clipping": {"trainer": {"max_grad_norm": 1.0}},
    "orthogonal regularisation": {"methods": [{"kind": "orthogonal", "generator": 1e-4}]},
    "SGD and AdamW": {
        "generator_optimizer": {"kind": "sgd", "learning_rate": 0.01},
        "discriminator_optimizer": {"kind": "adamw", "norm_scale_divisor": 10.0, "decay": "weights"},
    },
    "annealed gates": {"generator": {"conv": {"kind": "dyconv", "num_kernels": 2, "anneal_images": 150}}},
    "one kernel of a bank": {"generator": {"conv": {"kind": "gconv", "mode": "bank", "selection": "top_m", "top_m": 1}}},
    "class gates": {"generator": {"conv": {"kind": "gconv", "class_gates": True, "bias": "dynamic"}}},
    "mapping network": {"generator": {"mapping": {"kind": "mlp", "depth": 2, "width": 8}}},
    "average with a start": {"ema": {"half_life_images": 100, "start_images": 100}},
    "balanced sampling": {"trainer": {"balance": "per_class", "batch_size": 20, "total_images": 240}},
    "spectral norm of a bank": {"generator": {"spectral_norm": True, "conv": {"kind": "gconv", "mode": "bank"}}},
    "biggan": {
        "generator": {"kind": "biggan", "width": 8, "latent_dim": 6, "attention": [8], "spectral_norm": True},
        "discriminator": {"kind": "biggan", "width": 8, "attention": [4]},
    },
    "exact ConvNorm": {"discriminator": {"norm": {"kind": "conv_norm", "scale": "exact", "detach": False}}},
    "bfloat16": {"trainer": {"precision": "bf16"}},
    "bfloat16 with a penalty": {"trainer": {"precision": "bf16"}, "objective": {"penalty": {"kind": "r1", "every": 2}}},
    "frozen whitening": {
        "generator": {"conv": {"kind": "invariant", "freeze": True, "block_size": 4}, "norm": {"kind": "iter"}},
        "discriminator": {"conv": {"kind": "invariant", "freeze": True, "block_size": 4}, "norm": {"kind": "none"}},
    },
    "relativistic pairs": {"objective": {"loss": "relativistic_pairing"}},
}


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize("option", GAN_OPTIONS)
def test_an_iteration_of_a_gan_is_free_of_the_host(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[HostFreeEngine] = []
    monkeypatch.setattr(engine, "EagerEngine", lambda iterate: engines.append(HostFreeEngine(iterate)) or engines[0])
    monkeypatch.setattr(whitening, "FREEZE_PERIOD", 10)  # statistics are frozen amid an iteration, and later used again
    monkeypatch.setattr(whitening, "FREEZE_UPDATES", 4)
    gan_recipe.fit(tiny(tmp_path, **merged(SHORT, GAN_OPTIONS[option])))
    assert all(len(calls) > 500 for calls in engines[0].calls.values())
    assert engines[0].calls


CLASSIFIER_OPTIONS: dict[str, dict[str, Any]] = {
    "dropout, norms, smoothing and noise": {},
    "mixup and CutMix": {"augmentation": {"mixup": 1.0, "cutmix": 1.0}},
    "average": {"average": {"half_life_images": 100, "ramp": 0.5}},
    "SGD": {"optimizer": {"kind": "sgd", "learning_rate": 0.01}},
    "micro-batches": {"trainer": {"micro_batches": 2}},
}


@pytest.mark.parametrize("option", CLASSIFIER_OPTIONS)
def test_an_iteration_of_a_classifier_is_free_of_the_host(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[HostFreeEngine] = []
    monkeypatch.setattr(engine, "EagerEngine", lambda iterate: engines.append(HostFreeEngine(iterate)) or engines[0])
    classifier_recipe.fit(tiny_classifier(tmp_path, **merged(SHORT, CLASSIFIER_OPTIONS[option])))
    assert [len(calls) > 100 for calls in engines[0].calls.values()] == [True]


@pytest.mark.parametrize(
    "offence",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.tolist(),
        lambda x: x + torch.tensor(1.0),
        lambda x: torch.rand_like(x).bernoulli_(),
        lambda x: torch.linalg.inv(x),
    ],
)
def test_the_mode_detects_host_reads_and_generators(offence: Any) -> None:
    x = torch.eye(3)
    with pytest.raises(HostReadError), host_free():
        offence(x)
