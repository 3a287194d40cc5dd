import numpy as np

from recam.labels import IGNORE
from recam.methods import bes
from recam.methods.cam import bce_loss, class_maps
from recam.methods.irn_walk import random_walk, walk_to_labels


def near(case, key, value):
    case.matches(key, value, atol=1e-5 * max(np.abs(case[key]).max(), 1e-12))


def test_boundary_labels(golden):
    for case in golden("bes_boundary"):
        maps, keys = case["cam"], np.array([0, *(case["keys"] + 1)], np.uint8)
        # The CRF is left out in the files.
        foreground, background = (
            keys[np.concatenate([np.full((1, *maps.shape[1:]), case[name], np.float32), maps]).argmax(0)]
            for name in ("fg_threshold", "bg_threshold")
        )
        confident = np.where(foreground > 0, foreground, np.where(background > 0, np.uint8(IGNORE), np.uint8(0)))
        np.testing.assert_array_equal(confident, case["confident"])
        settings = bes.BesSettings(int(case["window"]), float(case["theta_scale"]), float(case["theta_diff"]))
        assert (bes.boundary_labels(confident, settings) == case["boundary"]).mean() >= 0.999


def test_loss_and_gradient(golden):
    for case in golden("bes_loss"):
        logits = case.tensor("logits").requires_grad_()
        loss = bes.bes_loss(logits, case.tensor("label"))
        loss.total.backward()
        near(case, "loss_bg", loss.background)
        near(case, "loss_fg", loss.foreground)
        near(case, "loss_ground", loss.ground)
        near(case, "loss_boundary", loss.boundary)
        near(case, "loss_total", loss.total)
        near(case, "grad_logits", logits.grad)


def test_attention_pooling(golden):
    for case in golden("bes_attention"):
        features, weight = (case.tensor(name).requires_grad_() for name in ("feature", "weight"))
        logits = bes.attention_logits(features, weight, float(case["attention_scale"]))
        loss = bce_loss(logits, case.tensor("label"))
        loss.backward()
        near(case, "logits", logits)
        near(case, "loss", loss)
        near(case, "grad_feature", features.grad)
        near(case, "grad_weight", weight.grad)
        maps = class_maps(features[:2], weight).relu()
        near(case, "infer_map", maps[0] + maps[1].flip(-1))


def test_walk(golden):
    for case in golden("bes_walk"):
        logits = case.tensor("edge_logits")
        edge = ((logits[0] + logits[1].flip(-1)) / 2).sigmoid()
        near(case, "edge", edge)
        settings = bes.BesSettings(
            walk_radius=float(case["radius"]), beta=float(case["beta"]), steps=2 ** int(case["exp_times"])
        )
        walked = random_walk(case.tensor("cam"), edge, settings.walk_radius, settings.beta, settings.steps)
        case.matches("walked", walked, rtol=1e-3)
        size = tuple(int(side) for side in case["size"])
        labels = walk_to_labels(walked, size, case["keys"], float(case["background_threshold"]))
        assert (labels == case["label_map"]).mean() >= 0.999
