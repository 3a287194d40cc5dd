"""Every registered loss of the segmentation model through one battery, on the day it is entered."""

import json
import pickle

import numpy as np
import pytest
import torch

from recam.data.catalog import open_catalog
from recam.data.roles import DataSettings, RunData
from recam.models.segmenters import make_segmenter
from recam.pipeline.map_set import MapFolder, MapSet
from recam.pipeline.segment_loss import LossContext, segment_losses
from recam.pipeline.stages.masks import PseudoMasks
from recam.recipe.recipe import load_recipe
from recam.settings import Settings, as_json, sections
from recam.types import Sample
from test_contracts import N_CLASSES, SMALL, images, prepare, read_quarters, seed_folders


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("tiny", SMALL)


@pytest.fixture(scope="module", params=sorted(segment_losses))
def segment_loss(request, recipe):
    """A loss of the segmentation model."""
    return segment_losses[request.param].plan(recipe, request.param)


def make_masked_batch(loss):
    masks = torch.full((3, 64, 64), 255)
    masks[0, :20], masks[0, 30:50] = 0, 2
    masks[1, 20:40] = 1
    samples = [Sample("a", (1,), None), Sample("b", (0,), None), Sample("c", (), None)]
    batch = {"images": images(batch=3), "masks": masks}
    for name, extra in loss.extras(N_CLASSES).items():
        read = read_quarters if extra.lies_on == "image" else extra.read
        batch[name] = torch.stack([read(sample) for sample in samples])
    return batch


@pytest.mark.parametrize(("first", "count"), [(0, 3), (0, 1), (2, 1)])
def test_segmentation_model_learns_by_the_loss(segment_loss, first, count):
    """From several images, from one, and from one of which nothing is known."""
    torch.manual_seed(0)
    network = make_segmenter("deeplabv2", "tu-test_resnet", N_CLASSES, "none", multi_scale=False)
    grey = (0.5,) * 3
    objective = segment_loss.objective(network, LossContext(grey, grey)).train()
    batch = {name: value[first : first + count] for name, value in make_masked_batch(segment_loss).items()}
    losses = objective(batch)
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    losses["loss"].backward()
    found = [p.grad for p in network.parameters() if p.requires_grad]
    assert all(grad is not None and grad.isfinite().all() for grad in found)
    assert first or any(grad.abs().sum() > 0 for grad in found)
    assert objective.get_submodule("segmenter") is network


def test_loss_says_what_it_is(segment_loss, recipe):
    assert segment_loss.title
    assert segment_losses[segment_loss.name].Settings in (Settings, *sections.values())
    assert segment_loss.problems(recipe) == []
    json.dumps(as_json(segment_loss, for_key=True), allow_nan=False)
    pickle.dumps(segment_loss.extras(N_CLASSES))


def test_masks_that_a_loss_prepares(segment_loss, recipe, tmp_path):
    data = RunData(open_catalog("scenes:", **SMALL["data.options"]), recipe.section(DataSettings), quiet=True)
    before = MapSet(MapFolder("maps/cam", "w"), "cam", "cam", "CAM", 0.3)
    folders = seed_folders(tmp_path, data, before)
    prepared = segment_loss.preparations(recipe, before, "segment")
    assert segment_loss.from_maps <= bool(prepared)
    for stage in prepared:
        assert stage.group == "segment"
        prepare(stage, folders, tmp_path, data, recipe)
    if segment_loss.from_maps:
        masks = [PseudoMasks(folders[prepared[-1].name])(sample) for sample in data.train]
        assert {mask.shape for mask in masks} == {(64, 64)}
        for mask, sample in zip(masks, data.train, strict=True):
            assert set(np.unique(mask)) <= {0, 255, *(index + 1 for index in sample.labels)}
