"""Stages that make results: checked data, seeds, their scores, pseudo masks, predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from recam.data.images import read_mask, write_mask, write_png
from recam.errors import DataError
from recam.methods.cam import read_full
from recam.methods.recam import WEIGHTINGS, Weighting
from recam.methods.thresholds import OracleThreshold, OtsuThreshold, ThresholdSweep, apply_threshold
from recam.metrics import ConfusionMatrix
from recam.pipeline.chains import Link, mask_link, refined_links
from recam.pipeline.predict import most_probable, predict_probabilities
from recam.pipeline.seeds import make_seeds
from recam.pipeline.segment_parts import mask_path
from recam.pipeline.store import StageFolder, map_path, read_seed, save_seed
from recam.pipeline.thresholds import find_threshold, recipe_threshold
from recam.pipeline.trained import TrainedSegmenter, load_classifier, load_segmenter
from recam.pipeline.training_stages import WEIGHTS
from recam.pipeline.work import Work, sum_over_processes
from recam.report.pictures import overlay_heat, overlay_mask, panel
from recam.types import Image, Sample

MAKERS = {"seeds/cam": "classify", "seeds/control": "control", "seeds/recam": "reactivate"}
"""Which training each set of seeds comes from."""

_TITLES = {"cam": "CAM", "recam": "ReCAM", "given": "class maps"}

PICTURES = 12
"""Images shown by the pictures stage."""


def make_seed_files(work: Work) -> dict[str, Any]:
    """Class maps of every image to train on or to score, for its own labels; the control, made to be scored, of the scored ones only."""
    settings, folder, max_side = work.recipe.seeds, work.folder, work.recipe.data.max_side
    weightings: tuple[Weighting, ...] = settings.weightings if folder.name == "seeds/recam" else ("w",)
    classifier = load_classifier(work.inputs[MAKERS[folder.name]].path / WEIGHTS).to(work.accelerator.device)

    def finished(sample: Sample) -> bool:
        return all(map_path(folder, weighting, sample.id).is_file() for weighting in weightings)

    samples = work.data.score if folder.name == "seeds/control" else work.data.seeded
    for sample in work.share(samples, finished):
        with work.accelerator.autocast():
            made = make_seeds(classifier, sample.image.read(), sample.labels, weightings, settings.scales, settings.flip, max_side)
        for weighting, seed in made.items():
            save_seed(map_path(folder, weighting, sample.id), seed, settings.bits)
    work.accelerator.wait_for_everyone()
    # Weightings of earlier calls lie beside those of this one.
    present = [w for w in WEIGHTINGS if all(map_path(folder, w, sample.id).is_file() for sample in samples)]
    return {"images": len(samples), "weightings": present}


def score_seeds(work: Work) -> dict[str, Any]:
    """For each set of seeds: the whole threshold curve with its oracle, Otsu's threshold (found without masks) and the recipe's."""
    results = {}
    for name, folder, weighting, link in list_seeds(work):
        sweep, otsu = ThresholdSweep(len(work.data.catalog.classes)), OtsuThreshold()
        recipe_says = work.recipe.masks.threshold if link is None else recipe_threshold(work.recipe, link)
        for sample in work.share(work.data.score, lambda sample: False):
            assert sample.mask is not None
            seed = read_seed(map_path(folder, weighting, sample.id))
            sweep.update(read_full(seed), seed.class_indices.tolist(), sample.mask.read(), seed.ignore)
            otsu.update(seed.maps)
        sum_over_processes(work, sweep.histogram, sweep.unsure, otsu.histogram)
        results[name] = _judge(sweep.best(), _find_otsu(otsu), recipe_says)
    return {"images": len(work.data.score), "seeds": results}


def list_seeds(work: Work) -> Iterator[tuple[str, StageFolder, Weighting, Link | None]]:
    """(name, folder, weighting, link if refined) of every set of maps among the inputs, e.g. ``("recam w_prime", …, "w_prime", None)``."""
    refined = {link.maps_stage: link for link in refined_links(work.recipe)}
    for stage, folder in work.inputs.items():
        if stage == "seeds/recam":
            yield from ((f"recam {weighting}", folder, weighting, None) for weighting in work.recipe.seeds.weightings)
        elif stage in MAKERS or stage == "seeds/given":
            yield stage.removeprefix("seeds/"), folder, "w", None
        elif link := refined.get(stage):
            yield link.title(work.recipe), folder, link.weighting(work.recipe), link


def make_masks(work: Work) -> dict[str, Any]:
    """Pseudo masks: the maps, refined or not, at the oracle threshold where truth exists and the recipe wants it, else at the recipe's."""
    link = mask_link(work.recipe)
    folder, weighting = work.inputs[link.maps_stage], link.weighting(work.recipe)
    threshold, source = find_threshold(work, link)
    for sample in work.share(work.data.seeded, lambda sample: mask_path(work.folder, sample.id).is_file()):
        seed = read_seed(map_path(folder, weighting, sample.id))
        mask = apply_threshold(read_full(seed), seed.class_indices, threshold, seed.ignore)
        write_mask(mask_path(work.folder, sample.id), mask)
    return {"images": len(work.data.seeded), "seeds": link.title(work.recipe), "threshold": threshold, "threshold_from": source}


def score_masks(work: Work) -> dict[str, Any]:
    """Pseudo masks against the truth of the scored split."""
    return _score_folder(work, work.inputs["masks"], work.data.score)


def predict_val(work: Work) -> dict[str, Any]:
    """Masks of the held-out images by the segmentation model, and their scores."""
    settings = work.recipe.predict
    (trained,) = work.inputs.values()
    segmenter = load_segmenter(trained.path / WEIGHTS)
    segmenter.network.to(work.accelerator.device)
    for sample in work.share(work.data.val, lambda sample: mask_path(work.folder, sample.id).is_file()):
        with work.accelerator.autocast():
            max_side = work.recipe.data.max_side
            probabilities = predict_probabilities(segmenter, sample.image.read(), settings.scales, settings.flip, max_side)
        write_mask(mask_path(work.folder, sample.id), most_probable(probabilities))
    work.accelerator.wait_for_everyone()
    return _score_folder(work, work.folder, work.data.val)


def _score_folder(work: Work, folder: StageFolder, samples: list[Sample]) -> dict[str, Any]:
    confusion = ConfusionMatrix(work.data.catalog.classes)
    for sample in samples[work.accelerator.process_index :: work.accelerator.num_processes]:
        assert sample.mask is not None
        confusion.update(read_mask(mask_path(folder, sample.id)), sample.mask.read())
    sum_over_processes(work, confusion.counts)
    return {"images": len(samples), "scores": confusion.scores().as_dict(), "confusion": confusion.counts.tolist()}


def _find_otsu(otsu: OtsuThreshold) -> float | None:
    try:
        return otsu.threshold()
    except DataError:  # maps of a classifier that found nothing at all: their scores say so, and the run goes on
        return None


def _judge(oracle: OracleThreshold, otsu: float | None, recipe: float) -> dict[str, Any]:
    def nearest(threshold: float) -> dict[str, float]:
        index = int(np.abs(np.asarray(oracle.thresholds) - threshold).argmin())
        return {"threshold": oracle.thresholds[index], "miou": oracle.curve[index]}

    return {
        "oracle": {"threshold": oracle.threshold, "miou": oracle.miou},
        "otsu": None if otsu is None else nearest(otsu),
        "recipe": nearest(recipe),
        "thresholds": list(oracle.thresholds),
        "curve": list(oracle.curve),
    }


def make_pictures(work: Work) -> dict[str, Any]:
    """Twelve or so images in a row each: image, CAM, ReCAM, pseudo mask, prediction, truth; one file an image, one for all."""
    samples = _spread(work.data.score or work.data.seeded, PICTURES)
    if work.accelerator.is_main_process:
        segmenter = load_segmenter(work.inputs["segment/pseudo"].path / WEIGHTS) if "segment/pseudo" in work.inputs else None
        rows = [_picture_row(work, sample, segmenter) for sample in samples]
        columns = list(dict.fromkeys(title for row in rows for title in row))
        captions = [" + ".join(work.data.catalog.classes.names[index] for index in sample.labels) or "background" for sample in samples]
        for sample, row, caption in zip(samples, rows, captions, strict=True):
            path = work.folder.path / "each" / f"{sample.id}.png"
            write_png(path, panel([[row.get(title) for title in columns]], columns, [caption]))
        write_png(work.folder.path / "overview.png", panel([[row.get(title) for title in columns] for row in rows], columns, captions))
    return {"images": len(samples)}


def _picture_row(work: Work, sample: Sample, segmenter: TrainedSegmenter | None) -> dict[str, Image]:
    image = sample.image.read()
    row = {"image": image}
    final = mask_link(work.recipe)
    links = [Link("given"), Link("cam"), Link("recam"), *(Link(final.origin, final.chain[:end]) for end in range(1, len(final.chain) + 1))]
    for link in links:
        if link.maps_stage in work.inputs:
            seed = read_seed(map_path(work.inputs[link.maps_stage], link.weighting(work.recipe), sample.id))
            row[_TITLES[link.origin] if not link.chain else f"+ {link.refiner}"] = overlay_heat(image, read_full(seed))
    row["pseudo mask"] = overlay_mask(image, read_mask(mask_path(work.inputs["masks"], sample.id)))
    if segmenter:
        settings = work.recipe.predict
        probabilities = predict_probabilities(segmenter, image, settings.scales, settings.flip, work.recipe.data.max_side)
        row["prediction"] = overlay_mask(image, most_probable(probabilities))
    if sample.mask:
        row["truth"] = overlay_mask(image, sample.mask.read())
    return row


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples at even distances, those with several labels first where there are enough of them."""
    several = [sample for sample in samples if len(sample.labels) > 1]
    pool = several if len(several) >= count else [sample for sample in samples if sample.labels] or list(samples)
    return [pool[int(index)] for index in np.unique(np.linspace(0, len(pool) - 1, min(count, len(pool))).round())]
