"""The segmentation stage: from the run's own classifier, with every setting of its training, killed and resumed,
validated."""

import shutil
from pathlib import Path

import pytest

from killed_run import kill_when, start_run
from recam.errors import RecipeError
from recam.runfolder.store import read_json
from recam.tensors import load_tensors


def test_the_encoder_is_the_classifiers_and_stays(copy_of_tiny_run, rerun):
    summary = rerun(copy_of_tiny_run, "segment", segment__weights="classifier", segment__freeze_encoder=True)
    assert summary.made == ("segment/pseudo", "predictions/pseudo")
    classifier, _ = load_tensors(copy_of_tiny_run / "train/recam" / "weights.safetensors")
    network, meta = load_tensors(copy_of_tiny_run / "segment" / "pseudo" / "weights.safetensors")
    assert meta["mean"] == list(load_tensors(copy_of_tiny_run / "train/recam" / "weights.safetensors")[1]["mean"])
    kept = [name for name in network if ".encoder.model." in name and not name.endswith("num_batches_tracked")]
    assert len(kept) == sum(not name.endswith("num_batches_tracked") for name in classifier if ".net." in name)
    for name in kept:
        own = "backbone.net." + name.split(".encoder.model.")[1]
        assert network[name].equal(classifier[own]), name
    inputs = read_json(copy_of_tiny_run / "segment" / "pseudo" / "stage.json")["inputs"]
    assert inputs["given"]["classifier"] == "train/recam"
    assert set(inputs["inputs"]) == {"masks", "train/recam"}


PAPER = {
    "segment__model": "deeplabv2",
    "segment__output_stride": 16,
    "segment__options": {"freeze_batchnorm": False},
    "segment__steps": 4,
    "segment__optimizer": "adamw",
    "segment__lr": 1e-3,
    "segment__decoder_lr": 1e-3,
    "segment__decoder_bias_factor": 2.0,
    "segment__decay_biases": False,
    "segment__frame": (96, 64),
    "segment__jitter": 0.5,
    "segment__class_balance": 0.5,
    "segment__ema": 0.5,
    "segment__validate_epochs": 1,
    "segment__keep": "best",
}


def test_killed_while_it_trains_it_ends_with_the_same_weights(copy_of_tiny_run, rerun, tiny_settings, tmp_path):
    cut = Path(shutil.copytree(copy_of_tiny_run, tmp_path / "elsewhere" / "cut", symlinks=True))
    assert rerun(copy_of_tiny_run, "segment", **PAPER).made == ("segment/pseudo", "predictions/pseudo")
    settings = (
        tiny_settings
        | {name.replace("__", "."): value for name, value in PAPER.items()}
        | {"compute.save_minutes": 1e-6}
    )
    # The tiny run's own stage is shown in the same place until this one begins.
    shown = (cut / "segment/pseudo").resolve()
    kill_when(
        start_run(cut, settings, "segment"),
        lambda: (cut / "segment/pseudo").resolve() != shown and (cut / "segment/pseudo/training.safetensors").is_file(),
    )
    assert read_json(cut / "segment/pseudo/stage.json")["state"] == "begun"
    rerun(cut, "segment", **PAPER)
    results = [read_json(root / "segment/pseudo/stage.json")["results"] for root in (copy_of_tiny_run, cut)]
    assert [record["epoch"] for record in results[0]["history"]] == [1, 2]
    scores = [[record["val_miou"] for record in each["history"]] for each in results]
    assert scores[0] == scores[1]
    for name in ("weights.safetensors", "last.safetensors"):
        one, other = (load_tensors(root / "segment/pseudo" / name)[0] for root in (copy_of_tiny_run, cut))
        assert one.keys() == other.keys()
        assert all(value.equal(other[key]) for key, value in one.items()), name


def test_the_best_weights_are_those_that_scored_best(copy_of_tiny_run, rerun):
    rerun(copy_of_tiny_run, "segment", segment__validate_epochs=1, segment__epochs=3, predict__flip=False)
    record = read_json(copy_of_tiny_run / "segment/pseudo/stage.json")["results"]
    scores = [epoch["val_miou"] for epoch in record["history"]]
    best = max(range(3), key=lambda index: scores[index])
    assert record["best"] == {"epoch": best + 1, "miou": scores[best]}
    assert (record["kept"], record["images_read"]) == ("last", 36)
    # Held-out scores of the last epoch and of the predictions are one and the same measure.
    assert read_json(copy_of_tiny_run / "predictions/pseudo/stage.json")["results"]["scores"]["miou"] == scores[-1]
    last, meta = load_tensors(copy_of_tiny_run / "segment/pseudo/weights.safetensors")
    other, same_meta = load_tensors(copy_of_tiny_run / "segment/pseudo/best.safetensors")
    assert meta == same_meta
    assert all(value.equal(other[key]) for key, value in last.items()) == (best == 2)
    assert rerun(copy_of_tiny_run, "segment", segment__validate_epochs=1, segment__epochs=3).made == ()


def test_validation_without_truth_is_refused_at_the_start(copy_of_tiny_run, rerun):
    with pytest.raises(RecipeError, match=r"segment\.validate_epochs needs true masks of a held-out split"):
        rerun(
            copy_of_tiny_run, segment__validate_epochs=1, data__options={"seed": 6, "size": 64, "train": 12, "val": 0}
        )


def test_each_setting_of_the_training_changes_the_weights(copy_of_tiny_run, rerun):
    """After two steps: the least at which an average of weights is not the first ones."""
    changes = [
        {}, {"segment__optimizer": "adamw"}, {"segment__decoder_bias_factor": 3.0},
        {"segment__decay_biases": False, "segment__weight_decay": 0.9},
        {"segment__frame": (128, 32)}, {"segment__jitter": 1.0}, {"segment__class_balance": 1.0}, {"segment__ema": 0.5},
        {"segment__options": {"freeze_batchnorm": False}},
    ]  # fmt: skip
    seen = [load_tensors(copy_of_tiny_run / "segment/pseudo/weights.safetensors")[0]]
    for change in changes:
        rerun(copy_of_tiny_run, "segment", segment__steps=2, **change)
        found = load_tensors(copy_of_tiny_run / "segment/pseudo/weights.safetensors")[0]
        assert all(any(not value.equal(other[name]) for name, value in found.items()) for other in seen), change
        seen.append(found)
