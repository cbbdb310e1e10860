"""An iteration reads nothing on the host, and is the same sequence of operations at two points of every schedule.

Every pair of kinds is watched in ``test_combinations``; here are the options that are not kinds, and the recorder itself.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from gconv_gan.recipes import gan as recipe
from gconv_gan.training import samples
from gconv_gan.training.report import Report
from tests.reference.host_reads import Recorder, watching
from tests.training.tiny import merge, tiny

TENSOR = torch.arange(4.0)
OFFENCES: dict[str, Any] = {
    "item": lambda: TENSOR[0].item(),
    "bool": lambda: bool(TENSOR[0] > 1),
    "tolist": lambda: TENSOR.tolist(),
    "numpy": lambda: TENSOR.numpy(),
    "repr": lambda: repr(TENSOR),
    "mask": lambda: TENSOR[TENSOR > 1],
    "slice": lambda: TENSOR[: TENSOR[2].long()],
    "new tensor": lambda: torch.tensor([1.0]),
    "global generator": lambda: torch.rand(2),
    "inverse": lambda: torch.linalg.inv(torch.eye(2)),
    "lerp": lambda: torch._foreach_lerp_([torch.zeros(2)], [torch.ones(2)], TENSOR[1]),
}


@pytest.mark.parametrize("name", OFFENCES)
def test_the_recorder_notes(name: str) -> None:
    with Recorder() as recorder:
        OFFENCES[name]()
    assert recorder.recording.offences


def test_the_recorder_lets_the_rest_pass_and_sees_numbers() -> None:
    sequences = []
    for factor in (0.5, 0.5, 0.25):
        weight = torch.ones(3, requires_grad=True)
        with Recorder() as recorder:
            torch.autograd.backward((weight * factor).sum())
            torch.rand(2, generator=torch.Generator())
        assert not recorder.recording.offences
        sequences.append(recorder.recording.operations)
    assert sequences[0] == sequences[1] != sequences[2]


# all schedules at work, and what no kind says: each is watched at two of ten iterations
SCHEDULES: dict[str, Any] = {
    "schedule": {"kind": "cosine", "warmup_images": 40},
    "ema": {"half_life_images": 100, "ramp": 0.5, "start_images": 48},
    "trainer": {"total_images": 160, "n_dis": 2, "batch_size": 8, "log_every": 48, "checkpoint_every": 160, "max_grad_norm": 1.0},
    "objective": {"penalty": {"kind": "r1", "schedule": {"kind": "cosine", "final": 0.1, "end_images": 1000}}},
}
GCONV = {"kind": "gconv", "gate_init_std": 0.1}
OPTIONS: dict[str, dict[str, Any]] = {
    "schedules": {},
    "micro-batches": {"trainer": {"micro_batches": 2}},
    "spectral norm of a bank": {"generator": {"spectral_norm": True, "conv": {**GCONV, "mode": "bank"}}},
    "one kernel of a bank": {"generator": {"conv": {**GCONV, "mode": "bank", "num_kernels": 3, "selection": "top_m", "top_m": 1}}},
    "annealed gates": {"generator": {"conv": {**GCONV, "temperature": 30.0, "anneal_images": 400}}},
    "gates that know the class": {"generator": {"conv": {**GCONV, "class_gates": True, "gate_hidden": 4}}},
    "mapping": {"generator": {"mapping": {"kind": "mlp", "depth": 2, "width": 6}}},
    "orthogonal": {"generator": {"orthogonal": 1e-4}, "discriminator": {"orthogonal": 1e-4}},
    "biggan": {
        "generator": {"kind": "biggan", "width": 8, "latent_dim": 6, "attention": [8], "spectral_norm": True},
        "discriminator": {"kind": "biggan", "width": 8, "attention": [4]},
    },
    "exact ConvNorm": {"discriminator": {"norm": {"kind": "conv_norm", "scale": "exact", "detach": False}}},
    "bfloat16": {"trainer": {"mixed_precision": "bf16"}},
}


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize("name", OPTIONS)
def test_an_iteration_touches_no_host_value_whatever_the_options(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "save_grid", lambda *_, **__: None)
    with watching(4, 8) as watched:
        recipe.fit(tiny(tmp_path, **merge(SCHEDULES, OPTIONS[name])))
    watched.check()


def test_a_lazy_penalty_has_two_sequences_that_do_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "save_grid", lambda *_, **__: None)
    lazy = merge(SCHEDULES, {"trainer": {"n_dis": 1, "total_images": 80}, "objective": {"penalty": {"kind": "r1", "every": 2}}})
    lengths = []
    for numbers in ((4, 8), (5, 9)):
        with watching(*numbers) as watched:
            recipe.fit(tiny(tmp_path / str(numbers[0]), **lazy))
        watched.check()
        lengths.append(len(watched.recordings[0].operations))
    assert lengths[0] > lengths[1] + 100


def test_statistics_are_added_to_the_same_tensors_and_read_once_a_line(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    report = Report(accelerator, tmp_path / "log.txt", total_images=10)
    values = torch.zeros(2)
    with_penalty = {"loss_d": values[0], "penalty": values[1]}  # as a replayed graph, whose outputs keep their address
    report.start(0)
    for images in (8, 16):
        for loss, penalty in ((1.0, 4.0), (3.0, 8.0)):
            values.copy_(torch.tensor([loss, penalty]))
            report.add(with_penalty)
        report.add({"loss_d": torch.tensor(5.0)})
        line = report.line(images)
        assert (line["loss_d"], line["penalty"]) == (3.0, 6.0)
    report.add({"loss_d": torch.tensor(2.0)})
    assert "penalty" not in report.line(24)
