"""The run folder: its content, settings that may change between starts, and settings that may not."""

import json
from pathlib import Path

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.runtime.run_folder import RunFolder, differing, ends_with_the_run, versions
from tests.training.tiny import tiny


def test_it_records_config_command_and_versions(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.prepare(tiny(tmp_path))
    folder.prepare(tiny(tmp_path))
    assert json.loads(folder.config.read_text())["generator"]["conv"]["kind"] == "gconv"
    assert len((folder.path / "command.txt").read_text().splitlines()) == 2
    assert {"python", "torch", "accelerate", "gconv_gan"} <= json.loads((folder.path / "versions.json").read_text()).keys()


def test_every_difference_is_named_and_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.prepare(tiny(tmp_path))
    before = folder.config.read_bytes()
    with pytest.raises(UserError) as refusal:
        folder.prepare(tiny(tmp_path, seed=9, generator={"conv": {"mode": "bank"}}, trainer={"n_dis": 5, "log_every": 7}))
    assert "seed: 3 -> 9" in str(refusal.value)
    assert 'generator.conv.mode: "dictionary" -> "bank"' in str(refusal.value)
    assert "trainer.n_dis: 2 -> 5" in str(refusal.value)
    assert "log_every" not in str(refusal.value)
    assert folder.config.read_bytes() == before


def changed(folder: RunFolder, **keys: object) -> None:
    """Rewrite the folder's config as another version might have: with a key more, or without one (None)."""
    stored = json.loads(folder.config.read_text())
    folder.config.write_text(json.dumps({name: value for name, value in {**stored, **keys}.items() if value is not None}))


def test_a_key_that_came_later_counts_as_its_default(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.prepare(tiny(tmp_path))
    changed(folder, objective=None)
    folder.prepare(tiny(tmp_path))
    assert json.loads(folder.config.read_text())["objective"]["loss"] == "hinge"
    changed(folder, objective=None)
    with pytest.raises(UserError, match='holds a run with other settings: objective.loss: "hinge" -> "wasserstein"'):
        folder.prepare(tiny(tmp_path, objective={"loss": "wasserstein"}))


def test_a_key_that_is_gone_is_named_and_a_damaged_config_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.prepare(tiny(tmp_path))
    changed(folder, old_key=3)
    with pytest.raises(UserError, match='holds a run with other settings: old_key: 3 -> "absent"'):
        folder.prepare(tiny(tmp_path))
    folder.config.write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        folder.prepare(tiny(tmp_path))


def test_added_and_removed_keys_are_differences() -> None:
    found = dict(differing({"a": 1, "b": {"c": 2}}, {"b": {"c": 2, "d": None}, "e": [1]}))
    assert found == {"a": 'a: 1 -> "absent"', "b.d": 'b.d: "absent" -> null', "e": 'e: "absent" -> [1]'}


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, True),  # the tiny run's schedule is linear
        ({"schedule": {"kind": "constant"}}, False),
        ({"schedule": {"kind": "step", "milestones": [100]}}, False),
        ({"schedule": {"kind": "cosine"}}, True),
        ({"schedule": {"kind": "cosine", "end_images": 300}}, False),
        ({"schedule": {"kind": "constant"}, "objective": {"penalty": {"kind": "r1", "schedule": {"kind": "linear"}}}}, True),
    ],
)
def test_schedules_that_end_with_the_run(changes: dict[str, object], ends: bool, tmp_path: Path) -> None:
    assert ends_with_the_run(tiny(tmp_path, **changes)) is ends


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    refused = pytest.raises(UserError, match=r"another process is training in .*run: wait for it, or end it")
    with folder.alone(), refused, folder.alone():
        pass
    with folder.alone():
        pass


def test_an_absent_library_is_recorded_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gconv_gan.runtime.run_folder.VERSIONED", ("no-such-library",))
    assert versions()["no-such-library"] == "not installed"
