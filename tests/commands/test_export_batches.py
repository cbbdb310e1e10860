"""The ONNX file of every sort of generator computes at any batch what the generator does: one kernel per sample, pruned, factorised."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from gconv_gan.commands import export
from gconv_gan.commands.exported import load_exported
from gconv_gan.commands.train import gan
from tests.training.tiny import tiny

WIDE: dict[str, Any] = {"width": 24}
"""More outputs than ``FEW_OUTPUTS``, so that kernels would be mixed."""
RUNS: dict[str, dict[str, Any]] = {
    "dictionary": {"generator": {**WIDE, "conv": {"kind": "gconv"}}},
    "bank": {"generator": {**WIDE, "conv": {"kind": "gconv", "mode": "bank"}}},
    "gates per tap": {"generator": {**WIDE, "conv": {"kind": "gconv", "mode": "bank", "granularity": "tap"}}},
    "pruned bank": {
        "generator": {**WIDE, "conv": {"kind": "gconv", "mode": "bank"}},
        "methods": [{"kind": "taylor", "players": ["generator"], "every": 32, "units_per_step": 40, "removed": 0.2}],
    },
    "factorised dictionary": {
        "generator": {**WIDE, "conv": {"kind": "gconv"}},
        "methods": [{"kind": "low_rank", "players": ["generator"], "removed": 0.7, "factorise_at": 0}],
    },
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize("name", RUNS)
def test_the_file_agrees_at_every_batch(name: str, tmp_path: Path) -> None:
    gan.fit(tiny(tmp_path, trainer={"total_images": 32, "log_every": 32}, **RUNS[name]))
    export.main([str(tmp_path / "tiny"), "--out", str(tmp_path / "out")])
    generator, description = load_exported(tmp_path / "out")
    assert bool(description.methods) == ("methods" in RUNS[name])
    session = onnxruntime.InferenceSession(tmp_path / "out" / "generator.onnx", providers=["CPUExecutionProvider"])
    draws = torch.Generator().manual_seed(0)
    for batch in (1, 7, 64):
        z, y = torch.randn(batch, 6, generator=draws), torch.randint(10, (batch,), generator=draws)
        (found,) = session.run(None, {"z": z.numpy(), "y": y.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), generator(z, y), rtol=0, atol=1e-5)
