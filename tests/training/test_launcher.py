"""A run whose launcher or reader exits, or whose launcher has settings that change its numbers: real launchers and signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from accelerate.state import AcceleratorState

from gconv_gan.commands.studies.reproducibility import GAN, RunCommand
from gconv_gan.commands.train import gan as recipe
from gconv_gan.config.errors import UserError
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.checkpoint import checkpoints
from tests.processes import run_python
from tests.training.tiny import tiny, toml

ROOT = Path(__file__).parents[2]
ENDLESS = 10_000_000


def the_launcher_alone(number: int) -> Callable[[int], None]:
    return lambda launcher: os.kill(launcher, number)


def the_whole_family(launcher: int) -> None:
    children = psutil.Process(launcher).children()
    os.kill(launcher, signal.SIGTERM)
    for child in children:
        child.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("processes", "end"),
    [(1, the_launcher_alone(signal.SIGTERM)), (1, the_whole_family), (2, the_launcher_alone(signal.SIGKILL))],
    ids=["SIGTERM", "SIGTERM to all", "SIGKILL, two processes"],
)
def test_a_run_saves_and_ends_with_its_launcher(processes: int, end: Callable[[int], None], tmp_path: Path) -> None:
    run = RunCommand(GAN, toml(tmp_path), "endless", processes, tmp_path, ENDLESS, checkpoint_every=ENDLESS)
    launcher = run.start()
    while run.images_seen() < 200:
        assert launcher.poll() is None, (tmp_path / "endless.txt").read_text()
        time.sleep(0.05)
    family = psutil.Process(launcher.pid).children(recursive=True)
    try:
        end(launcher.pid)
        launcher.wait()
        _, alive = psutil.wait_procs(family, timeout=60)
        assert not alive
    finally:
        for process in psutil.wait_procs(family, timeout=0)[1]:
            process.kill()
    assert checkpoints(run.folder), (tmp_path / "endless.txt").read_text()
    assert checkpoints(run.folder)[0][0] >= 200
    with RunFolder(run.folder).alone():  # the lock is free
        pass


def test_a_run_outlives_the_shell_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "train_gan.py", str(toml(tmp_path))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    shell = f"{' '.join(command)} >/dev/null 2>&1 & sleep 4"
    subprocess.run(["bash", "-c", shell], cwd=ROOT, env=environment, check=True)
    waited = time.monotonic()
    while not (tmp_path / "tiny" / "checkpoint-480").is_dir():
        assert time.monotonic() < waited + 120
        time.sleep(0.1)


def test_a_run_whose_output_pipe_is_closed_saves_and_ends(tmp_path: Path) -> None:
    length = ["--trainer.total-images", str(ENDLESS), "--trainer.checkpoint-every", str(ENDLESS), "--trainer.log-every", "1"]
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as output:
        run = subprocess.Popen(
            [sys.executable, "train_gan.py", str(toml(tmp_path)), *length],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
    with os.fdopen(reader, "rb") as lines:
        assert b"kimg" in lines.readline()
    _, complaint = run.communicate(timeout=120)
    told = [line for line in complaint.splitlines() if not line.startswith("warning: ")]
    assert told == ["train_gan.py: stopped by SIGPIPE after saving"]
    assert run.returncode == 128 + signal.SIGPIPE
    assert checkpoints(tmp_path / "tiny")


REFUSED = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("4", "would divide every gradient by that number: unset it, and split the batch with"),
    "ACCELERATE_MIXED_PRECISION": ("fp8", "is not among no, bf16"),
    "ACCELERATE_DYNAMO_BACKEND": ("INDUCTOR", "would compile the networks"),
    "ACCELERATE_USE_FSDP": ("true", "requests FSDP from Accelerate"),
    "ACCELERATE_USE_DEEPSPEED": ("true", "requests DeepSpeed from Accelerate"),
    "ACCELERATE_USE_MEGATRON_LM": ("True", "requests Megatron-LM from Accelerate"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("true", "requests tensor, context or sequence parallelism from Accelerate"),
}


@pytest.mark.usefixtures("fresh_accelerate_state")
@pytest.mark.parametrize("variable", REFUSED)
def test_a_setting_of_the_launcher_that_changes_the_numbers_is_refused(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, sentence = REFUSED[variable]
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError) as refusal:
        recipe.fit(tiny(tmp_path))
    assert str(refusal.value).startswith(f"{variable} = {value} ")
    assert sentence in str(refusal.value)
    assert not (tmp_path / "tiny").exists()


def test_a_refused_setting_is_one_sentence_at_the_shell(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_DEEPSPEED": "true", "LOCAL_RANK": "0", "RANK": "0"}
    ended = run_python(["train_gan.py", str(toml(tmp_path))], env=environment)
    assert ended.returncode == 2
    assert ended.stderr.startswith("train_gan.py: ACCELERATE_USE_DEEPSPEED = true requests")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.usefixtures("fresh_accelerate_state")
def test_the_launcher_names_the_precision_if_the_config_does_not_and_may_not_contradict_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used(name: str, **trainer: str) -> str:
        recipe.fit(tiny(tmp_path / name, trainer={**trainer, "total_images": 32}))
        found: str = json.loads((tmp_path / name / "tiny" / "checkpoint-32" / "state.json").read_text())["mixed_precision"]
        return found

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    for trainer in ({}, {"precision": "bf16"}):
        with pytest.raises(UserError, match="fp16 needs one loss scale per network"):
            used("refused", **trainer)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    for precision in ("tf32", "fp32"):
        with pytest.raises(UserError, match=f'MIXED_PRECISION = bf16 contradicts trainer.precision = "{precision}": launch with'):
            used("refused", precision=precision)
    assert used("launcher") == "bf16"
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # what a launcher says that is not asked
    assert used("config", precision="bf16") == "bf16"
    AcceleratorState._reset_state(reset_partial_state=True)
    assert used("neither") == "no"
