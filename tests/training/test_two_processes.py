"""Two gloo processes train like one: the same draws, averaged gradients, statistics of the global batch.

Adam's denominator is kept large (eps 0.1), so that a step is proportional to its gradient: with a small one, Adam turns the
rounding noise of a gradient that is zero into a step of full size. What is left is float32's rounding of sums of the order of a
thousand terms in another order, 10⁻⁶ relative, over twenty steps of each network.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from gconv_gan.commands.train import gan as recipe
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.config.load import merged
from gconv_gan.data.cache import open_dataset
from gconv_gan.runtime import precision
from gconv_gan.runtime.tracking import read_metrics
from tests.processes import run_two
from tests.training.tiny import tiny

ADAM = {"learning_rate": 0.02, "eps": 0.1}
SHARED: dict[str, Any] = {
    "generator_optimizer": ADAM,
    "discriminator_optimizer": ADAM,
    "trainer": {"total_images": 160, "checkpoint_every": 160, "log_every": 160, "sample_every": 160, "n_dis": 1},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "r1": {"objective": {"penalty": {"kind": "r1", "gamma": 1.0, "every": 2}}, "trainer": {"micro_batches": 2, "balance": "per_class"}},
    "exact_r1": {"objective": {"penalty": {"kind": "r1", "gamma": 1.0, "every": 2}}, "trainer": {"micro_batches": 2}},
    "wgan_gp": {
        "seed": 5,  # with the default seed a pre-activation is so near 0 that rounding changes its sign
        "objective": {"loss": "wasserstein", "penalty": {"kind": "wgan_gp"}},
        "discriminator": {"norm": {"kind": "none"}},
        "generator_optimizer": {"learning_rate": 0.002},
        "discriminator_optimizer": {"learning_rate": 0.002},
    },
    "everything": {
        "objective": {
            "penalty": {"kind": "dragan", "weight": 0.1},
            "consistency": {"real_weight": 1.0, "fake_weight": 1.0},
            "lecam": {"weight": 0.3, "start_images": 32},
            "top_k": {"final_fraction": 0.5, "decay": 0.9, "decay_images": 48},
        },
        "augment": {"kind": "ada", "initial_probability": 0.7, "ramp_images": 400, "every": 2},
    },
    "batch_norm": {
        # without a kink, and in smaller steps: batch normalisation of small batches multiplies rounding
        "generator": {"activation": "elu"},
        "discriminator": {"block_norm": {"kind": "batch"}, "norm": {"kind": "none"}, "activation": "elu"},
        "generator_optimizer": {"learning_rate": 0.005},
        "discriminator_optimizer": {"learning_rate": 0.005},
    },
    "relativistic": {
        "seed": 5,  # at 3, a rectifier's input comes within rounding of 0 in a step
        "objective": {"loss": "relativistic_pairing", "penalty": {"kind": "r1_r2", "gamma": 0.1}},
        "augment": {"kind": "diff_augment"},
    },
    # the images of all steps of D are generated in one pass
    "joined": {"trainer": {"n_dis": 5}},
}


def config(folder: Path, objective: str, **changes: Any) -> Any:
    return tiny(folder, **merged(merged(SHARED, OBJECTIVES[objective]), {"name": objective, **changes}))


def has_tf32(name: str) -> Callable[[torch.device], bool]:
    """Return a stand-in for the function of this name: whether a run takes the gradient of its penalty apart, as on a GPU."""
    return lambda _: name.startswith("exact")


def one_of_two(rank: int, folder: str, ports: list[int]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    for name, port in zip(OBJECTIVES, ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        precision.has_tf32 = has_tf32(name)
        recipe.fit(config(Path(folder), name))  # fit ends the process group
        AcceleratorState._reset_state(reset_partial_state=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    open_dataset(config(folder, "r1").data)  # converted once, before both need it
    run_two(one_of_two, str(folder), free_ports(len(OBJECTIVES)))
    return folder


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted((folder / name / "checkpoint-160").glob("*.safetensors")):
        found |= {f"{file.stem}.{key}": value for key, value in load_file(file).items()}
    return found


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_end_with_the_weights_of_one(name: str, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_tf32", has_tf32(name))
    recipe.fit(config(tmp_path, name))
    ours, theirs = weights(two, name), weights(tmp_path, name)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    one, other = (read_metrics(folder / name / "metrics.jsonl")[-1] for folder in (tmp_path, two))
    assert one.keys() == other.keys()
    own = {"seconds_per_kimg", "peak_memory_gib"}
    if name in ("wgan_gp", "relativistic"):  # losses without a boundary: each process takes the middle of its own logits
        own |= {"accuracy_real", "accuracy_fake", "sign_real"}
    for key in one.keys() - own:
        assert one[key] == pytest.approx(other[key], rel=1e-4, abs=1e-5), key


def test_the_weights_moved_by_far_more_than_the_tolerance(two: Path) -> None:
    for name in OBJECTIVES:
        start = build_networks(config(two, name), 10)[1].state_dict()
        end = weights(two, name)
        assert max(float((end[f"discriminator.{key}"] - value).abs().max()) for key, value in start.items()) > 0.01, name
