"""The page on speed, docs/speed.md, written from the newest record of every device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn

from gconv_gan.commands.cost.communication import Links, StepTraffic, scaling
from gconv_gan.commands.cost.plain_formulation import sngan
from gconv_gan.commands.cost.record import D_STEP, FUSED_NORMS, PLAIN_FORMULATION, commits, floor_ms, newest
from gconv_gan.commands.train.networks import build_networks
from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command
from gconv_gan.layers import BatchNorm2d
from gconv_gan.runtime.files.atomic import write_text

Record = dict[str, Any]
Measure = Callable[[Record], float | None]
CPU = "cpu"
LARGE, SMALL = "width 256/128", "width 64/64"


class SpeedPageCommand(Config):
    """Write the page on speed from the newest record of every device."""

    records: str = "eval/speed/records"
    """Folder of the records."""
    out: str = "docs/speed.md"
    """The page."""
    gpus_per_node: PositiveInt = 8
    """GPUs that share the faster links."""
    node_gb_per_second: PositiveFloat = 300.0
    """Bandwidth in one direction between GPUs of a node in 10⁹ bytes per second."""
    network_gb_per_second: PositiveFloat = 25.0
    """Bandwidth in one direction between nodes in 10⁹ bytes per second."""
    node_microseconds: NonNegativeFloat = 5.0
    """Latency of a message within a node."""
    network_microseconds: NonNegativeFloat = 15.0
    """Latency of a message between nodes."""

    def links(self) -> Links:
        """Return the links that the scaling assumes."""
        return Links(
            self.gpus_per_node, self.node_gb_per_second, self.network_gb_per_second, self.node_microseconds, self.network_microseconds
        )


@dataclass(frozen=True)
class Target:
    """A bound of a measured number."""

    text: str
    measure: Measure
    bound: float
    at_least: bool
    obstacle: str
    """What stands in the way where it is not reached."""

    def row(self, record: Record) -> str:
        """Return the line of the table for one device."""
        sign = "≥" if self.at_least else "≤"
        value = self.measure(record)
        if value is None:
            return f"| {self.text} | {sign} {self.bound:g} | not measured on this device | |"
        reached = value >= self.bound if self.at_least else value <= self.bound
        if reached:
            return f"| {self.text} | {sign} {self.bound:g} | **{value:.3g}** | reached |"
        short = self.bound / value if self.at_least else value / self.bound
        return f"| {self.text} | {sign} {self.bound:g} | **{value:.3g}** | missed by a factor of {short:.2f}: {self.obstacle} |"


def ratio_of(name: str, *setting: str) -> Measure:
    """Return the function that finds the median ratio of a record by its name and parts of its setting."""

    def find(record: Record) -> float | None:
        for row in record.get("ratios", []):
            if row["name"] == name and all(part in row["setting"] for part in setting):
                return float(row["median"])
        return None

    return find


def case_of(record: Record, name: str, precision: str = "tf32", engine: str = "cuda_graph") -> Record | None:
    """Return a case of a record, or None."""
    wanted = (name, precision, engine)
    return next((row for row in record["cases"] if (row["case"], row["precision"], row["engine"]) == wanted), None)


def over(numerator: str, denominator: str, field: str = "milliseconds") -> Measure:
    """Return the function that divides a field of two captured TF32 cases."""

    def find(record: Record) -> float | None:
        above, below = case_of(record, numerator), case_of(record, denominator)
        return None if above is None or below is None else above[field] / below[field]

    return find


def share_of_peak(record: Record) -> float | None:
    """Return TFLOP/s of SNGAN's captured iteration over those of one large convolution, both in TF32, in percent."""
    case = case_of(record, "sngan plain")
    return None if case is None or "ceilings" not in record else 100 * case["tflops"] / record["ceilings"]["conv tf32 TFLOP/s"]


def milliseconds_of(name: str) -> Measure:
    """Return the function that finds the milliseconds of a captured TF32 case."""

    def find(record: Record) -> float | None:
        case = case_of(record, name)
        return None if case is None else float(case["milliseconds"])

    return find


SMALL_KERNELS = "most of the iteration is the start of small kernels and passes over memory, not convolutions"
NORMS = "what the kernels save is a small share of the iteration; a run measures both and takes the faster"
BANK_TIME = "one kernel per picture is mixed, written and read, and its convolution has as many groups as pictures"
BANK_MEMORY = "a bank of four has four times the kernels, gradients and moments, and one mixed kernel per picture"
GPU_TARGETS = (
    Target("plain formulation / ours, 256/128, n_dis 5, TF32", ratio_of(PLAIN_FORMULATION, LARGE, "tf32"), 12.0, True, SMALL_KERNELS),
    Target("plain formulation / ours, 256/128, n_dis 5, bf16", ratio_of(PLAIN_FORMULATION, LARGE, "bf16"), 16.0, True, SMALL_KERNELS),
    Target("torch's BatchNorm and rectifier / fused, 256/128, n_dis 5, TF32", ratio_of(FUSED_NORMS, LARGE, "tf32"), 1.05, True, NORMS),
    Target("torch's BatchNorm and rectifier / fused, 256/128, n_dis 5, bf16", ratio_of(FUSED_NORMS, LARGE, "bf16"), 1.05, True, NORMS),
    Target("percent of the measured convolution peak, 256/128, TF32", share_of_peak, 35.0, True, SMALL_KERNELS),
    Target("dictionary / plain, time, 256/128", over("sngan dictionary", "sngan plain"), 1.15, False, "its 1×1 is a second product"),
    Target(
        "dictionary / plain, peak memory, 256/128",
        over("sngan dictionary", "sngan plain", "peak_gib"),
        1.3,
        False,
        "each layer stores its filtered maps beside its input",
    ),
    Target("bank / plain, time, 256/128", over("sngan bank", "sngan plain"), 1.4, False, BANK_TIME),
    Target("bank / plain, peak memory, 256/128", over("sngan bank", "sngan plain", "peak_gib"), 1.6, False, BANK_MEMORY),
    Target(
        "ConvNorm in D / spectral norm, width 32",
        over("small ConvNorm", "small plain"),
        1.4,
        False,
        "spectra and filters are many small operations",
    ),
    Target(
        "R1 every 16th step / none, width 32",
        over("small R1 every 16", "small plain"),
        1.1,
        False,
        "the step with the penalty is called apart",
    ),
    Target("width 32, n_dis 1, milliseconds", milliseconds_of("small plain"), 4.0, False, SMALL_KERNELS),
)
SHARED = "the convolutions, which both compute, take most of the time"
DICTIONARY, BANK = "dictionary / plain", "bank / plain"
CPU_TARGETS = (
    Target("plain formulation / ours, 64/64", ratio_of(PLAIN_FORMULATION, SMALL), 1.8, True, SHARED),
    Target("plain formulation / ours, 256/128", ratio_of(PLAIN_FORMULATION, LARGE), 1.8, True, SHARED),
    Target("dictionary / plain, time, 64/64", ratio_of(DICTIONARY, SMALL), 1.1, False, "its 1×1 is a second product"),
    Target("dictionary / plain, time, 256/128", ratio_of(DICTIONARY, LARGE), 1.1, False, "its 1×1 is a second product"),
    Target("bank / plain, time, 64/64", ratio_of(BANK, SMALL), 1.35, False, "one kernel per picture uses the processor's caches less"),
    Target("bank / plain, time, 256/128", ratio_of(BANK, LARGE), 1.35, False, "one kernel per picture uses the processor's caches less"),
    Target(
        f"{D_STEP}, 64/64",
        ratio_of(D_STEP, SMALL),
        1.15,
        False,
        "a filter follows every convolution, forward and backward, and separates it from the average that it is fused with otherwise",
    ),
    Target("R1 every 16th step / none, 64/64", ratio_of("R1 every 16 / none", SMALL), 1.1, False, "the penalty needs second derivatives"),
    Target(
        "Inception of torch-fidelity / ours",
        ratio_of("Inception of torch-fidelity / ours"),
        2.0,
        True,
        SHARED,
    ),
    Target("ImageFolder and DataLoader / ours", ratio_of("ImageFolder and DataLoader / ours"), 10.0, True, "copies take the time"),
    Target(
        "Fréchet distance of torch-fidelity / ours, 2048 features, root of the reference stored",
        ratio_of("Fréchet distance of torch-fidelity / ours", "root stored"),
        2.5,
        True,
        "both spend their time in LAPACK's eigensolvers",
    ),
    Target(
        "Fréchet distance of torch-fidelity / ours, 2048 features, from moments alone",
        ratio_of("Fréchet distance of torch-fidelity / ours", "moments alone"),
        2.5,
        True,
        "the eigenvalues of a symmetric matrix take most of the time",
    ),
)


def main(arguments: Sequence[str]) -> None:
    """Write the page."""
    command = parse_command(SpeedPageCommand, arguments)
    write_text(Path(command.out), page(newest(Path(command.records)), command.links()))
    print(command.out)


def page(records: dict[str, Record], links: Links) -> str:
    """Return the page as Markdown.

    Raises:
        UserError: there is no record.

    """
    if not records:
        raise UserError("there is no record of speed; python eval/speed/bench.py and python eval/speed/gpu_check.py write them")
    lines = [
        "# Speed",
        "",
        "This page is written by `python eval/speed/report.py` from the newest record of every device in `eval/speed/records`; "
        "`make bench` measures a CPU anew and `python eval/speed/gpu_check.py` a GPU. No number on it is typed.",
        "",
        "A ratio is the median over pairs of neighbouring calls in one process. On a CPU the time is processor time on one thread, "
        "on a GPU elapsed time. The floor is the larger of the MACs over the speed of one large convolution and the bytes of all "
        "operations over the speed of a copy, both measured on the device; bytes are those of the operations one by one, so fused "
        "operations can be faster than it.",
    ]
    for name, record in sorted(records.items()):
        lines += device(name, record)
    lines += communication(records, links)
    return "\n".join(lines) + "\n"


def device(name: str, record: Record) -> list[str]:
    """Return the section on one device."""
    named = name if name != CPU else f"CPU: {record.get('processor', name)}"
    lines = ["", f"## {named}", ""]
    at = commits(record)
    lines += [
        f"{record['date']}, commit{'s' * (len(at) > 1)} {', '.join(f'`{one[:10]}`' for one in at)}, torch {record['versions']['torch']}."
    ]
    if "ceilings" in record:
        limits = ", ".join(f"{what.rsplit(' ', 1)[0]} {value:.3g} {what.rsplit(' ', 1)[1]}" for what, value in record["ceilings"].items())
        lines += ["", f"Measured limits: {limits}."]
    lines += ["", "### Targets", "", "| target | bound | measured | |", "|---|---|---|---|"]
    lines += [target.row(record) for target in (CPU_TARGETS if name == CPU else GPU_TARGETS)]
    for section in (_ratios, _cases, _laws, _predictions):
        lines += section(record)
    return lines


def _ratios(record: Record) -> list[str]:
    rows = record.get("ratios", [])
    if not rows:
        return []
    lines = ["", "### Ratios", "", "| what | setting | median | quartiles | pairs | memory | ms below the line | floor, ms |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for row in rows:
        low, high = row["quartiles"]
        memory, floor = ("" if row[key] is None else format(row[key], ".3g") for key in ("memory", "floor_ms"))
        lines.append(
            f"| {row['name']} | {row['setting']} | {row['median']:.2f} | {low:.2f} to {high:.2f} | {row['pairs']} | {memory} "
            f"| {row['milliseconds']:.4g} | {floor} |"
        )
    return [*lines, "", "The floor is that of the program on the line for variants of layers, and of ours for the plain formulation."]


def _cases(record: Record) -> list[str]:
    if not record["cases"]:
        return []
    lines = ["", "### Iterations", "", "| run | precision | engine | ms | quartiles | TFLOP/s | floor by MACs, ms | peak GiB |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    limits = record.get("ceilings")
    for row in record["cases"]:
        low, high = row["quartiles"]
        floor = "" if limits is None else format(floor_ms(limits, macs=row["macs"], precision=row["precision"]), ".3g")
        lines.append(
            f"| {row['case']} | {row['precision']} | {row['engine']} | {row['milliseconds']:.4g} | {low:.4g} to {high:.4g} "
            f"| {row['tflops']:.3g} | {floor} | {row['peak_gib']:.2f} |"
        )
    return lines


def _laws(record: Record) -> list[str]:
    rows = record.get("laws", [])
    if not rows:
        return []
    lines = ["", "### Cost laws", ""]
    lines += [
        "Exponents of the least-squares fit of a power of each axis, of an iteration's time, of its peak of tensors, and of its MACs."
    ]
    lines += ["", "| axis | values | time | memory | MACs | milliseconds | MiB | |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        values, times, sizes = (
            ", ".join(format(scale * point[key], ".4g") for point in row["points"])
            for key, scale in (("value", 1), ("milliseconds", 1), ("bytes", 2**-20))
        )
        exponents = " | ".join(f"{row[f'{what}_exponent']:.2f}" for what in ("time", "memory", "macs"))
        lines.append(f"| {row['axis']} | {values} | {exponents} | {times} | {sizes} | {row['setting']} |")
    return [
        *lines,
        "",
        "A dry run uses the law along the batch alone, on the run's own networks: it times growing batches up to its own for a few "
        "seconds, scales the time in proportion where it must stop early, and follows the line of the two largest batches for the memory.",
    ]


def _predictions(record: Record) -> list[str]:
    rows = record.get("predictions", [])
    if not rows:
        return []
    lines = ["", "### What dry runs predict, and what runs then take", ""]
    lines += ["| run | ms predicted | ms measured | measured / predicted | GiB predicted | GiB measured | measured / predicted |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in rows:
        time, memory = (row[f"measured_{unit}"] / row[f"predicted_{unit}"] for unit in ("ms", "gib"))
        lines.append(
            f"| {row['name']} | {row['predicted_ms']:.4g} | {row['measured_ms']:.4g} | {time:.2f} "
            f"| {row['predicted_gib']:.2f} | {row['measured_gib']:.2f} | {memory:.2f} |"
        )
    return [
        *lines,
        "",
        "Elapsed time, in processes one after the other: other load on the machine changes it. Memory is that of the whole process.",
    ]


def traffic(n_dis: int) -> StepTraffic:
    """Return what an iteration of SNGAN at 256/128 sends."""
    config = sngan(256, 128, batch_size=64, n_dis=n_dis, conditional=False, precision="tf32")
    networks = build_networks(config, None)
    generator, discriminator = (sum(4 * p.numel() for p in network.parameters()) for network in networks)
    kinds = (nn.BatchNorm2d, BatchNorm2d)
    channels = [module.num_features for module in networks[0].modules() if isinstance(module, kinds)]
    return StepTraffic(generator, discriminator, n_dis=n_dis, norm_channels=channels)


def communication(records: dict[str, Record], links: Links) -> list[str]:
    """Return the section on several GPUs."""
    sent = traffic(5)
    lines = ["", "## Several GPUs, from formulas", ""]
    lines += [
        f"An iteration of SNGAN at 256/128 with n_dis {sent.n_dis} reduces {sent.gradient_bytes / 1e6:.1f} MB of gradients "
        f"({sent.generator_bytes / 1e6:.1f} MB of the generator, {sent.discriminator_bytes / 1e6:.1f} MB of the discriminator per step) "
        f"and the statistics of {len(sent.norm_channels)} BatchNorms per pass of the generator. Nothing here was measured on several GPUs: "
        "an all-reduce takes the shorter time of a ring (2(n − 1)/n of the bytes, 2(n − 1) messages) and a tree (twice the bytes, 2 log₂ n "
        f"messages), without overlap with computation, over links of "
        f"{links.node_gb_per_second:g} GB/s and {links.node_microseconds:g} µs per message among {links.gpus_per_node} GPUs of a node, and "
        f"{links.network_gb_per_second:g} GB/s and {links.network_microseconds:g} µs between nodes. The assumptions are options of "
        "`python eval/speed/report.py`."
    ]
    for name, record in sorted(records.items()):
        case = case_of(record, "sngan plain")
        if case is None:
            continue
        lines += ["", f"From {case['milliseconds']:.4g} ms on one {name} (captured, TF32):", ""]
        lines += ["| GPUs | communication, ms | efficiency at 64 images per GPU | speed-up at 64 images in all |", "|---|---|---|---|"]
        lines += [
            f"| {row.gpus} | {row.communication_ms:.3g} | {100 * row.weak_efficiency:.0f} % | {row.strong_speedup:.2f} |"
            for row in scaling(case["milliseconds"], sent, links)
        ]
    return [
        *lines,
        "",
        "The last column is an upper bound: it divides the computation evenly, while an iteration of small kernels does not get faster "
        "with fewer images.",
    ]
