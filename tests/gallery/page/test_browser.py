"""Comparison, index and ablation in a browser: they fit phones and desktops, light and dark, and answer to keys and the pointer."""

from pathlib import Path

import pytest

from gconv_gan.gallery.page.ablation_page import build_ablation
from gconv_gan.gallery.page.comparison_page import build_comparison, compared
from gconv_gan.gallery.page.index import write_index
from gconv_gan.gallery.page.theme import DARK, LIGHT, Theme
from gconv_gan.gallery.trained_generator import TrainedGenerator
from tests.browser import Browser
from tests.gallery.conftest import LOW
from tests.gallery.page.test_ablation_page import COMMAND, result
from tests.gallery.page.test_comparison_page import changed, renamed, score
from tests.gallery.page.test_index import folder_of_pages

LONG = "a_name_as_long_as_those_of_real_experiments_with_everything_in_it-s0"
FITS = """(()=>{
  const shown=[...document.querySelectorAll("body *:not(.wide *):not(pre *):not(.rows *):not(.skip)")];
  return {page:document.documentElement.scrollWidth,
    wide:shown.filter(e=>e.getBoundingClientRect().right>innerWidth+.5).map(e=>e.outerHTML.slice(0,200)),
    pictures:[...document.images].every(i=>i.loading==="lazy"||i.naturalWidth>0),
    background:getComputedStyle(document.body).backgroundColor.replaceAll(" ","")}})()"""


@pytest.fixture(scope="module")
def comparison(trained: TrainedGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three runs."""
    runs = [
        renamed(
            trained,
            name,
            details={"Width": str(index), "Command": "train_gan.py " + "--a.long.flag value " * 9},
            scores=(
                changed(
                    score(1.5 + index, images_seen=12_000_000),
                    numbers={"fd": 1.5 + index, "kid_mean": 0.123456, "kid_std": 0.0123},
                    reference={"source": "reals"},
                ),
            ),
        )
        for index, name in enumerate(("short", LONG, "third"))
    ]
    pictures = {kind: compared(2)[kind] for kind in ("unconditional", "classes", "spectrum")}
    return build_comparison(tmp_path_factory.mktemp("comparison"), runs, pictures=pictures)


@pytest.fixture(scope="module")
def index(gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_index(folder_of_pages(gallery, tmp_path_factory.mktemp("index")), lower_is_better=LOW)


@pytest.fixture(scope="module")
def ablation(trained: TrainedGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of five arms, more than there are colours."""
    arms = ("plain", "gconv", "self_modulation", "bank", "open")
    folder = tmp_path_factory.mktemp("ablation")
    return build_ablation(folder, result(*arms), dict.fromkeys(arms, trained), command=COMMAND * 3, lower_is_better=LOW)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", ["comparison", "index", "ablation"])
def test_a_page_fits(browser: Browser, request: pytest.FixtureRequest, page: str, width: int, theme: Theme) -> None:
    browser.open(request.getfixturevalue(page), width=width, scheme=theme.name)
    found = browser.run(FITS)
    assert found["wide"] == []
    assert found["page"] <= width
    assert found["pictures"]
    assert found["background"] == "rgb({},{},{})".format(*bytes.fromhex(theme.page[1:]))


def test_on_a_phone_pictures_come_before_tables(browser: Browser, comparison: Path) -> None:
    browser.open(comparison, width=390)
    tops = browser.run('["img","table"].map(e=>document.querySelector(e).getBoundingClientRect().top)')
    assert tops[0] < min(900, tops[1])


def test_the_pointer_and_the_arrow_keys_show_the_values_of_all_runs(browser: Browser, comparison: Path) -> None:
    browser.open(comparison, width=1280)
    plot = "section#curves figure:nth-child(2) svg"  # the losses, which have a point at each of 12 records
    shown = f"[...document.querySelectorAll({plot!r}+' .word,'+{plot!r}+' .axis')].map(e=>e.textContent)"
    rest = browser.run(shown)
    x, y = browser.centre(plot)
    browser.move(x, y)
    under = browser.run(shown)
    assert [words.rpartition(" ")[0] for words in under[1:]] == [words.rpartition(" ")[0] for words in rest[1:]]
    assert under[0].startswith("images seen: ")
    images = float(under[0].split()[2].removesuffix("k")) * (1000 if "k" in under[0] else 1)
    assert [float(words.rpartition(" ")[2]) for words in under[1:]] == [pytest.approx(2.0 - 0.1 * images / 100)] * 3
    browser.move(0, 0)
    assert browser.run(shown) == rest
    browser.run(f"document.querySelector({plot!r}).closest('a').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert browser.run(shown)[0] == "images seen: 200"
    browser.press("ArrowLeft")
    assert browser.run(shown)[0] == "images seen: 100"


def test_bands_name_mean_and_deviation_of_every_arm(browser: Browser, ablation: Path) -> None:
    browser.open(ablation, width=1280)
    browser.run("document.querySelector('#curves figure a').focus()")
    browser.press("ArrowRight")
    values = browser.run(
        "[...document.querySelectorAll('#curves figure:first-child .value')].map(e=>e.textContent.replaceAll(String.fromCharCode(160),' '))"
    )
    assert [value.replace("\u00a0", " ") for value in values] == [f"{mean} ± 67" for mean in range(9853, 9858)]


def test_no_word_or_key_of_a_legend_lies_on_another(browser: Browser, comparison: Path, ablation: Path) -> None:
    for page in (comparison, ablation):
        browser.open(page, width=1280)
        legends = browser.run(
            "[...document.querySelectorAll('svg.plot')].map(plot=>[...plot.querySelectorAll('.word,.curve>line')].map(word=>{"
            "const box=word.getBoundingClientRect();return [box.left,box.right,box.top,box.bottom,plot.getBoundingClientRect().right]}))"
        )
        assert len(legends) > 1
        for words in legends:
            for index, (left, right, top, bottom, edge) in enumerate(words):
                assert right <= edge
                for other_left, other_right, other_top, other_bottom, _ in words[:index]:
                    assert left >= other_right or right <= other_left or top >= other_bottom - 3 or bottom <= other_top + 3


def order(browser: Browser) -> list[str]:
    """The names of the visible rows, from above, and the columns that are marked as sorted."""
    found: list[str] = browser.run(
        '[...document.querySelectorAll("#run tbody tr")].filter(r=>r.getClientRects().length).map(r=>r.cells[1].textContent)'
    )
    return found


def test_the_index_is_sorted_by_a_click_and_by_keys(browser: Browser, index: Path) -> None:
    for width in (1280, 390):
        browser.open(index, width=width)
        assert order(browser) == ["high_fd", "low_fd", "Unscored"]
        expected = {
            "Best score": (["low_fd", "high_fd", "Unscored"], ["high_fd", "low_fd", "Unscored"]),  # without a score: last in both
            "Images seen": (["Unscored", "high_fd", "low_fd"], ["low_fd", "high_fd", "Unscored"]),
            "Name": (["high_fd", "low_fd", "Unscored"], ["Unscored", "low_fd", "high_fd"]),
        }
        heads: list[str] = browser.run('[...document.querySelectorAll("#run thead button")].map(b=>b.textContent)')
        for head, (rising, falling) in expected.items():
            place = f"#run thead th:nth-of-type({heads.index(head) + 1}) button"
            browser.click(*browser.centre(place))
            assert order(browser) == rising
            browser.run(f"document.querySelector({place!r}).focus()")
            browser.press("Enter", text="\r", code=13)
            assert order(browser) == falling
            assert browser.run('[...document.querySelectorAll("#run [aria-sort]")].map(h=>h.ariaSort)') == ["descending"]


def test_the_filter_hides_pages_and_j_and_k_follow_the_visible_order(browser: Browser, index: Path) -> None:
    browser.open(index, width=1280)
    browser.click(*browser.centre("#filter"))
    browser.type("FD j")
    assert browser.run("document.querySelector('#filter').value") == "FD j"  # j types, and does not move
    assert browser.run("document.querySelector('#told').textContent") == "0 of 5 pages"
    browser.press("Backspace", code=8)
    assert order(browser) == ["high_fd", "low_fd"]
    assert browser.run("document.querySelector('#told').textContent") == "3 of 5 pages"
    assert browser.run("[...document.querySelectorAll('section')].filter(s=>!s.hidden).map(s=>s.id)") == ["run", "comparison"]
    browser.click(*browser.centre("#run thead th:nth-of-type(4) button"))
    browser.press("j", text="j")
    focused = "document.activeElement.getAttribute('href')"
    assert browser.run(focused) == "low/gallery/index.html"
    browser.press("j", text="j")
    assert browser.run(focused) == "high/gallery/index.html"
    browser.press("k", text="k")
    assert browser.run(focused) == "low/gallery/index.html"
