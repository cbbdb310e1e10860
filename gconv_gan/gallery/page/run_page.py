"""One static ``index.html``: no external resource, readable from 320 px up, light and dark, by keyboard and by screen reader."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from gconv_gan.gallery.page.document import breakable, document_html, facts_html
from gconv_gan.gallery.page.sample_box import HINT, samples_attribute
from gconv_gan.gallery.page.score_table import scores_html
from gconv_gan.gallery.pictures.curves.curves_svg import inline
from gconv_gan.gallery.pictures.curves.score_curves import tabulated
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import GROUP_PADDING
from gconv_gan.gallery.score import Score
from gconv_gan.gallery.slider.slider import SCRIPT as SLIDER_SCRIPT
from gconv_gan.gallery.slider.slider import STYLE as SLIDER_STYLE
from gconv_gan.gallery.trained_generator import RunFacts

PLOT_PIXELS = 2  # a plot has two pixels to a CSS pixel


@dataclass(frozen=True)
class Section:
    """A section of the page: ``name`` is the section of a ``PictureKind``, ``link`` the label in the navigation, ``terms`` a glossary."""

    name: str
    link: str
    title: str
    intro: str
    terms: Mapping[str, str] = field(default_factory=dict)


SECTIONS = (
    Section(
        "classes",
        "Classes",
        "Samples by class",
        "Each row shows one class. In a good conditional model each row is recognisable. Under mode collapse the images of a row repeat.",
    ),
    Section(
        "timeline",
        "Timeline",
        "Samples during training",
        "Samples of the same latents at several numbers of images seen.",
    ),
    Section(
        "interpolation",
        "Interpolation",
        "Latent interpolation",
        "A good generator changes smoothly along a path between two latents, and every image on the path is plausible. Abrupt changes "
        "indicate memorisation.",
    ),
    Section(
        "slider",
        "Slider",
        "Latent slider",
        "The generator of this page runs in the browser. Its latent moves between those of two samples of this page along the great "
        "circle, as in the latent walk.",
    ),
    Section(
        "truncation",
        "Truncation",
        "Truncation",
        "Stronger truncation raises fidelity and lowers diversity. Truncation acts on z or, in a generator with a mapping network, on "
        "w = f(z).",
    ),
    Section(
        "logit-ranking",
        "Discriminator",
        "Samples ranked by the discriminator",
        "The discriminator of this run ranks the samples by its logit. If the highest-ranked samples look no better than the others, the "
        "logit does not measure quality.",
    ),
    Section(
        "neighbours",
        "Neighbours",
        "Nearest training images",
        "If the generator has memorised training images, a sample equals its nearest training image.",
    ),
    Section(
        "spectrum",
        "Spectrum",
        "Power spectrum",
        "Power of the images at each spatial frequency. Upsampling layers often produce too much or too little power at the highest "
        "frequencies, at the right end.",
        {"dB": "10 log10 of the mean power of pixel values from 0 to 1"},
    ),
    Section(
        "gates",
        "Gates",
        "Kernel gates",
        "The gates of each gated layer, as functions of the latent vector. A row is one of the first samples of this page, or the mean "
        "over a class. There is no map of classes if no gate depends on the class.",
        {
            "entropy": "normalised entropy of the gates of one latent: 1 if all gates are equal, 0 if a single kernel is selected",
            "balance": "normalised entropy of the gates averaged over latents",
            "variance": "variance of a gate over latents; 0 if the layer does not depend on its latent",
            "similarity": "mean absolute cosine between two kernels: 0 if they are orthogonal, 1 if they are equal",
        },
    ),
    Section("scores", "Scores", "Scores", "Scores are comparable only under the same protocol."),
    Section("training", "Training", "Training curves", "Values of the training log over real images seen by the discriminator."),
    Section(
        "effective-learning-rates",
        "Effective rates",
        "Effective learning rates",
        "Where a norm follows a weight, or the weight itself is normalised, its length does not change the output but sets how far a step "
        "turns it. A layer whose effective learning rate falls during training is slowed down by its own growth.",
        {
            "effective learning rate": "learning rate over the squared norm of the weight",
            "angular update": "angle between the weight before and after a step, mean over the steps since the last status line",
            "effective gradient norm": "norm of the weight times the norm of its gradient, which does not depend on the weight's length",
        },
    ),
    Section("methods", "Methods", "Training methods", "What the training methods of this run measured or changed."),
    Section(
        "curvature",
        "Curvature",
        "Curvature of the losses",
        "Density of the eigenvalues of a network's loss. Most lie near 0; the largest, far to the right, limits the learning rate.",
    ),
)


def pixel_size(content: bytes) -> tuple[int, int]:
    """Return (width, height) from the header of a PNG or a GIF."""
    width, height = struct.unpack("<HH", content[6:10]) if content.startswith(b"GIF8") else struct.unpack(">II", content[16:24])
    return int(width), int(height)


def image_html(drawing: Drawing, *, lazy: bool) -> str:
    """Return the picture as a link to its file: an SVG inline, another as an image, with variants for dark pages and for less motion."""
    if drawing.file.endswith(".svg"):
        return f'<a href="{escape(drawing.file)}">{inline(drawing.content)}</a>'
    density = PLOT_PIXELS if drawing.dark is not None else 1
    width, height = (side * drawing.enlarged // density for side in pixel_size(drawing.content))
    loading = ' loading="lazy"' if lazy else ""
    image = f'<img src="{escape(drawing.file)}" width="{width}" height="{height}" alt="{escape(drawing.alt)}"{loading}>'
    variants = {
        "(prefers-color-scheme: dark)": drawing.dark_file if drawing.dark is not None else None,
        "(prefers-reduced-motion: reduce)": drawing.still_file if drawing.still is not None else None,
    }
    sources = "".join(f'<source srcset="{escape(file)}" media="{media}">' for media, file in variants.items() if file is not None)
    image = f"<picture>{sources}{image}</picture>" if sources else image
    return f'<a href="{escape(drawing.file)}"{samples_attribute(drawing, width=width * density)}>{image}</a>'


def groups_html(drawing: Drawing) -> str:
    """Return the names of the groups of columns of a grid, each as wide as its columns; "" for one group."""
    if not drawing.groups:
        return ""
    width, _ = pixel_size(drawing.content)
    tracks = " ".join(f"{columns}fr" for _, columns in drawing.groups)
    names = "".join(f"<b>{escape(name)}</b>" for name, _ in drawing.groups)
    return f'<div class="groups" style="grid-template-columns:{tracks};column-gap:{GROUP_PADDING / width:.2%}">{names}</div>'


def sheet_html(drawing: Drawing, *, pixels: bool, lazy: bool = True) -> str:
    """Return a grid of images as a figure, its row labels beside it."""
    image = image_html(drawing, lazy=lazy)
    labels = "".join(f'<li><span title="{escape(label)}">{escape(label)}</span></li>' for label in drawing.row_labels)
    labels = f'<ol class="rows" aria-hidden="true">{labels}</ol>' if labels else ""
    if labels or drawing.groups:
        image = f'<div class="labelled">{groups_html(drawing)}{labels}{image}</div>'
    hint = f' <span class="hint">{HINT}</span>' if drawing.samples else ""
    caption = f"<figcaption><b>{escape(drawing.title)}.</b> {escape(drawing.caption)}{hint}</figcaption>"
    role = ' class="pixels"' if pixels else ""
    numbers = f"<details><summary>In numbers</summary>{facts_html(drawing.facts)}</details>" if drawing.facts else ""
    return f"<figure{role}>{image}{caption}{numbers}</figure>"


def panel_html(drawing: Drawing) -> str:
    """Return a plot as a card with its numbers."""
    chips = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in drawing.facts.items())
    chips = f'<dl class="chips">{chips}</dl>' if chips else ""
    caption = f"<figcaption>{escape(drawing.caption)}</figcaption>" if drawing.caption else ""
    return f'<figure class="panel"><h3>{breakable(drawing.title)}</h3>{image_html(drawing, lazy=True)}{chips}{caption}</figure>'


def section_html(section: Section, drawings: Sequence[Drawing], *, pixels: bool, extra: str) -> str:
    """Return a section: heading and explanation, then ``extra``, then sheets one below another and panels side by side."""
    sheets = "".join(sheet_html(drawing, pixels=pixels) for drawing in drawings if drawing.shape == "sheet")
    panels = "".join(panel_html(drawing) for drawing in drawings if drawing.shape == "panel")
    panels = f'<div class="panels">{panels}</div>' if panels else ""
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in section.terms.items())
    terms = f'<dl class="terms">{terms}</dl>' if terms else ""
    return (
        f'<section id="{section.name}" class="wrap" aria-labelledby="{section.name}-title">'
        f'<div class="intro"><h2 id="{section.name}-title">{escape(section.title)}</h2><p>{escape(section.intro)}</p>{terms}</div>'
        f'<div class="plates">{extra}{sheets}{panels}</div></section>'
    )


def page_html(
    run: RunFacts,
    *,
    hero: Drawing,
    sections: Mapping[str, Sequence[Drawing]],
    scores: Sequence[Score],
    pixels: bool,
    seed: int,
    versions: Mapping[str, str],
    slider: str = "",
) -> str:
    """Return the whole page.

    Args:
        run: the facts for the header.
        hero: the first picture.
        sections: drawings by the name of their section; a section without drawings (and scores) is left out.
        scores: of the run. Those of other checkpoints are shown as numbers only if no curve shows them.
        pixels: show single pixels as squares if the browser enlarges the image; for tiny images.
        seed: of the gallery.
        versions: of the libraries.
        slider: HTML of the latent slider; "" for a page without one.

    Raises:
        ValueError: if a drawing names a section that the page does not have.

    """
    unknown = set(sections) - {section.name for section in SECTIONS}
    if unknown:
        raise ValueError(f"no section is called {sorted(unknown)}; add a line to SECTIONS")
    extras = {"scores": scores_html(tabulated(scores, checkpoint=run.images_seen)), "slider": slider}
    shown = [section for section in SECTIONS if sections.get(section.name) or extras.get(section.name)]
    body = "".join(
        section_html(section, sections.get(section.name, ()), pixels=pixels, extra=extras.get(section.name, "")) for section in shown
    )
    weights = "averaged weights" if run.weights == "ema" else "weights of the last step"
    facts = {"Data": run.dataset, "Images seen": f"{run.images_seen:,}", "Checkpoint": f"{run.checkpoint}, {weights}"}
    facts |= {**run.details, "Weights SHA-256": f"{run.checkpoint_sha256[:16]}…", "Latent seed": str(seed)}
    lead = f"Pictures of <strong>{escape(run.dataset)}</strong> from a generator trained on <strong>{run.images_seen:,}</strong> images."
    libraries = ", ".join(f"{name} {number}" for name, number in versions.items())
    return document_html(
        title=f"{run.name} · gallery",
        links={f"#{section.name}": section.link for section in shown},
        main=f"""<header class="hero wrap"><div><h1>{breakable(run.name)}</h1><p class="lead">{lead}</p></div>
{sheet_html(hero, pixels=pixels, lazy=False)}
{facts_html(facts)}</header>
{body}""",
        footer=f"""<p>Every picture can be drawn again from <a href="manifest.json">manifest.json</a>:
it names the seed, the parameters and the SHA-256 of the weights and of the file.</p>
<p class="hint">Select a sample for its seed and the command that makes it, another picture to open it at full size.
<kbd>j</kbd> and <kbd>k</kbd> move to the next and the previous picture, the arrow keys between its samples and along its curves.</p>
<p>Drawn with {escape(libraries)}.</p>""",
        style=SLIDER_STYLE if slider else "",
        script=SLIDER_SCRIPT if slider else "",
    )
