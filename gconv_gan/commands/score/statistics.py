"""Statistics of real images: computed once, stored in the cache, exchanged with other tools."""

from collections.abc import Sequence
from pathlib import Path

from gconv_gan.commands.score.references import STATISTICS, open_reference, reference_of
from gconv_gan.config.load import parse_command
from gconv_gan.config.sections.scores import StatisticsCommand
from gconv_gan.metrics.extractors.factory import build_extractors
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.protocols import adjusted, protocol
from gconv_gan.metrics.references.interchange import export_statistics, import_statistics
from gconv_gan.metrics.references.reference_statistics import ReferenceStatistics
from gconv_gan.runtime.device import process_state


def main(arguments: Sequence[str]) -> None:
    """Compute or read the statistics that the command line names, print their description, and export them with ``--export``."""
    command = parse_command(StatisticsCommand, arguments)
    state = process_state()
    weights = Path(command.weights) if command.weights else None
    network = build_extractors([command.extractor], weights=weights, download=command.download, device=state.device)[command.extractor]
    statistics = statistics_of(command, network)
    if not state.is_main_process:
        return
    card, count = statistics.reference, statistics.moments.count
    print(f"{card.source}: {'unknown number of' if count is None else format(count, ',')} images, features of {network.name}")
    print(f"  fingerprint {card.fingerprint}, split {card.split}, {card.recipe}")
    print(f"  cached below {Path(command.cache_dir) / STATISTICS}")
    if command.export is not None:
        for file in export_statistics(command.export, Path(command.out), command.name, statistics, network):
            print(f"  written to {file}")


def statistics_of(command: StatisticsCommand, network: Extractor) -> ReferenceStatistics:
    """Return the statistics of ``command.reference``, with features if these are available.

    Raises:
        UserError: the reference is absent or does not fit.

    """
    flags = {"path": command.reference, "split": "--split", "size": "--size", "cache_dir": "--cache-dir"}
    cache_dir = Path(command.cache_dir)
    opened = open_reference(
        command.reference,
        split=command.split,
        trained_on=None,
        size=command.size,
        files_size=command.size,
        cache_dir=cache_dir,
        flags=flags,
    )
    if isinstance(opened, Path):
        return import_statistics(opened, network, count=command.num_real)
    if isinstance(opened, ReferenceStatistics):
        return opened
    every = adjusted(protocol("images"), num_real=command.num_real)
    return reference_of(opened, every, network, seed=command.seed, cache_dir=cache_dir, with_features=True, batch_size=command.batch_size)
