"""Ablations of small classifiers, each a published claim about a layer, method or setting, and the table of their stored results."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from gconv_gan.commands.ablate import ablate, write_result
from gconv_gan.commands.gallery import ABLATION_PAGE, ablation_page
from gconv_gan.config.ablations import CompareCommand
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import load_config, parse_command
from gconv_gan.config.plugins import take_plugins
from gconv_gan.experiments.arms import load_ablation
from gconv_gan.experiments.plot import plot
from gconv_gan.experiments.report import AblationResult, overview, table
from gconv_gan.gallery.page.own_files import require_own_page
from gconv_gan.runtime.files.atomic import write_bytes

COMPARISONS = Path("configs/compare")


def main(arguments: Sequence[str]) -> None:
    """Run the comparisons that the command line names; print their tables and write each as JSON, plot and page."""
    plugins, options = take_plugins(arguments)
    command = parse_command(CompareCommand, options)
    results = Path(command.results)
    if command.table:
        stored = stored_results(results, command.comparisons)
        print("\n\n".join(["\n".join(overview(stored)), *map(table, stored)]))
        for result in stored:
            write_bytes(results / f"layers_{result.name}.png", plot(result))
        return
    for path in _files(command):
        config = load_ablation(path, plugins)
        folder = Path(command.runs_dir) / config.name
        require_own_page(folder / ABLATION_PAGE)
        result = ablate(config, command, repeat=shlex.join(["python", "eval/compare_layers.py", *arguments]))
        print(table(result))
        results.mkdir(parents=True, exist_ok=True)
        write_result(result, results / f"layers_{result.name}.json")
        write_bytes(results / f"layers_{result.name}.png", plot(result))
        print(f"page: {ablation_page(folder, folder / ABLATION_PAGE)}")


def _files(command: CompareCommand) -> list[Path]:
    if not command.comparisons:
        return sorted(COMPARISONS.glob("*.toml"))
    return [Path(name) if name.endswith(".toml") else COMPARISONS / f"{name}.toml" for name in command.comparisons]


def stored_results(folder: Path, names: Sequence[str] = ()) -> list[AblationResult]:
    """Return the results in ``folder`` called ``names`` (none: all, in the order of their names).

    Raises:
        UserError: there is no such result, or it cannot be read.

    """
    paths = [folder / f"layers_{Path(name).stem if name.endswith('.toml') else name}.json" for name in names]
    paths = paths or sorted(folder.glob("layers_*.json"))
    for path in paths:
        if not path.is_file():
            raise UserError(f"{folder} holds no result {path.name}: run eval/compare_layers.py without --table first")
    if not paths:
        raise UserError(f"{folder} holds no results of comparisons (layers_NAME.json): run eval/compare_layers.py first")
    return [load_config(AblationResult, path) for path in paths]
