"""The table of `mutated_readers`, continued: run folders, networks, the review page."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mutate import mutate_json, mutate_lines, mutate_safetensors
from mutated_readers import CLASSES, Made, reader
from recam.data.catalog import open_catalog
from recam.data.images import write_mask
from recam.errors import RecamError
from recam.types import SeedMaps

# Run folders


def write_run(root: Path) -> None:
    """A finished run up to its pseudo masks, of numbers that nothing was computed for."""
    from recam.evaluation.metrics import ConfusionMatrix
    from recam.evaluation.pixel_counts import ImageScore, save_image_scores, save_tally
    from recam.labels import ClassSet
    from recam.recipe.recipe import load_recipe
    from recam.runfolder.maps import save_seed
    from recam.runfolder.store import FORMAT, RunFolder, write_json

    options = {"seed": 6, "size": 64, "train": 2, "val": 1}
    recipe = load_recipe("tiny", {"data.location": "scenes:", "data.options": options, "segment.enabled": False})
    classes = list(open_catalog("scenes:", **options).classes.names)
    ids = [sample.id for sample in open_catalog("scenes:", **options).samples("train")]
    scores = ConfusionMatrix(ClassSet(tuple(classes)))
    scores.counts[0, 0] = 90
    scores.counts[1, 1] = 10
    square = scores.counts.tolist()
    at = {"threshold": 0.5, "miou": 0.4}
    judged = {"oracle": at, "otsu": None, "thresholds": [0.25, 0.5, 0.75], "curve": [0.1, 0.4, 0.2]}
    history = {"history": [{"epoch": 1, "loss": 0.7, "images_per_second": 3.0}], "images": 2}
    sets = {
        "cam": {"name": "cam", "title": "CAM", "threshold": 0.5, "folder": "w"},
        "recam": {"name": "recam w_prime", "title": "ReCAM w′", "threshold": 0.5, "folder": "w_prime"},
    }
    found: dict[str, tuple[list[str], dict[str, Any], dict[str, Any]]] = {}
    for name, (title, base) in {"cam": ("CAM", None), "recam": ("ReCAM", "cam")}.items():
        start = [f"train/{base}"] if base else []
        maps = {"title": sets[name]["title"], "training": name, "colour": name, "sets": [sets[name]]}
        trained = {"title": title, "kind": "classifier", "colour": name, "base": base}
        found[f"train/{name}"] = (start, history, trained)
        found[f"maps/{name}"] = (
            [f"train/{name}"],
            {"images": 2, "weightings": [sets[name]["folder"]]},
            {**maps, "kind": "maps"},
        )
        of_maps = {"images": 2, "maps": {sets[name]["name"]: judged}}
        found[f"scores/{name}"] = ([f"maps/{name}"], of_maps, {**maps, "kind": "scores of maps"})
    found["masks"] = (
        ["maps/recam"],
        {"images": 2, "maps": "recam w_prime", "threshold": 0.5, "threshold_from": "oracle"},
        {"title": "pseudo masks", "kind": "masks", "from": "ReCAM w′"},
    )
    found["scores/masks"] = (
        ["masks"],
        {"images": 2, "scores": scores.scores().as_dict(), "confusion": square},
        {"title": "pseudo masks", "kind": "scores of masks"},
    )
    folder, keys = RunFolder(root), {name: f"{number:016x}" for number, name in enumerate(found)}
    counts = np.broadcast_to(scores.counts, (3, 3, *scores.counts.shape)).astype(np.int64)
    for name, (needs, results, label) in found.items():
        stage = folder.open_stage(name, keys[name])
        stage.begin(
            {
                "inputs": {"inputs": {need: keys[need] for need in needs}, "classes": classes},
                "label": label,
                "supervision": ["image labels"],
            }
        )
        if name.startswith("maps/"):
            for sample_id in ids:
                save_seed(
                    stage.path / results["weightings"][0] / f"{sample_id}.npz",
                    SeedMaps(np.ones((1, 16, 16), np.float32), np.array([0]), (64, 64)),
                )
        elif name == "masks":
            for sample_id in ids:
                write_mask(stage.path / f"{sample_id}.png", np.zeros((64, 64), np.uint8))
        elif name == "scores/masks":
            save_tally(stage.path / "tally.npz", counts[:, :1])
            save_image_scores(stage.path / "images.csv", [ImageScore(each, 1, 0.5, 10, 1, 1, 1, 0) for each in ids])
        elif name.startswith("scores/"):
            save_tally(stage.path / f"{next(iter(results['maps']))}.npz", counts, (0.25, 0.5, 0.75))
        stage.finish(
            {
                "seconds": 1.5,
                "peak_memory_mb": 10.0,
                "peak_gpu_mb": 0.0,
                "processes": 1,
                "resumed": False,
                "results": results,
            }
        )
    maps_in_force = {"stage": "maps/recam", "scores": "scores/recam", **sets["recam"]}
    how = {"scales": [1.0], "flip": False, "window": None, "overlap": 0.25, "refine": "none", "max_side": None}
    models = {"classifier": "train/recam", "seeds": maps_in_force, "maps": maps_in_force}
    stages = {name: {"key": keys[name], "label": label} for name, (_, _, label) in found.items()}
    write_json(
        root / "run.json",
        {
            "format": FORMAT,
            "recipe": recipe.as_dict(),
            "packages": {"recam": "0"},
            "stages": stages,
            "models": {**models, "inference": how, "map_inference": how},
        },
    )
    check = {"images": 3, "classes": classes, "problems": [{"kind": "a", "where": "b", "message": "c"}], "notes": []}
    write_json(folder.open_stage("check", "c" * 16).path / "check.json", check)


@reader(420, json=mutate_json)
def run_folders(folder: Path) -> Made:
    from recam.inference.run_models import find_models
    from recam.report.reading import read_runs
    from recam.report.tables import data_table, score_table, truth_table
    from recam.report.words import headline
    from recam.runfolder.records import read_problems
    from recam.runfolder.status import read_status
    from recam.runfolder.store import RunFolder
    from recam.runfolder.summary import summarise

    write_run(folder / "run")

    def read() -> None:
        def each(look: Callable[[], None]) -> None:
            with suppress(RecamError):
                look()

        def summary() -> None:
            run = RunFolder(folder / "run")
            found = summarise(run, tuple(run.done_stages()))
            json.dumps(found.as_dict(), allow_nan=False)
            str(found)

        def models() -> None:
            found = find_models(folder / "run")
            assert found.threshold is None or 0 <= found.threshold <= 1

        def report() -> None:
            views = read_runs([folder / "run"])
            str(headline(views))
            for table in (score_table, truth_table, data_table):
                table(views[0])
            for outcome in views[0].outcomes:
                assert outcome.miou is None or 0 <= outcome.miou <= 1
                if views[0].classes:
                    outcome.scores(views[0].classes)

        def check() -> None:
            assert all(
                isinstance(problem.message, str) for problem in read_problems(folder / "run" / "check" / "check.json")
            )

        def status() -> None:
            str(read_status(folder / "run"))

        for look in (summary, models, report, check, status):
            each(look)

    return sorted((folder / "run").rglob("*.json")), read


@reader(60)
def run_tallies(folder: Path) -> Made:
    from recam.evaluation.pixel_counts import ImageScore, read_image_scores, read_tally, save_image_scores, save_tally

    save_tally(folder / "a.npz", np.ones((3, 2, 3, 4), np.int64), (0.2, 0.4))
    save_image_scores(
        folder / "a.csv", [ImageScore("x", 1, 0.5, 10, 1, 1, 1, 0), ImageScore("y", 1, 0.5, 10, 1, 1, 1, 0)]
    )

    def read() -> None:
        try:
            tally = read_tally(folder / "a.npz")
            assert tally.counts.shape[:2] == (3, len(tally.thresholds))
        except RecamError:
            pass
        for row in read_image_scores(folder / "a.csv"):
            assert row.right >= 0
            assert not row.miou < 0
            assert not row.miou > 1

    return [folder / "a.npz", folder / "a.csv"], read


@reader(100, json=mutate_json)
def file_hashes(folder: Path) -> Made:
    from recam.digests import FileDigests

    (folder / "x").write_text("cat")
    digests = FileDigests(folder / "files.json")
    digests(folder / "x")
    digests.save()

    def read() -> None:
        digest = FileDigests(folder / "files.json")(folder / "x")
        assert len(digest) == 32
        assert set(digest) <= set("0123456789abcdef")

    return [folder / "files.json"], read


@reader(60)
def cached_features(folder: Path) -> Made:
    from recam.training.cached_features import _read_view, save_features

    save_features(folder / "a.npy", torch.ones(2, 3, 4, 5))

    def read() -> None:
        assert _read_view(folder / "a.npy", 1).ndim == 3

    return [folder / "a.npy"], read


@reader(160, safetensors=mutate_safetensors)
def trained_networks(folder: Path) -> Made:
    from recam.models.backbones import BackboneSettings
    from recam.models.classifier import Classifier
    from recam.models.saved import load_classifier, load_segmenter, save_classifier, save_segmenter
    from recam.models.segmenters import SegmenterSettings

    backbone = BackboneSettings(name="test_resnet", weights="none", freeze_until=0, output_stride=32)
    segment = SegmenterSettings(encoder="tu-test_resnet", model="deeplabv3plus", decoder_channels=8)
    save_classifier(folder / "a.safetensors", Classifier(backbone.make(), 2, {"fc2": {}}), backbone, CLASSES)
    triple = (0.5, 0.5, 0.5)
    save_segmenter(folder / "b.safetensors", segment.make(2, "none"), segment, CLASSES, triple, triple)
    turn = iter(range(10**9))

    def read() -> None:
        names = ("a", "b") if next(turn) == 0 else ("a",) if _is_damaged("a") else ("b",)
        if "a" in names:
            classifier = load_classifier(folder / "a.safetensors")
            assert min(classifier.backbone.std) > 0
            assert len(classifier.weight_1) > 0
        if "b" in names:
            trained = load_segmenter(folder / "b.safetensors")
            assert min(trained.std) > 0
            assert all(isinstance(name, str) for name in trained.classes)

    whole = {name: (folder / f"{name}.safetensors").read_bytes() for name in "ab"}

    def _is_damaged(name: str) -> bool:
        return (folder / f"{name}.safetensors").read_bytes() != whole[name]

    return [folder / "a.safetensors", folder / "b.safetensors"], read


@reader(160, safetensors=mutate_safetensors)
def checkpoints(folder: Path) -> Made:
    from recam.training.checkpoint import load_checkpoint, save_checkpoint

    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        return model, optimizer

    kept = {"step": 3, "history": [{"epoch": 1, "loss": 0.5}], "sums": {"loss": 0.5}}
    save_checkpoint(folder / "c.safetensors", *make(), kept, {"best": {"x": torch.ones(2)}})

    def read() -> None:
        model, optimizer = make()
        meta, extras = load_checkpoint(folder / "c.safetensors", model, optimizer, needs=tuple(kept))
        assert isinstance(meta["step"], int)
        assert meta["step"] >= 0
        assert all(isinstance(value, torch.Tensor) for group in extras.values() for value in group.values())
        optimizer.step()

    return [folder / "c.safetensors"], read


@reader(60)
def foreign_weights(folder: Path) -> Made:
    from recam.models.weights import read_file

    torch.save({"state_dict": {"a": torch.ones(2)}}, folder / "a.pth")

    def read() -> None:
        assert all(isinstance(value, torch.Tensor) for value in read_file(folder / "a.pth").values())

    return [folder / "a.pth"], read


# The review page


@reader(300, jsonl=mutate_lines)
def decisions(folder: Path) -> Made:
    from recam.review.decisions import Decisions

    log = Decisions(folder)
    source = {"layer": "maps/cam/w", "key": "a", "threshold": 0.5, "class_thresholds": {"cat": 0.2}}
    log.add("one", ["a", "b"], verdict="accepted", source=source)
    log.add("two", ["a"], labels=["cat"], mask="abc.png")
    log.undo("one")

    def read() -> None:
        found = Decisions(folder)
        assert [event.n for event in found.events] == list(range(1, found.latest + 1))
        for state in found.decided().values():
            assert state.verdict in ("accepted", "rejected", "open")
            assert state.mask is None or ("/" not in state.mask and "\0" not in state.mask)
            assert state.source is None or state.source.threshold is None or 0 <= state.source.threshold <= 1
            json.dumps(state.model_dump(mode="json"), allow_nan=False).encode()
        found.changes(0)

    return [log.path], read


@reader(200, json=mutate_json)
def review_requests(folder: Path) -> Made:
    from fastapi.testclient import TestClient

    from recam.review.app import make_app
    from recam.review.layers import ReviewedRun
    from recam.review.session import Session

    write_run(folder / "run")
    session = Session(ReviewedRun(folder / "run"), quiet=True)
    client = TestClient(make_app(session, "token"), base_url="http://127.0.0.1/token", raise_server_exceptions=True)
    layer = {"layer": "maps/cam/w", "threshold": 0.5, "class_thresholds": {session.run.classes[0]: 0.3}}
    bodies = {
        "decisions": {"tab": "one", "images": [0, 1], "verdict": "accepted", **layer},
        "recipe": layer,
        "undo": {"tab": "one"},
        "export": {"name": "mine", "photos": "copy", "everything": False},
    }
    for name, body in bodies.items():
        (folder / f"{name}.json").write_text(json.dumps(body))
    whole = {name: (folder / f"{name}.json").read_bytes() for name in bodies}

    def read() -> None:
        for name in bodies:
            content = (folder / f"{name}.json").read_bytes()
            if content != whole[name]:
                answer = client.post(f"api/{name}", content=content, headers={"content-type": "application/json"})
                assert answer.status_code < 500, answer.text

    return [folder / f"{name}.json" for name in bodies], read
