"""Masks of another run as an input: taken into the run, and refused with all that is wrong."""

import numpy as np
import pytest

from recam.data.images import read_mask, write_mask
from recam.data.roles import DataSettings, RunData
from recam.engine.compute import ComputeSettings, make_accelerator
from recam.engine.work import Work
from recam.errors import DataError, RecipeError
from recam.pipeline.plan import make_plan
from recam.pipeline.stages.external_masks import external_masks
from recam.recipe.recipe import load_recipe
from recam.runfolder.store import StageFolder
from tiny_recipe import TINY

CONTA = {"training": "conta", "conta.rounds": 2, "compare": ()}


@pytest.fixture
def data():
    own = load_recipe("tiny", TINY).section(DataSettings)
    return RunData(own.open(), own, quiet=True)


@pytest.fixture
def masks(data, tmp_path):
    folder = tmp_path / "masks"
    for index, sample in enumerate(data.train):
        write_mask(folder / f"{sample.id}.png", np.full((64, 64), (0, 1, 255)[index % 3], np.uint8))
    return folder


def taken(stage, data, root):
    compute = load_recipe("tiny", TINY).section(ComputeSettings)
    work = Work(data, StageFolder(stage.name, root, "key"), {}, make_accelerator(compute), compute)
    return stage.make(stage.given, work)


def test_they_are_copied_and_known_by_their_content(data, masks, tmp_path):
    stage = external_masks(str(masks), "conta.masks", "conta/conta/masks", "train")
    assert taken(stage, data, tmp_path / "stage")["images"] == 12
    for sample in data.train:
        copy = read_mask(tmp_path / "stage" / f"{sample.id}.png")
        np.testing.assert_array_equal(copy, read_mask(masks / f"{sample.id}.png"))
    write_mask(masks / f"{data.train[0].id}.png", np.full((64, 64), 2, np.uint8))
    assert external_masks(str(masks), "conta.masks", "conta/conta/masks", "train").given != stage.given


def test_all_that_is_wrong_is_reported_at_once(data, masks, tmp_path):
    first, second, third = (masks / f"{sample.id}.png" for sample in data.train[:3])
    first.unlink()
    write_mask(second, np.zeros((32, 64), np.uint8))
    write_mask(third, np.full((64, 64), 99, np.uint8))
    stage = external_masks(str(masks), "conta.masks", "conta/conta/masks", "train")
    with pytest.raises(DataError) as caught:
        taken(stage, data, tmp_path / "stage")
    for part in ("no mask of this image", "(32, 64), its image (64, 64)", "values [99]"):
        assert part in str(caught.value)


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"conta\.masks = .*nowhere' is no folder of masks"):
        external_masks(str(tmp_path / "nowhere"), "conta.masks", "conta/conta/masks", "train")


def plan(data, settings):
    return {stage.name: stage for stage in make_plan(load_recipe("tiny", TINY | CONTA | settings), data).stages}


def test_the_first_round_of_conta_learns_from_them(data, masks):
    stages = plan(data, {"conta.masks": str(masks)})
    assert stages["conta/conta-1/masks"].needs == ()
    assert stages["conta/conta-1/model"].given.masks == "conta/conta-1/masks"
    assert "maps/cam" not in stages
    assert stages["conta/conta/masks"].needs == ("maps/conta-1",)
    assert str(masks) not in repr(stages["train/conta"].given)
    with pytest.raises(RecipeError, match=r"conta\.masks are what a model learns from, and segment\.loss = 'dsrg'"):
        plan(data, {"conta.masks": str(masks), "segment.loss": "dsrg", "dsrg.refined_by": "pamr"})
