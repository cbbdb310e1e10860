"""The page of an ablation: table, claims, cost, curves of all arms with bands, their pictures of the same latents, and the command."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from gconv_gan.gallery.build import curve_entries, entries_of, write_gallery
from gconv_gan.gallery.page.document import breakable, document_html, facts_html, section_html, wide_table
from gconv_gan.gallery.page.manifest import Entry, Manifest, library_versions
from gconv_gan.gallery.page.run_page import panel_html, sheet_html
from gconv_gan.gallery.page.score_names import direction, in_words, keys_of, score_name
from gconv_gan.gallery.pictures.curves.bands import band, band_drawing
from gconv_gan.gallery.pictures.drawing import Drawing, PictureKind
from gconv_gan.gallery.pictures.grid import TILE_SIDE
from gconv_gan.gallery.pictures.registry import draw_unconditional
from gconv_gan.gallery.trained_generator import TrainedGenerator

SAMPLES = PictureKind("samples", draw_unconditional, {"rows": 5, "columns": 6})


def build_ablation(
    out_dir: Path,
    result: Mapping[str, Any],
    generators: Mapping[str, TrainedGenerator],
    *,
    command: str,
    lower_is_better: Collection[str],
    cost: Drawing | None = None,
    seed: int = 0,
) -> Path:
    """Write the pictures, the manifest and the page of an ablation; return the path of the page.

    Args:
        out_dir: folder of the page.
        result: the ablation's result, as its JSON file holds it.
        generators: arm -> generator of one seed, the same for all arms; none of classifiers.
        command: the command line that repeats the ablation.
        lower_is_better: keys of the scores for which lower is better.
        cost: plot of a score against the arms' cost.
        seed: of the latents.

    """
    curves = [*([cost] if cost is not None else []), *_curves(result, lower_is_better)]
    grids = {arm: _grid(arm, trained, seed) for arm, trained in generators.items()}
    first: list[Entry] = []
    for arm, drawing in grids.items():
        first += entries_of("unconditional", [drawing], SAMPLES, generators[arm], seed=seed)
    files = {name: content for drawing in (*grids.values(), *curves) for name, content in drawing.files().items()}
    date = max((trained.run.date for trained in generators.values()), default="")
    run = {"name": result["name"], "dataset": result["data"], "images_seen": result["images"], "command": command, "date": date}
    manifest = Manifest(run, library_versions(), (*first, *curve_entries(curves, {"arms": list(result["arms"])}, seed=seed)))
    return write_gallery(out_dir, files, manifest, _page(result, curves, grids, generators, command=command, seed=seed))


def _curves(result: Mapping[str, Any], lower_is_better: Collection[str]) -> list[Drawing]:
    scores = {name for arm in result["arms"].values() for points in arm["curves"].values() for one in points.values() for name in one}
    drawings = []
    for score in keys_of(sorted(scores)):
        arms = {
            name: [{int(images): one[score] for images, one in points.items() if score in one} for points in arm["curves"].values()]
            for name, arm in result["arms"].items()
        }
        better = direction(score, lower_is_better)
        title = f"{score_name(score, scores)}{in_words(better)} ({result['protocol']})"
        if any(band(curves) for curves in arms.values()):
            drawings.append(band_drawing(score, title, arms, better=better))
    return drawings


def _grid(arm: str, trained: TrainedGenerator, seed: int) -> Drawing:
    (drawing,) = draw_unconditional(trained, seed=seed, **SAMPLES.parameters)
    return replace(drawing, file=f"samples-{arm}.png", title=arm, caption="", alt=f"{arm}: {drawing.alt}")


def _page(
    result: Mapping[str, Any],
    curves: Sequence[Drawing],
    grids: Mapping[str, Drawing],
    generators: Mapping[str, TrainedGenerator],
    *,
    command: str,
    seed: int,
) -> str:
    seeds = {len({*arm["scores"], *map(str, arm["diverged"])}) for arm in result["arms"].values()}
    facts = {
        **{name.title(): str(said) for name in ("source", "setting") if (said := result.get("config", {}).get(name))},
        "Data": str(result["data"]),
        "Images a run": f"{result['images']:,}",
        "Seeds": str(max(seeds)),
        "Scores": str(result["protocol"]),
        "Time": f"{result['seconds'] / 60:.1f} min",
    }
    pictures = "".join(
        sheet_html(replace(drawing, title=arm), pixels=generators[arm].image_size < TILE_SIDE) for arm, drawing in grids.items()
    )
    panels = "".join(panel_html(drawing) for drawing in curves)
    sections = {
        "Result": ("", f"{_pairs_table(result)}{_arms_table(result)}"),
        "Claims": ("", _claims_table(result)),
        "Curves": ("Over real images seen by the discriminator.", f'<div class="panels large">{panels}</div>' if panels else ""),
        "Pictures": (
            f"Images at the same place come from the same latent (seed {seed}); every arm is trained with the same seed.",
            f'<div class="pair">{pictures}</div>' if pictures else "",
        ),
        "Command": ("The same command again resumes, or draws this page anew.", f"<pre><code>{escape(command)}</code></pre>"),
    }
    shown = {title: (intro, body) for title, (intro, body) in sections.items() if body}
    return document_html(
        title=f"Ablation {result['name']}",
        links={f"#{title.lower()}": title for title in shown},
        main=f'<header class="wrap stacked hero"><div><h1>{breakable(str(result["name"]))}</h1>'
        f'<p class="lead">{escape(str(result["question"]))}</p></div>{facts_html(facts)}</header>'
        + "".join(section_html(title.lower(), title, intro, body) for title, (intro, body) in shown.items()),
        footer='<p>Every picture can be drawn again from <a href="manifest.json">manifest.json</a>.</p>'
        "<p><kbd>j</kbd> and <kbd>k</kbd> move to the next and the previous picture. On a plot, <kbd>←</kbd> and <kbd>→</kbd> move to the "
        "values of the next point.</p>",
    )


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{breakable(name)}</th>' + "".join(_cell(cell) for cell in cells) + "</tr>" for name, *cells in rows
    )
    return wide_table(caption, caption=escape(caption), heads=[escape(word) for word in heads], body=body)


def _cell(text: str) -> str:
    return f'<td class="better">{escape(text)}</td>' if text == "better" else f"<td>{escape(text)}</td>"


def _arms_table(result: Mapping[str, Any]) -> str:
    names = keys_of(list(dict.fromkeys(name for arm in result["arms"].values() for one in arm["scores"].values() for name in one)))
    rows = []
    for name, arm in result["arms"].items():
        lost = f" (−{len(arm['diverged'])})" if arm["diverged"] else ""
        costs = [f"{arm['parameters']:,}", f"{arm['macs'] / 1e6:,.1f} M", f"{1000 * arm['step_seconds']:.1f} ms"]
        scores = [_mean_and_deviation([one[score] for one in arm["scores"].values() if score in one]) for score in names]
        rows.append(
            [name, *costs, "–" if arm["memory"] is None else f"{arm['memory'] / 2**20:,.0f} MiB", f"{len(arm['scores'])}{lost}", *scores]
        )
    heads = ["Arm", "Parameters", "MACs", "Iteration", "Memory", "Seeds", *(score_name(score, names) for score in names)]
    return _table("Arms: costs, and scores as mean ± standard deviation over seeds", heads, rows)


def _pairs_table(result: Mapping[str, Any]) -> str:
    rows = []
    for pair in result["paired"]:
        if "verdict" in pair:
            low, high = pair["ci95"]
            ratio = "–" if "ratio" not in pair else f"×{pair['ratio']['mean']:.3f}"
            tests = [f"{pair[key]:.3f}" for key in ("p", "p_holm", "p_permutation", "p_permutation_holm")]
            seeds = str(pair.get("seeds_for_5_percent") or "–")
            difference = [f"{pair['mean']:+.4g}", f"{low:+.4g} to {high:+.4g}"]
            rows.append(
                [
                    f"{pair['arm']} − {pair['against']}",
                    score_name(pair["score"], []),
                    *difference,
                    ratio,
                    *tests,
                    str(pair["verdict"]),
                    seeds,
                ]
            )
    tests = ["t-test p", "Holm p", "Signs p", "Signs, Holm p", f"Verdict by {result['test']}"]
    heads = ["Comparison", "Score", "Difference", "95 % interval", "Ratio", *tests, "Seeds for 5 %"]
    note = f"<p>{escape(result['undecidable'])}</p>" if result["undecidable"] is not None else ""
    return _table("Paired by seed", heads, rows) + note if rows else ""


def _claims_table(result: Mapping[str, Any]) -> str:
    rows = [[found["claim"], found["published"] or "–", found["measured"], found["verdict"]] for found in result.get("findings", ())]
    return _table(f"Claims: together, {result.get('verdict')}", ["Claim", "Published", "Measured", "Verdict"], rows) if rows else ""


def _mean_and_deviation(values: Sequence[float]) -> str:
    """Return "mean ± standard deviation" of the seeds of an arm."""
    if not values:
        return "–"
    return f"{statistics.fmean(values):.4g}" + (f" ± {statistics.stdev(values):.3g}" if len(values) > 1 else "")
