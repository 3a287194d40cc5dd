"""Fig. 5, S3–S5: the two flaws of CAM that ReCAM reduces, failures of both, and seeds → refined masks → predictions;
which images are shown follows from numbers."""

from __future__ import annotations

from recam.report.figures import Figure
from recam.studies.result import StudyResult
from recam.studies.sheets import (
    Compared,
    Highest,
    Shown,
    ShownRun,
    compare_seeds,
    heat,
    laid_over,
    sheet,
    spread_of_gains,
)  # fmt: skip
from recam.studies.study import MAPS, MODEL, Drawing, Study, studies
from recam.types import Sample

SHOWN = 4
"""Images of each kind."""
ROWS = ("CAM", "ReCAM")
FLAWS = {
    "missed": ("false-negatives", "Flaw 1, false negatives: missed pixels fell most", "missed"),
    "confused": ("false-positives", "Flaw 2, false positives: pixels of another class fell most", "another class"),
}
"""Name, title and words of the sheets of Fig. 5 and S3, by error."""


@studies.register("pictures")
def pictures() -> Study:
    """CAM and ReCAM, refined by IRN, and a model on each."""
    rows = {row: {"training": row.lower(), "maker": "", "refine": ["irn"]} for row in ROWS}
    flaws = [_flaw(error) for error in FLAWS]
    sheets = (*flaws, failures, refined, predictions)
    title = "Fig. 5, S3–S5: what CAM and ReCAM find, image by image"
    return Study(title, "irn-cpu", rows, (MAPS, MODEL), "segment", figures=sheets)


def _flaw(error: str) -> Drawing:
    name, title, words = FLAWS[error]

    def drawing(result: StudyResult) -> Figure | None:
        # Of a mask that is only smaller fewer pixels are another class as well.
        kept = Highest(SHOWN, lambda each: each.fell(error) if each.rose else float("nan"), above=0)
        return _seed_sheet(result, kept, name, f"{title} from CAM to ReCAM, of images whose mIoU rose", error, words)

    return drawing


def failures(result: StudyResult) -> Figure | None:
    """The images on which the better of both is worst."""
    kept = Highest(SHOWN, lambda each: -max(each.miou))
    return _seed_sheet(result, kept, "failures", "Failures: the better of both is worst", "missed", "missed")


def refined(result: StudyResult) -> Figure | None:
    """Seeds and refined masks, by the gain of ReCAM's over CAM's."""
    return _gain_sheet(result, "refined", "Fig. S4: seeds and refined masks", "scores/masks", "masks")


def predictions(result: StudyResult) -> Figure | None:
    """Predictions of held-out images, by the gain of the model on ReCAM's masks over that on CAM's."""
    title = "Fig. S5: predictions of held-out images"
    return _gain_sheet(result, "predictions", title, "predictions/pseudo", "predictions/pseudo")


def _open(result: StudyResult) -> tuple[ShownRun, ShownRun]:
    """Both rows with the first seed."""
    first, second = (ShownRun(result.summaries[row, result.seeds[0]]) for row in ROWS)
    return first, second


def _seed_sheet(result: StudyResult, kept: Highest, name: str, title: str, error: str, words: str) -> Figure | None:
    runs = _open(result)
    for each in compare_seeds(runs):
        kept.offer(each)
    columns = ("image", *(f"{row}{what}" for row in ROWS for what in ("", ", mask")), "truth")
    head = ("image", *(f"{row}, {what}, %" for what in (words, "mIoU") for row in ROWS))
    note = f"Masks at the threshold that scores best on all images; seed {result.seeds[0]}."
    return sheet(name, title, note, columns, head, [_seed_row(runs, each, error, words) for each in kept.images])


def _seed_row(runs: tuple[ShownRun, ShownRun], each: Compared, error: str, words: str) -> Shown:
    image, tiles = each.sample.image.read(), []
    for run in runs:
        seed = run.seed(each.sample)
        assert seed is not None, "what was compared has maps"
        tiles += [heat(image, seed), laid_over(image, run.seed_mask(seed))]
    shares, mious = [100 * each.share(error, run) for run in (0, 1)], [100 * each.miou[run] for run in (0, 1)]
    caption = f"{_labels(runs[0], each.sample)}: {words} {shares[0]:.1f} → {shares[1]:.1f} % of the pixels"
    caption += f", mIoU {mious[0]:.1f} → {mious[1]:.1f}"
    assert each.sample.mask is not None, "what was compared has a true mask"
    truth = laid_over(image, each.sample.mask.read())
    return Shown([image, *tiles, truth], caption, (each.sample.id, *shares, *mious))


def _gain_sheet(result: StudyResult, name: str, title: str, scores: str, masks: str) -> Figure | None:
    runs = _open(result)
    before, after = (run.scores(scores) for run in runs)
    known = {sample.id: sample for sample in (*runs[0].data.score, *runs[0].data.val)}
    rows, is_seeded = [], masks == "masks"
    for what, sample_id, gain in spread_of_gains(before, after):
        sample = known[sample_id]
        image, tiles = sample.image.read(), []
        for run in runs:
            seed = run.seed(sample) if is_seeded else None
            tiles += [laid_over(image, run.seed_mask(seed))] if seed else []
            tiles.append(laid_over(image, run.mask(masks, sample)))
        caption = (
            f"{what}, {_labels(runs[0], sample)}: mIoU {100 * before[sample_id]:.1f} → {100 * after[sample_id]:.1f}"
        )
        assert sample.mask is not None, "what was scored has a true mask"
        numbers = (what, sample_id, 100 * before[sample_id], 100 * after[sample_id], 100 * gain)
        rows.append(Shown([image, *tiles, laid_over(image, sample.mask.read())], caption, numbers))
    each = ("seed", "refined") if is_seeded else ("prediction",)
    columns = ("image", *(f"{row}, {one}" for row in ROWS for one in each), "truth")
    head = ("chosen by", "image", *(f"{row}, mIoU, %" for row in ROWS), "gain")
    return sheet(name, title, f"By the gain in mIoU from CAM to ReCAM; seed {result.seeds[0]}.", columns, head, rows)


def _labels(run: ShownRun, sample: Sample) -> str:
    names = run.data.catalog.classes.names
    return " + ".join(names[index] for index in sample.labels) or "background"
