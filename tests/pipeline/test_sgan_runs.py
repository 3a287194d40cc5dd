"""SGAN in a run: seeds from CAM's maps, and class maps that take each image's saliency map."""

import numpy as np
import pytest
import torch
from torch import nn

import recam
from recam.errors import RecipeError
from recam.models.classifier import Classifier
from recam.pipeline.training import make_training
from recam.recipe.recipe import load_recipe
from recam.runfolder.maps import read_seed
from recam.runfolder.store import read_json
from saliency_inputs import write_maps

SMALL = {"backbone.name": "test_resnet", "backbone.weights": "none", "backbone.freeze_until": 0, "training": "sgan"}


class Pointwise(nn.Conv2d):
    """Features (B, 6, H, W) that know nothing of each other."""

    channels = 6


@torch.no_grad()
def test_mirrored_views_take_the_mirrored_saliency():
    training = make_training(load_recipe("tiny"), "sgan")
    torch.manual_seed(0)
    network = Classifier(Pointwise(3, 6, 1), 3, training.all_heads).eval()
    head = network.heads["sgan"]
    head.widen.weight.copy_((head.widen.weight + head.widen.weight.flip(-1)) / 2)
    head.gamma.fill_(1.0)
    image = torch.randn(1, 3, 8, 8)
    views, saliency = torch.cat([image, image.flip(-1)]), np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8).T
    made = training.maps_with(saliency)(network, views, [0, 2], ["w"])["w"]
    torch.testing.assert_close(made[0], made[1].flip(-1))
    alone = training.maps_with(saliency)(network, image, [0, 2], ["w"])["w"]
    torch.testing.assert_close(alone[0], made[0])
    without = training.maps_with(None)(network, views, [0, 2], ["w"])["w"]
    assert (made - without).abs().max() > 1e-3


def test_a_run_makes_seeds_and_its_maps_follow_saliency(tmp_path, tiny_settings, rerun):
    samples = recam.open_catalog("scenes:", **tiny_settings["data.options"]).samples("train")
    maps = write_maps(tmp_path / "maps", samples)
    settings = {name.replace(".", "__"): value for name, value in SMALL.items()}
    settings |= {"compare": (), "saliency__source": str(maps), "data__score": "train"}
    summary = rerun(tmp_path / "run", "maps", **settings)
    stages = ("saliency/training", "saliency/maps", "train/cam", "class_maps/sgan", "train/sgan", "maps/sgan")
    assert set(stages) <= set(summary.made)
    history = read_json(tmp_path / "run/train/sgan/stage.json")["results"]["history"]
    assert history[0]["seed"] > 0
    assert read_json(tmp_path / "run/maps/sgan/stage.json")["supervision"] == ["image labels", "saliency"]
    seed = read_seed(tmp_path / f"run/maps/sgan/w/{samples[0].id}.npz")
    assert tuple(seed.class_indices) == samples[0].labels


def test_saliency_of_scored_images_is_needed_too(tmp_path, tiny_settings, rerun):
    samples = recam.open_catalog("scenes:", **tiny_settings["data.options"]).samples("train")
    maps = write_maps(tmp_path / "maps", samples)
    settings = {name.replace(".", "__"): value for name, value in SMALL.items()}
    with pytest.raises(RecipeError, match="4 of 16 images have no saliency map"):
        rerun(tmp_path / "run", "maps", **settings, compare=(), saliency__source=str(maps), data__score="val")
