"""Deterministic kernels: torch's settings are set for a GPU and restored, and operations without such kernels are named once."""

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from gconv_gan.commands.train import gan as recipe
from gconv_gan.config.errors import UserError
from gconv_gan.runtime.determinism import deterministic_kernels, operations_without_deterministic_kernels
from gconv_gan.training import task
from gconv_gan.training.adversarial import Adversarial
from tests.training.tiny import tiny


def settings() -> tuple[bool, ...]:
    filling: Any = torch.utils.deterministic
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        filling.fill_uninitialized_memory,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )


ON = (True, True, False, True, False)


def test_the_settings_are_restored_as_they_were() -> None:
    own = settings()
    assert own != ON
    with deterministic_kernels(torch.device("cpu")):
        assert settings() == own
    with deterministic_kernels(torch.device("cuda")):
        assert settings() == ON
    assert settings() == own
    with pytest.raises(KeyError), deterministic_kernels(torch.device("cuda")):
        raise KeyError
    assert settings() == own
    torch.use_deterministic_algorithms(True)
    try:
        with deterministic_kernels(torch.device("cuda")):
            assert settings() == ON
        assert settings()[:2] == (True, False)
    finally:
        torch.use_deterministic_algorithms(False)


def put() -> None:
    """Call an operation that has no deterministic kernel on any device."""
    torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))


def test_operations_without_deterministic_kernels_are_named_once_and_other_warnings_shown() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with operations_without_deterministic_kernels() as found, deterministic_kernels(torch.device("cuda")):
            put()
            put()
        assert found == ["put_"]
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with operations_without_deterministic_kernels() as found:
            warnings.warn("another", stacklevel=1)
            put()
    assert [str(warning.message) for warning in shown] == ["another"]
    assert found == []


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, ...]]:
    """Use the settings of a GPU in iterations, which then call an operation without a deterministic kernel; return those they saw."""
    seen: list[tuple[bool, ...]] = []
    iterate = Adversarial._iterate

    def noted(*arguments: Any) -> None:
        seen.append(settings())
        put()
        iterate(*arguments)

    monkeypatch.setattr(Adversarial, "_iterate", noted)
    monkeypatch.setattr(task, "deterministic_kernels", lambda _: deterministic_kernels(torch.device("cuda")))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    return seen


SHORT: dict[str, Any] = {"total_images": 96, "checkpoint_every": 1000, "log_every": 32}
LINE = "the last bits of a run may differ from those of its repetition: torch has no deterministic form of put_"


def test_a_run_uses_deterministic_kernels_and_names_in_one_line_what_has_none(tmp_path: Path, as_on_a_gpu: list[tuple[bool, ...]]) -> None:
    own = settings()
    penalty = {"kind": "r1", "every": 3}  # three variants of the iteration, each of which is watched
    recipe.fit(tiny(tmp_path, objective={"penalty": penalty}, trainer=SHORT))
    assert as_on_a_gpu == [ON] * 3
    assert settings() == own
    assert (tmp_path / "tiny" / "log.txt").read_text().splitlines().count(LINE) == 1
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_run_may_refuse_such_operations_or_use_the_fastest_kernels(tmp_path: Path, as_on_a_gpu: list[tuple[bool, ...]]) -> None:
    with pytest.raises(UserError, match="deterministic = true refuses operations .* the run has put_: choose parts without them"):
        recipe.fit(tiny(tmp_path / "true", trainer={**SHORT, "deterministic": True}))
    assert not (tmp_path / "true" / "tiny").exists()
    del as_on_a_gpu[:]
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG")
    own = settings()
    recipe.fit(tiny(tmp_path / "false", trainer={**SHORT, "deterministic": False}))
    assert as_on_a_gpu == [own] * 3
    assert LINE not in (tmp_path / "false" / "tiny" / "log.txt").read_text()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
