import pytest

from gconv_gan.gallery.page.theme import DARK, LIGHT, Theme


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_text_and_lines_are_readable(theme: Theme) -> None:
    for surface in (theme.page, theme.card):
        for colour in (theme.ink, theme.muted, theme.accent):
            assert contrast(colour, surface) >= 4.5, (colour, surface)
    for colour in theme.series:
        assert contrast(colour, theme.card) >= 3, colour
