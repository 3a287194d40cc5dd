import numpy as np
import torch
import torch.nn.functional as F

from recam.methods import cam, edam
from recam.methods import edam_attention as attention
from recam.methods.edam import EdamSettings
from recam.methods.thresholds import apply_threshold

GRADIENT = 1e-4
"""Of a gradient's largest value."""


def matches_gradient(case, key, value):
    case.matches(key, value, rtol=1e-3, atol=GRADIENT * np.abs(case[key]).max())


def head_of(case):
    """The module with the weights of the case: the code has a list per class, here they are stacked."""
    features, label = case["feature"], case["label"]
    classes, width = label.shape[1], case["param.d_d.weight"].shape[0]
    backbone = type("Features", (), {"channels": features.shape[1]})
    head = attention.DiscriminativeAttention(backbone, classes, width, int(case["n_heads"])).eval()

    def stacked(name):
        return torch.from_numpy(np.stack([case[f"param.trans_list.{index}.0.{name}"] for index in range(classes)]))

    linear = {f"attention.linear_layers.{number}": name for number, name in enumerate(("query", "key", "value"))}
    linear |= {"attention.output_linear": "output", "feed_forward.w_1": "widen", "feed_forward.w_2": "narrow"}
    state = {
        f"block.{ours}.{part}": stacked(f"{theirs}.{part}")
        for theirs, ours in linear.items()
        for part in ("weight", "bias")
    }
    for theirs, ours in (("input_sublayer", "norm_1"), ("output_sublayer", "norm_2")):
        state |= {
            f"block.{ours}.scale": stacked(f"{theirs}.norm.a_2"),
            f"block.{ours}.shift": stacked(f"{theirs}.norm.b_2"),
        }
    state |= {"mask.weight": case.tensor("param.mask_layer.weight"), "reduce.weight": case.tensor("param.d_d.weight")}
    state["segment"] = case.tensor("param.embedding.segment.weight")[:2]
    state["classify"] = torch.from_numpy(
        np.stack([case[f"param.fc_list.{index}.weight"].ravel() for index in range(classes)])
    )
    head.load_state_dict(state)
    return head.to(case.tensor("feature").device)


def test_attention(golden):
    for case in golden("edam"):
        if "map_0" in case.arrays:  # of kind edam_cam
            continue
        head, order = head_of(case), case["class_order"].tolist()
        features = case.tensor("feature").requires_grad_()
        case.matches("mask", head.masks(features))
        positions = attention.position_codes(features[0, 0].numel(), head.reduce.out_channels)
        case.matches("position", positions)
        logits = head(features, torch.tensor([[0, 1]]))[0][:, order]  # (2, K)
        case.matches("logits", logits)
        target = case.tensor("label")[:, order].float()
        case.matches("target", target.flatten())
        loss = F.binary_cross_entropy_with_logits(logits, target)
        case.matches("loss", loss)
        loss.backward()
        matches_gradient(case, "grad_feature", features.grad)
        matches_gradient(case, "grad_mask_weight", head.mask.weight.grad)
        matches_gradient(case, "grad_reduce_weight", head.reduce.weight.grad)
        matches_gradient(case, "grad_segment", F.pad(head.segment.grad, (0, 0, 0, 3)))
        matches_gradient(case, "grad_query_weight_first", head.block.query.weight.grad[order[0]])


def test_maps_and_post_processing(golden):
    for case in golden("edam_cam"):
        size, keys = tuple(case["size"].tolist()), case["keys"].tolist()
        pairs = [
            torch.stack([case.tensor(f"map_{scale}")[keys], case.tensor(f"map_{scale + 1}")[keys]])
            for scale in (0, 2, 4, 6)
        ]
        cams = cam.normalise(cam.fuse_views(pairs, size))
        case.matches("cam", cams)
        # The code divides by the maximum alone, so that it is above β.
        published = (cams / cams.amax((1, 2), keepdim=True)).cpu().numpy()
        theta = float(case["theta"])
        settings = EdamSettings(theta * 100 / 255, float(case["alpha"]), float(case["beta"]), published_rule=True)
        saliency = case["saliency"].astype(np.float32) / np.float32(255)
        mask = edam.edam_mask(published, keys, saliency, settings)
        assert (mask == case["prediction_saliency"]).mean() >= 0.999, case.name
        without = apply_threshold(published, np.array(keys), theta)
        assert (without == case["prediction"]).mean() >= 0.999, case.name
