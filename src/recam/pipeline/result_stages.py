"""Stages that make results: seeds, their scores, pseudo masks, predictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recam.data.images import write_mask
from recam.engine.work import Work
from recam.inference.tta import asking_of, predict_mask
from recam.methods.cam import read_full
from recam.methods.recam import WEIGHTINGS, Weighting
from recam.methods.thresholds import apply_threshold
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_classifier, load_segmenter
from recam.pipeline.chains import Link, mask_link, refined_links
from recam.pipeline.scoring import score_folder, score_maps
from recam.pipeline.seeds import make_seeds
from recam.pipeline.segment_parts import mask_path
from recam.pipeline.thresholds import find_threshold, recipe_threshold
from recam.pipeline.training_stages import WEIGHTS
from recam.runfolder.store import StageFolder, map_path, read_seed, save_seed
from recam.types import Sample

MAKERS = {"seeds/cam": "classify", "seeds/control": "control", "seeds/recam": "reactivate"}
"""Which training each set of seeds comes from."""


def make_seed_files(work: Work) -> dict[str, Any]:
    """Class maps of every image to train on or to score, for its own labels; the control, made to be scored, of the scored ones only."""
    settings, folder, max_side = work.recipe.seeds, work.folder, work.recipe.data.max_side
    weightings: tuple[Weighting, ...] = settings.weightings if folder.name == "seeds/recam" else ("w",)
    classifier = fold_batchnorm(load_classifier(work.inputs[MAKERS[folder.name]].path / WEIGHTS)).to(work.accelerator.device)

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
        recipe_says = work.recipe.masks.threshold if link is None else recipe_threshold(work.recipe, link)
        results[name] = score_maps(work, name, folder, weighting, recipe_says)
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
    own = work.recipe.masks.class_thresholds
    levels = [own.get(name, threshold) for name in work.data.catalog.classes.names]  # (K,)
    for sample in work.share(work.data.seeded, lambda sample: mask_path(work.folder, sample.id).is_file()):
        seed = read_seed(map_path(folder, weighting, sample.id))
        mask = apply_threshold(read_full(seed), seed.class_indices, [levels[index] for index in seed.class_indices], seed.ignore)
        write_mask(mask_path(work.folder, sample.id), mask)
    used = {"threshold": threshold, "threshold_from": source, **({"class_thresholds": own} if own else {})}
    return {"images": len(work.data.seeded), "seeds": link.title(work.recipe), **used}


def predict_val(work: Work) -> dict[str, Any]:
    """Masks of the held-out images by the segmentation model, and their scores."""
    asking = asking_of(work.recipe)
    (trained,) = work.inputs.values()
    segmenter = load_segmenter(trained.path / WEIGHTS)
    fold_batchnorm(segmenter.network).to(work.accelerator.device)
    for sample in work.share(work.data.val, lambda sample: mask_path(work.folder, sample.id).is_file()):
        with work.accelerator.autocast():
            mask = predict_mask(segmenter, sample.image.read(), asking)
        write_mask(mask_path(work.folder, sample.id), mask)
    work.accelerator.wait_for_everyone()
    return score_folder(work, work.folder, work.data.val)
