"""``docs/config.md`` lists every key of every kind of the config models; ``UPDATE_GOLDEN=1`` writes it."""

import os
from pathlib import Path

import pytest

from gconv_gan import parts
from gconv_gan.config.describe import describe, markdown
from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import Table
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.runs import GANRunConfig

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_of_all_keys_is_up_to_date() -> None:
    runs = {"A GAN's config": GANRunConfig, "A classifier's config": ClassifierRunConfig}
    page = markdown(runs, {name: found for name in parts.__all__ if isinstance(found := getattr(parts, name), Table)})
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page)
    assert PAGE.read_text() == page


def test_help_of_a_section_lists_every_kind_and_of_a_kind_its_keys() -> None:
    every, one = describe(GANRunConfig, "generator.conv"), describe(GANRunConfig, "generator.conv.gconv")
    assert [line for line in every.splitlines() if line.startswith("generator.conv.kind = ")] == [
        f"generator.conv.kind = {kind}" for kind in parts.CONVS
    ]
    assert one in every
    assert "--generator.conv.mode  dictionary, bank  [dictionary]\n      dictionary: gate filters" in one
    assert "section objective.penalty: kind {none,r1," in describe(GANRunConfig, "objective")
    assert "--trainer.total-images  whole number above 0  [required]" in describe(GANRunConfig, "trainer")
    assert "generator.biggan" not in describe(GANRunConfig, "generator.biggan")


def test_help_of_a_misspelt_section_names_the_near_one() -> None:
    with pytest.raises(UserError, match=r"--help generator\.cov: generator has no section or kind 'cov'; did you mean 'conv'\?"):
        describe(GANRunConfig, "generator.cov")
    with pytest.raises(UserError, match=r"generator\.conv has no section or kind 'gcnov'; did you mean 'gconv'\?"):
        describe(GANRunConfig, "generator.conv.gcnov")
