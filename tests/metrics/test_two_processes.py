"""Two gloo processes score the same images as one and print the same numbers."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from gconv_gan.metrics.evaluate import score
from gconv_gan.metrics.images.extraction import ALONE, Processes
from gconv_gan.metrics.images.sources import ArrayImages, FakeSource
from gconv_gan.metrics.protocols import adjusted, protocol
from gconv_gan.metrics.references.reference_statistics import reference_statistics
from gconv_gan.metrics.score_card import FakesCard, Score, unlike_fields
from tests.processes import run_two
from tests.reference.stub_extractor import StubExtractor
from tests.reference.tiny_generator import TinyGenerator

REALS = torch.randint(0, 256, (300, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def a_score(processes: Processes, cache: Path) -> Score:
    """1,000 fakes: four blocks of 256, the last not whole, so the two processes have unequal work in the last round."""
    network, how = StubExtractor(), adjusted(protocol("torch_fidelity"), kid_subset_size=100, kid_subsets=5)
    reals = ArrayImages(REALS.numpy(), fingerprint="reals")
    reference = reference_statistics(
        reals, network, source="reals", split=None, recipe="r", with_features=True, cache_dir=cache, processes=processes
    )
    fakes = FakeSource(TinyGenerator(num_classes=3), count=1000, seed=4)
    return score(fakes, reference, network, how, fakes=FakesCard(source="tiny"), processes=processes, batch_size=48)


def one_of_two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)

    def gather(tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(2)]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    found = a_score(Processes(rank, 2, gather), Path(folder) / "cache")
    (Path(folder) / f"{rank}.json").write_text(found.to_json())
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    run_two(one_of_two, str(tmp_path))
    alone = a_score(ALONE, tmp_path / "other")
    for rank in range(2):
        found = Score.model_validate_json((tmp_path / f"{rank}.json").read_text())
        assert found.scores == alone.scores
        assert found.card.fakes.images_sha256 == alone.card.fakes.images_sha256
        assert found.card.run.processes == 2
        assert unlike_fields(found.card, alone.card) == []
