"""Every rule of the doctor on numbers whose finding is known, and without its numbers."""

import math
import re
from typing import Any

import pytest
import torch

from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.diagnosis import measure
from gconv_gan.diagnosis.diagnose import Watch, diagnose
from gconv_gan.diagnosis.evidence import Evidence, LayerGates, Logits, Measured, Spectrum
from gconv_gan.diagnosis.finding import Finding
from gconv_gan.diagnosis.rules.average import SCORE_BOTH
from gconv_gan.diagnosis.tables import RULES
from gconv_gan.gallery.latents import random_sheet
from gconv_gan.gallery.pictures.gates import gate_statistics
from tests.training.tiny import tiny

EMPTY: list[dict[str, float]] = []


def config(**changes: Any) -> GANRunConfig:
    from pathlib import Path

    return tiny(Path("nowhere"), **{"ema": {"half_life_images": 50, "ramp": None}, **changes})


def lines(count: int = 20, **numbers: float) -> list[dict[str, float]]:
    """A log of equal lines over the whole run."""
    return [{"images": 480 * (line + 1) / count, **numbers} for line in range(count)]


def found(rule: str, records: list[dict[str, float]] = EMPTY, measured: Measured | None = None, **changes: Any) -> Finding:
    every = diagnose(Evidence(config(**changes), records, 480, measured))
    (one,) = [finding for finding in every if finding.rule == rule]
    return one


def test_names_are_unique_and_a_row_says_what_to_do() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(rule.advice and rule.source and rule.measures for rule in RULES)


def test_a_rule_without_its_numbers_is_not_measured_and_never_fine() -> None:
    findings = diagnose(
        Evidence(config(objective={"loss": "hinge", "penalty": {"kind": "r1"}}, discriminator={"norm": {"kind": "none"}}), [], 480)
    )
    of_the_config = {"penalty_large", "penalty_small", "short_run"}
    assert {finding.rule for finding in findings if finding.severity == "fine"} <= of_the_config
    assert all(finding.value is None and finding.sentence for finding in findings if finding.rule not in of_the_config)
    measured = diagnose(Evidence(config(), [], 480, Measured(absent={"logits": "no data here"})))
    assert {finding.sentence for finding in measured if finding.rule in ("separation", "overfitting")} == {"no data here"}


# ---- the discriminator ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("real", "fake", "severity"), [(0.99, 0.97, "act"), (0.99, 0.9, "fine"), (0.7, 0.75, "fine")])
def test_a_discriminator_that_is_right_on_both_kinds_is_too_strong(real: float, fake: float, severity: str) -> None:
    assert found("discriminator_accuracy", lines(accuracy_real=real, accuracy_fake=fake)).severity == severity


def test_one_strong_window_alone_is_no_finding() -> None:
    log = lines(accuracy_real=0.7, accuracy_fake=0.7)
    log[-1] |= {"accuracy_real": 1.0, "accuracy_fake": 1.0}
    assert found("discriminator_accuracy", log).severity == "fine"
    log[-2] |= {"accuracy_real": 1.0, "accuracy_fake": 1.0}
    assert found("discriminator_accuracy", log).severity == "act"


def test_the_loss_of_a_critic_may_be_anything() -> None:
    assert found("discriminator_loss", lines(loss_d=0.05)).severity == "act"
    rules = {finding.rule for finding in diagnose(Evidence(config(objective={"loss": "wasserstein"}), lines(loss_d=-9.0), 480))}
    assert not rules & {"discriminator_loss", "discriminator_accuracy", "separation", "training_signs"}


def logits(real: float, fake: float, held_out: float | None, spread: float = 1.0, count: int = 2000) -> Measured:
    noise = torch.linspace(-1, 1, count) * math.sqrt(3) * spread
    return Measured(logits=Logits(real + noise, fake + noise, None if held_out is None else held_out + noise))


def test_separation_is_the_sensitivity_index() -> None:
    far = found("separation", measured=logits(5.0, -5.0, None))
    assert far.value == pytest.approx(10, rel=1e-3)
    assert far.severity == "act"
    assert found("separation", measured=logits(1.0, -1.0, None)).severity == "fine"


def test_overfitting_is_0_where_held_out_images_count_as_real_and_1_where_they_count_as_generated() -> None:
    assert found("overfitting", measured=logits(1.0, -1.0, 1.0)).value == pytest.approx(0, abs=1e-6)
    whole = found("overfitting", measured=logits(1.0, -1.0, -1.0))
    assert whole.value == pytest.approx(1)
    assert whole.severity == "watch"
    for shift, scale in ((7.0, 1.0), (0.0, 3.0)):  # only differences of logits count, so every loss has it
        moved = logits(scale * 1.0 + shift, -scale + shift, scale * 0.2 + shift, spread=scale)
        assert found("overfitting", measured=moved).value == pytest.approx(0.4, abs=1e-5)


def test_overfitting_asks_for_action_when_the_distance_rises_too() -> None:
    rising = [{"images": 24.0 * k, "fd2k_lite0/fd": value} for k, value in enumerate((9.0, 5.0, 6.0, 7.0, 8.0), 1)]
    assert found("overfitting", rising, logits(1.0, -1.0, -1.0)).severity == "act"
    assert found("overfitting", rising[:3], logits(1.0, -1.0, -1.0)).severity == "watch"


def test_overfitting_is_undefined_where_nothing_is_told_apart_or_held_out() -> None:
    assert found("overfitting", measured=logits(0.01, -0.01, 0.0)).severity == "not measured"
    assert found("overfitting", measured=logits(1.0, -1.0, None)).sentence == "no images are held out of training"


def test_augmentation_moves_the_threshold_of_the_signs() -> None:
    log = lines(sign_real=0.85, augment_p=0.9)
    assert found("training_signs", log).severity == "watch"
    augmented = {"augment": {"kind": "ada"}}
    assert found("training_signs", log, **augmented).severity == "fine"
    assert found("augmentation", log, **augmented).severity == "watch"


@pytest.mark.parametrize(("late", "severity"), [(1e-4, "act"), (0.5, "fine")])
def test_a_generator_whose_gradient_vanishes(late: float, severity: str) -> None:
    log = lines(grad_norm_g=1.0)
    for line in log[-2:]:
        line["grad_norm_g"] = late
    assert found("generator_without_gradient", log).severity == severity


def test_a_discriminator_that_never_learned_is_not_one_whose_training_stopped() -> None:
    chance = lines(accuracy_real=0.5, accuracy_fake=0.52, grad_norm_g=1.0)
    assert found("discriminator_learns_nothing", chance).severity == "watch"
    early = [{**line, "accuracy_real": 0.9} if line["images"] < 100 else line for line in chance]
    assert found("discriminator_learns_nothing", early).severity == "fine"
    stopped = [{**line, "grad_norm_g": 0.0} if line["images"] > 400 else line for line in chance]
    assert found("discriminator_learns_nothing", stopped).severity == "fine"


def test_during_training_overfitting_is_read_from_the_log_of_a_run_with_held_out_images() -> None:
    log = lines(overfitting=0.6, loss_d=1.0)
    held_out = {"trainer": {"held_out": 0.1}}
    assert found("overfitting", log, **held_out).severity == "watch"
    log[-1]["overfitting"] = 0.4  # one window alone is no finding
    assert found("overfitting", log, **held_out).severity == "fine"
    assert found("overfitting", log[:1], **held_out).severity == "not measured"
    assert found("overfitting", log).sentence == "the training images were not read"  # without the share nothing is held out
    watch = Watch(config(**held_out))
    assert [finding.rule for finding in watch.begun(lines(overfitting=0.6, loss_d=1.0))] == ["overfitting"]


# ---- collapse -------------------------------------------------------------------------------------------------------


def pictures(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_a_constant_generator_has_collapsed() -> None:
    one = pictures(1, 0).repeat(600, 1, 1, 1)
    measured = Measured(deviation=measure.deviation(one), diversity=measure.distances(one, pictures(600, 1)))
    assert found("collapse", measured=measured).severity == "act"
    assert found("collapse", measured=measured).value == 0
    assert found("diversity", measured=measured).severity == "watch"


def test_a_tenth_of_copies_is_seen_by_duplicates_and_not_by_distance() -> None:
    fake, real = pictures(1000, 0), pictures(1000, 1)
    fake[:100] = fake[100:200]
    copied = Measured(diversity=measure.distances(fake, real))
    assert found("near_duplicates", measured=copied).value == pytest.approx(0.2, abs=0.02)
    assert found("diversity", measured=copied).value == pytest.approx(1, abs=0.05)
    alike = Measured(diversity=measure.distances(pictures(1000, 2), real))
    assert found("near_duplicates", measured=alike).severity == "fine"
    few = Measured(diversity=measure.distances(fake[:100], real))
    assert found("near_duplicates", measured=few).severity == "not measured"


def test_a_class_that_shows_one_picture_is_named_with_the_next_worst() -> None:
    labels, names = torch.arange(400) % 4, ("cat", "dog", "owl", "yak")
    fake, real = pictures(400, 0), pictures(400, 1)
    shrunk = torch.tensor([1.0, 0.4, 0.05, 1.0])[labels].view(-1, 1, 1, 1)  # deviations from grey, by class
    fake = (128 + (fake.float() - 128) * shrunk).round().to(torch.uint8)
    by_class = measure.distances_by_class(measure.Pictures(fake, labels), measure.Pictures(real, labels), names)
    measured = Measured(diversity=measure.distances(fake, real), diversity_by_class=by_class)
    worst = found("diversity_within_classes", measured=measured, conditional=True)
    assert worst.severity == "watch"
    assert re.fullmatch(r"class owl, then dog \(0\.[34]\d?\)", worst.where)
    assert worst.value == pytest.approx(0.05, abs=0.02)
    alike = measure.distances_by_class(
        measure.Pictures(pictures(400, 2), labels), measure.Pictures(real, labels), ("cat", "dog", "owl", "yak")
    )
    fine = Measured(diversity=measure.distances(fake, real), diversity_by_class=alike)
    assert found("diversity_within_classes", measured=fine, conditional=True).severity == "fine"
    few = measure.distances_by_class(
        measure.Pictures(fake[:100], labels[:100]), measure.Pictures(real, labels), ("cat", "dog", "owl", "yak")
    )
    small = Measured(diversity=measure.distances(fake, real), diversity_by_class=few)
    assert "no class has 50 images" in found("diversity_within_classes", measured=small, conditional=True).sentence
    assert "diversity_within_classes" not in {finding.rule for finding in diagnose(Evidence(config(conditional=False), [], 480, small))}


@pytest.mark.parametrize(
    ("late", "severity"), [((5.0, 4.0, 3.0), "fine"), ((6.1, 5.98, 6.2), "watch"), ((7.0, 9.0, 8.0), "watch"), ((4.0, 3.0), "not measured")]
)
def test_a_run_has_converged_where_its_best_distance_no_longer_falls(late: tuple[float, ...], severity: str) -> None:
    early = [{"images": 60.0 * (k + 1), "p/fd": value} for k, value in enumerate((20.0, 10.0, 8.0, 6.0))]
    log = early + [{"images": 400.0 + 20 * k, "p/fd": value} for k, value in enumerate(late)]
    assert found("converged", log).severity == severity


def test_recall_that_falls_and_distances_that_jump() -> None:
    log = [{"images": 1.0, "p/recall": 0.4, "p/fd": 10.0}, {"images": 2.0, "p/recall": 0.1, "p/fd": 20.0}]
    assert found("recall_fall", log).value == pytest.approx(0.25)
    assert found("score_jumps", log).severity == "fine"
    jumping = [{"images": float(k), "p/fd": 20.0 if k % 2 else 10.0} for k in range(10)]
    assert found("score_jumps", jumping).severity == "watch"
    assert found("recall", [{"images": 1.0, "p/recall": 0.01, "p/precision": 0.8}]).severity == "watch"
    assert found("recall", [{"images": 1.0, "p/recall": 0.01, "p/precision": 0.1}]).severity == "fine"


# ---- penalties, weights, gates, average -----------------------------------------------------------------------------


@pytest.mark.parametrize(("gamma", "large", "small"), [(8e-4, "fine", "fine"), (0.1, "watch", "fine"), (1e-6, "fine", "watch")])
def test_the_weight_of_a_penalty_is_compared_with_that_of_its_size(gamma: float, large: str, small: str) -> None:
    changes = {"objective": {"penalty": {"kind": "r1", "gamma": gamma}}, "discriminator": {"norm": {"kind": "none"}}}  # usual: 8e-4
    assert found("penalty_large", **changes).severity == large
    assert found("penalty_small", **changes).severity == small


@pytest.mark.parametrize(("penalty", "rules", "idle"), [(2.0, "watch", "fine"), (0.1, "fine", "fine"), (1e-4, "fine", "watch")])
def test_the_share_of_a_penalty(penalty: float, rules: str, idle: str) -> None:
    changes = {"objective": {"penalty": {"kind": "r1"}}}
    log = lines(loss_d=1.0, penalty=penalty)
    assert found("penalty_rules", log, **changes).severity == rules
    assert found("penalty_idle", log, **changes).severity == idle


def test_the_slope_of_a_critic_is_read_from_its_penalty() -> None:
    changes = {"objective": {"loss": "wasserstein", "penalty": {"kind": "wgan_gp", "weight": 10.0}}}
    steep = found("slope", lines(penalty=10 * 0.7**2), **changes)
    assert steep.value == pytest.approx(0.7)
    assert steep.severity == "watch"
    assert found("slope", lines(penalty=10 * 0.1**2), **changes).severity == "fine"


def spectrum(layer: str, *, normalised: bool = False, largest: float = 1.0, small: float = 0.0, initial: float | None = 1.0) -> Measured:
    return Measured(spectra=(Spectrum("generator.a", False, 1.0, 0.0, 1.0), Spectrum(layer, normalised, largest, small, initial)))


def test_spectra() -> None:
    measured = spectrum("discriminator.b", normalised=True, largest=1.1)
    assert "fewer than 200 discriminator steps" in found("spectral_norm", measured=measured).sentence
    lagging = found("spectral_norm", measured=measured, trainer={"batch_size": 2})
    assert (lagging.severity, lagging.where) == ("watch", "discriminator.b")
    grown = found("spectral_growth", measured=spectrum("generator.b", largest=12.0))
    assert (grown.severity, grown.where, grown.value) == ("watch", "generator.b", 12.0)
    assert found("spectral_collapse", measured=spectrum("discriminator.b", small=0.95)).severity == "watch"
    assert found("spectral_collapse", measured=spectrum("discriminator.b", small=0.5)).severity == "fine"


def test_running_variances() -> None:
    dead = Measured(variances={"a": torch.ones(4), "b": torch.tensor([1.0, 0.0])})
    assert (found("running_variance", measured=dead).severity, found("running_variance", measured=dead).where) == ("watch", "b")
    exploded = Measured(variances={"a": torch.tensor([1.0, 1.0, 1e5])})
    assert found("running_variance_spread", measured=exploded).severity == "watch"
    broken = Measured(variances={"a": torch.tensor([1.0, float("nan")])})
    assert found("running_variance", measured=broken).severity == "watch"


def gates_of(values: torch.Tensor, similarity: float = 0.1) -> Measured:
    numbers = gate_statistics(values)
    mean = values.mean(0)
    ends = float(((values < 0.01) | (values > 0.99)).double().mean())
    layer = LayerGates("blocks.0", "sigmoid", numbers.kernels, numbers.entropy, numbers.balance, numbers.variance, ends,
                       float(mean.min() / mean.max()), similarity)  # fmt: skip
    return Measured(gates=(layer,))


def test_gates() -> None:
    constant = torch.eye(4)[torch.zeros(1000, dtype=torch.long)]
    assert found("gates_saturated", measured=gates_of(constant)).severity == "watch"
    assert found("gates_ignore_latent", measured=gates_of(constant)).severity == "watch"
    assert found("dead_kernels", measured=gates_of(constant)).severity == "watch"
    random = torch.eye(4)[torch.arange(1000) % 4]
    (layer,) = gates_of(random).gates
    assert layer.balance - layer.entropy == pytest.approx(1, abs=1e-3)
    assert found("gates_ignore_latent", measured=gates_of(random)).severity == "fine"
    assert found("dead_kernels", measured=gates_of(random)).severity == "fine"
    usual = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    assert all(
        found(rule, measured=gates_of(usual)).severity == "fine" for rule in ("gates_ignore_latent", "gates_saturated", "dead_kernels")
    )
    assert found("kernel_copies", measured=gates_of(usual, similarity=0.99)).severity == "watch"


def test_gates_of_a_network_are_measured_and_open_ones_left_out() -> None:
    from gconv_gan.models.factory import build_generator

    for selection, expected in (("sigmoid", 7), ("open", 0)):
        made = build_generator(
            config(generator={"conv": {"kind": "gconv", "selection": selection}}).generator, image_size=8, num_classes=10
        )
        layers = list(measure.gates(made, random_sheet(0, "t", count=200, latent_dim=6, num_classes=10)))
        assert bool(layers) == bool(expected)
        assert all(0 < layer.entropy <= 1 and layer.variance > 1e-4 for layer in layers)


@pytest.mark.parametrize(("half_life", "ramp", "severity"), [(240, None, "watch"), (96, None, "fine"), (240, 0.05, "fine")])
def test_an_average_longer_than_the_run(half_life: int, ramp: float | None, severity: str) -> None:
    assert found("short_run", ema={"half_life_images": half_life, "ramp": ramp}).severity == severity


@pytest.mark.parametrize(("averaged", "severity"), [(12.0, "watch"), (9.0, "fine")])
def test_an_average_whose_distance_is_above_that_of_the_last_weights(averaged: float, severity: str) -> None:
    log = [{"images": 240.0, "p/fd": 30.0, "p/fd_raw": 10.0}, {"images": 480.0, "p/fd": averaged}, {"images": 480.0, "p/fd_raw": 10.0}]
    lags = found("average_lags", log)
    assert (lags.severity, lags.value) == (severity, pytest.approx(averaged / 10))
    assert SCORE_BOTH in found("average_lags", log[1:2]).sentence
    assert found("score_jumps", log).value == 0  # scores of the last weights are not in the series of the averaged ones


# ---- during training ------------------------------------------------------------------------------------------------


def test_a_watch_says_each_beginning_once_and_again_after_an_end() -> None:
    strong, weak = {"accuracy_real": 1.0, "accuracy_fake": 1.0, "loss_d": 1.0}, {"accuracy_real": 0.7, "accuracy_fake": 0.7, "loss_d": 1.0}
    log = [{"images": 24.0 * (k + 1), **(weak if 5 <= k < 8 else strong)} for k in range(12)]
    watch, said = Watch(config()), []
    for end in range(1, len(log) + 1):
        said.append([finding.rule for finding in watch.begun(log[:end])])
    assert [number for number, rules in enumerate(said) if rules == ["discriminator_accuracy"]] == [1, 9]
    assert sum(map(len, said)) == 2
    resumed = Watch(config())
    resumed.resume([*log[:4], {"images": log[3]["images"], "p/fd": 1.0}])
    assert resumed.begun(log[:5]) == []


def test_signs_early_in_a_run_are_those_of_a_generator_that_is_easy_to_recognise() -> None:
    log = lines(sign_real=0.95, accuracy_real=0.98, accuracy_fake=0.8)
    early = {finding.rule: finding for finding in diagnose(Evidence(config(), log[:3], 72))}
    assert early["training_signs"].severity == "not measured"
    assert found("training_signs", log).severity == "watch"
