"""Plug-ins through the real commands: the examples of docs/plugins.md train, resume and sample, and what is wrong is said in a sentence."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.config.plugins import load_plugins, require_loaded, take_plugins

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL)

RUN = """
[data]
kind = "digits"
split = "test"
[generator]
kind = "one_layer"
latent_dim = 6
conv = { kind = "scaled", factor = 0.7 }
[discriminator]
width = 8
[objective]
loss = "absolute"
penalty = { kind = "largest_slope", every = 2 }
[trainer]
total_images = 64
batch_size = 16
"""


ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = [str(ROOT / arguments[0])] if arguments[0].endswith(".py") else ["-m", arguments[0]]
    return subprocess.run(
        [sys.executable, *script, *arguments[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )


def test_an_example_is_short() -> None:
    assert len(EXAMPLES) >= 4
    for example in EXAMPLES:
        body = [line for line in example.splitlines() if line.strip() and not line.startswith(("import ", "from "))]
        assert len(body) <= 25, example


def test_the_examples_train_resume_and_are_sampled(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("\n".join(EXAMPLES))
    (tmp_path / "run.toml").write_text(RUN)
    shown = command(tmp_path, "train_gan.py", "run.toml", "--plugins", "mine.py", "--help", "generator.conv.scaled")
    assert "--generator.conv.factor  number above 0  [0.5]\n      What the result is multiplied by." in shown.stdout, shown.stderr
    train = ("train_gan.py", "run.toml", "--plugins", "mine.py")
    dry = command(tmp_path, *train, "--dry-run")
    assert "ScaledConv2d" in dry.stdout, dry.stderr
    assert command(tmp_path, *train).returncode == 0
    again = command(tmp_path, *train, "--trainer.total-images", "96")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "runs" / "run" / "checkpoint-96").is_dir()

    without = command(tmp_path, "gconv_gan.export", "runs/run", "--no-onnx")
    assert without.returncode == 2
    assert re.search(r"runs/run/config\.json was made with mine\.py \(SHA-256 [0-9a-f]{12}…\): give --plugins mine\.py\n$", without.stderr)
    exported = command(tmp_path, "gconv_gan.export", "runs/run", "--no-onnx", "--out", "exported", "--plugins", "mine.py")
    assert exported.returncode == 0, exported.stderr
    (tmp_path / "moved.py").write_bytes((tmp_path / "mine.py").read_bytes())  # the contents count
    sampled = command(tmp_path, "gconv_gan.sample", "exported", "--num", "2", "--out", "images.zip", "--plugins", "moved.py")
    assert sampled.returncode == 0, sampled.stderr

    (tmp_path / "mine.py").write_text("\n".join(EXAMPLES) + "\n# changed\n")
    changed = command(tmp_path, *train)
    assert changed.returncode == 2
    assert "holds a run with other plug-ins: mine.py changed since. Restore the file, or give a new --name" in changed.stderr
    unread = command(tmp_path, "gconv_gan.export", "runs/run", "--no-onnx", "--plugins", "mine.py")
    assert "which has changed since: restore that file" in unread.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (
            "from gconv_gan import parts\nparts.CONVS['plain'] = int",
            r"CONVS\['plain'\] exists: it is gconv_gan\.layers\.resample\.ResampledConv2d",
        ),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=f"plugins: .*mine.py.*{message}"):
        load_plugins([str(tmp_path / "mine.py")])


def test_a_plugin_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plugins: nowhere.py does not exist"):
        load_plugins(["nowhere.py"])
    with pytest.raises(UserError, match="plugins: no_such_package.parts cannot be imported: ModuleNotFoundError"):
        load_plugins(["no_such_package.parts"])


def test_a_file_is_loaded_once_and_hides_no_module_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    path = tmp_path / "random.py"
    loads = tmp_path / "loads"
    loads.write_text("")
    path.write_text(f"from pathlib import Path\nloads = Path({str(loads)!r})\nloads.write_text(loads.read_text() + 'x')\n")
    monkeypatch.chdir(tmp_path)
    first, second = load_plugins(["random.py"]), load_plugins([str(path)])
    assert first == second
    assert loads.read_text() == "x"
    assert sys.modules["random"] is random
    assert str(tmp_path) not in sys.path
    require_loaded(["random.py"], {"random.py": first[str(path)]}, "here")
    with pytest.raises(UserError, match=r"^here was made with other\.py: give --plugins other\.py$"):
        require_loaded(["other.py"], {}, "here")


def test_the_flag_takes_every_word_up_to_the_next_flag() -> None:
    assert take_plugins(["run", "--plugins", "a.py", "b.parts", "--seed", "3"]) == (["a.py", "b.parts"], ["run", "--seed", "3"])
    assert take_plugins(["--plugins=a.py", "--plugins", "b.py"]) == (["a.py", "b.py"], [])
    with pytest.raises(UserError, match="--plugins needs files or modules"):
        take_plugins(["--plugins", "--seed", "3"])
