"""The stage of pictures: the first overview, and the tiles that a report lays out by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recam.data.images import read_mask, write_jpeg, write_png
from recam.data.roles import Role, RunData
from recam.data.spread import spread_evenly
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Amounts, Stage
from recam.engine.work import Work
from recam.evaluation.pixel_counts import IMAGES, read_image_scores
from recam.inference.settings import InferenceSettings
from recam.inference.tta import predict_mask
from recam.methods.cam import read_full
from recam.models.folding import fold_batchnorm
from recam.models.saved import TrainedSegmenter, load_segmenter
from recam.pipeline.map_set import MapFolder, MapSet
from recam.pipeline.segment_amounts import predict_amount
from recam.pipeline.stages.score import mask_path
from recam.pipeline.stages.segment_settings import SegmentSettings
from recam.runfolder.kinds import PICTURES as KIND
from recam.runfolder.kinds import QUALITY
from recam.types import Image, Sample
from recam.visualize import overlay_heat, overlay_mask, panel

PICTURES = 12
"""Images shown in the overview."""
EXTREMES = 3
"""Images shown as best, median and worst, each."""
LEAST = 6
"""Images shown as worst where there is no truth to go by."""
TILE = 320
"""Longest side of a tile, pixels."""


@dataclass(frozen=True)
class PicturesGiven:
    """What pictures depend on, beside what they show: the maps by title, and how the model is applied."""

    maps: tuple[tuple[str, MapFolder], ...]
    inference: InferenceSettings


def plan_pictures(sets: Sequence[MapSet], inference: InferenceSettings, others: Sequence[Stage]) -> Stage:
    """The stage of pictures of these maps, and of masks and model as far as the run has them."""
    present = {stage.name for stage in others}
    judged = "scores/masks" if "scores/masks" in present else QUALITY
    shown = [name for name in ("masks", "segment/pseudo", judged, "predictions/pseudo") if name in present]
    needs = tuple(dict.fromkeys((*(each.folder.stage for each in sets), *shown)))
    given = PicturesGiven(tuple((each.title, each.folder) for each in sets), inference)
    label = {"title": "pictures", "kind": KIND}
    roles: tuple[Role, ...] = ("seeded", "score", "val", "train")
    model = next((stage.given.settings for stage in others if stage.name == "segment/pseudo"), None)
    stage = Stage("pictures", "pictures", make_pictures, given, needs, roles, 5, label=label)
    return replace(stage, amounts=picture_amounts(model))


def make_pictures(given: PicturesGiven, work: Work) -> dict[str, Any]:
    """Twelve or so images in a row each: image, class maps, pseudo mask, prediction, truth; one file per image, one for
    all.

    Besides, small tiles of these and of the best, median and worst images, without true masks of those that agree least
    with the others; the results name which image is shown as what.
    """
    samples = _spread(work.data.score or work.data.seeded, PICTURES)
    extremes = [
        *_extremes(work, "scores/masks", work.data.score),
        *_extremes(work, "predictions/pseudo", work.data.val),
        *_least_agreeing(work),
    ]
    shown = []
    if work.accelerator.is_main_process:
        segmenter = load_segmenter(work.inputs["segment/pseudo"].weights) if "segment/pseudo" in work.inputs else None
        if segmenter:
            fold_batchnorm(segmenter.network)
        rows = [_picture_row(given, work, sample, segmenter) for sample in samples]
        columns = list(dict.fromkeys(title for row in rows for title in row))
        captions = [caption(work, sample) for sample in samples]
        for sample, row, text in zip(samples, rows, captions, strict=True):
            path = work.folder.path / "each" / f"{sample.id}.png"
            write_png(path, panel([[row.get(title) for title in columns]], columns, [text]))
            shown.append(_write_tiles(work, sample, row, "overview", "masks", None))
        write_png(
            work.folder.path / "overview.png",
            panel([[row.get(title) for title in columns] for row in rows], columns, captions),
        )
        for of, kind, sample, miou in extremes:
            row = _picture_row(given, work, sample, segmenter) if of == "masks" else _held_out_row(work, sample)
            shown.append(_write_tiles(work, sample, row, kind, of, miou))
    return {"images": len(samples), "shown": shown}


def picture_amounts(model: SegmentSettings | None) -> Amounts:
    """The amounts of work of pictures, with predictions by a model of these settings where there is one."""

    def amounts(given: PicturesGiven, data: RunData) -> list[Amount]:
        rows = min(PICTURES, len(data.score or data.seeded))
        extremes = sum(3 * min(EXTREMES, len(samples) // 3) for samples in (data.score, data.val))

        def set_up(bench: Bench) -> Turn:
            def turn(sample: Sample) -> None:
                image = sample.image.read()
                row = [overlay_heat(image, read_full(bench.maps(sample))) for _ in given.maps]
                row += [image, overlay_mask(image, bench.mask(sample))]
                write_png(bench.folder / "pictures" / f"{sample.id}.png", panel([row], [""] * len(row), [""]))
                for index, tile in enumerate(row):
                    write_jpeg(bench.folder / "pictures" / f"{index}" / f"{sample.id}.jpg", tile, TILE)

            return turn

        drawn = Amount("picture of an image", 2 * rows + extremes, set_up, len(given.maps))
        return [drawn, predict_amount(model, given.inference, rows + extremes)] if model else [drawn]

    return amounts


def caption(work: Work, sample: Sample) -> str:
    """The image labels in words."""
    return " + ".join(work.data.catalog.classes.names[index] for index in sample.labels) or "background"


def _write_tiles(
    work: Work, sample: Sample, row: dict[str, Image], kind: str, of: str, miou: float | None
) -> dict[str, Any]:
    tiles = {}
    for title, image in row.items():
        path = f"tiles/{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}/{sample.id}.jpg"
        write_jpeg(work.folder.path / path, image, TILE)
        tiles[title] = path
    return {"id": sample.id, "caption": caption(work, sample), "kind": kind, "of": of, "miou": miou, "tiles": tiles}


def _picture_row(
    given: PicturesGiven, work: Work, sample: Sample, segmenter: TrainedSegmenter | None
) -> dict[str, Image]:
    image = sample.image.read()
    row = {"image": image}
    for title, folder in given.maps:
        row[title] = overlay_heat(image, read_full(folder.read(work, sample)))
    if "masks" in work.inputs:
        row["pseudo mask"] = overlay_mask(image, read_mask(mask_path(work.inputs["masks"], sample.id)))
    if segmenter:
        row["prediction"] = overlay_mask(image, predict_mask(segmenter, image, given.inference))
    if sample.mask:
        row["truth"] = overlay_mask(image, sample.mask.read())
    return row


def _held_out_row(work: Work, sample: Sample) -> dict[str, Image]:
    image = sample.image.read()
    assert sample.mask is not None
    predicted = read_mask(mask_path(work.inputs["predictions/pseudo"], sample.id))
    return {
        "image": image,
        "prediction": overlay_mask(image, predicted),
        "truth": overlay_mask(image, sample.mask.read()),
    }


def _extremes(work: Work, stage: str, samples: Sequence[Sample]) -> Iterator[tuple[str, str, Sample, float]]:
    """(``masks`` or ``predictions``, ``best``, ``median`` or ``worst``, sample, its mIoU): none of them twice."""
    if stage not in work.inputs:
        return
    known = {sample.id: sample for sample in samples}
    rows = [row for row in read_image_scores(work.inputs[stage].path / IMAGES) if row.miou == row.miou]
    ranked = sorted(rows, key=lambda row: (-row.miou, row.id))
    count = min(EXTREMES, len(ranked) // 3)
    middle = (len(ranked) - count) // 2
    for kind, start in {"best": 0, "median": middle, "worst": len(ranked) - count}.items():
        for row in ranked[start : start + count]:
            yield "masks" if stage == "scores/masks" else "predictions", kind, known[row.id], row.miou


def _least_agreeing(work: Work) -> Iterator[tuple[str, str, Sample, None]]:
    """The same of images whose masks agree least with what the other images predict, where there is no truth."""
    if QUALITY in work.inputs:
        known = {sample.id: sample for sample in work.data.train}
        for name in work.inputs[QUALITY].record["results"]["worst"][:LEAST]:
            yield "masks", "worst", known[name], None


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples at even distances, those with several labels first where there are enough of them."""
    several = [sample for sample in samples if len(sample.labels) > 1]
    pool = several if len(several) >= count else [sample for sample in samples if sample.labels] or list(samples)
    return [pool[index] for index in spread_evenly(len(pool), count)]
