"""The loss of the segmentation model in a plan: where its seeds are made, what it refuses, and a loss of one's own."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from recam.data.roles import DataSettings, RunData
from recam.errors import RecipeError
from recam.pipeline.plan import make_plan
from recam.pipeline.segment_loss import LossContext, SegmentLoss, segment_losses
from recam.recipe.recipe import load_recipe
from tiny_recipe import TINY

DSRG = {"segment.loss": "dsrg", "dsrg.refined_by": "pamr", "compare": ()}


def stages_of(settings):
    own = load_recipe("tiny", TINY | settings)
    data = RunData(own.section(DataSettings).open(), own.section(DataSettings), quiet=True)
    return {stage.name: stage for stage in make_plan(own, data).stages}


def test_seeds_are_made_of_the_maps_and_true_masks_need_none():
    stages = stages_of(DSRG | {"segment.upper_bound": True})
    seeds, model, truth = (stages[name] for name in ("dsrg/recam/seeds", "segment/pseudo", "segment/truth"))
    assert seeds.needs == ("maps/recam",)
    assert seeds.given.confident == (0.05, 0.20)
    assert model.given.masks == "dsrg/recam/seeds"
    assert model.needs == ("dsrg/recam/seeds",)
    assert truth.needs == ()
    assert truth.given.loss == model.given.loss
    plain = stages_of({"compare": ()})
    assert plain["segment/pseudo"].needs == ("masks",)
    assert not any(name.startswith("dsrg/") for name in plain)


def test_found_thresholds_are_waited_for():
    stages = stages_of(DSRG | {"dsrg.confident": "auto", "masks.threshold": "auto", "masks.oracle": False})
    assert stages["dsrg/recam/seeds"].needs == ("maps/recam", "thresholds/recam")
    order = list(stages)
    assert order.index("thresholds/recam") < order.index("dsrg/recam/seeds") < order.index("segment/pseudo")


def test_models_of_rounds_learn_by_the_loss_too():
    stages = stages_of(DSRG | {"masks.rounds": 1, "masks.round": ("self_training",)})
    assert stages["dsrg/recam/seeds"].group == "refine"
    assert stages["rounds/recam/model"].given.masks == "dsrg/recam/seeds"
    assert stages["segment/pseudo"].given.masks == "dsrg/recam+self_training/seeds"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"segment.class_balance": 0.5},
            "segment.loss = 'dsrg' weighs its pixels itself: set segment.class_balance to 0",
        ),
        ({"data.background": "none"}, "segment.loss = 'dsrg' parts classes from a background"),
        (
            {"masks.rounds": "auto", "masks.round": ("self_training",)},
            "segment.loss = 'dsrg' learns from the last maps, and masks.rounds = 'auto'",
        ),
        ({"segment.loss": "dsrgg"}, "unknown loss of the segmentation model 'dsrgg'. Did you mean 'dsrg'"),
        ({"dsrg.confident": (0.4, 0.1)}, r"dsrg.confident = \(0.4, 0.1\): give background first"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(RecipeError, match=message.replace(".", r"\.") if "\\" not in message else message):
        stages_of(DSRG | settings)


def test_a_loss_of_ones_own_gets_masks_as_outputs(monkeypatch):
    """Of a network without an output for the background mask value 1 is the first, and one image comes twice."""
    monkeypatch.setattr(segment_losses, "_entries", dict(segment_losses._entries))
    seen = {}

    @segment_losses.register("seen")
    @dataclass(frozen=True)
    class Seen(SegmentLoss):
        title = "what it sees"

        def losses(self, segmenter, batch, context):
            seen.update(batch, weights=context.class_weights)
            return {"loss": segmenter(batch["images"]).sum()}

    loss = segment_losses["seen"].plan(load_recipe("tiny"), "seen")
    weights = torch.ones(2)
    objective = loss.objective(nn.Identity(), LossContext((0.5,) * 3, (0.5,) * 3, False, weights))
    masks = torch.tensor([[[0, 1], [2, 255]]])
    assert objective({"images": torch.ones(1, 3, 2, 2), "masks": masks})["loss"] == 24
    assert seen["masks"].tolist() == [[[255, 0], [1, 255]]] * 2
    assert seen["weights"] is weights
