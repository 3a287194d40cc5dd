import numpy as np
import torch

from recam.methods import dsrg, sgan

GRADIENT = 1e-4
"""Of a gradient's largest value."""


def matches_gradient(case, key, value):
    case.matches(key, value, rtol=1e-3, atol=GRADIENT * np.abs(case[key]).max())


def head_of(case):
    """The module with the weights of the case, without dropout."""
    features, wide = case["feature"], case["param.fc6_CAM.weight"]
    backbone = type("Features", (), {"channels": features.shape[1]})
    head = sgan.SaliencyGuidedAttention(backbone, case["label"].shape[1], len(wide)).eval()
    names = {"query": "f_query", "key": "f_key", "widen": "fc6_CAM", "classify": "fc8", "segment": "fc9"}
    state = {
        f"{ours}.{part}": case.tensor(f"param.{theirs}.{part}")
        for ours, theirs in names.items()
        for part in ("weight", "bias")
        if f"param.{theirs}.{part}" in case.arrays
    }
    head.load_state_dict({**state, "gamma": case.tensor("param.gamma")})
    return head.to(case.tensor("feature").device)


def test_network_and_losses(golden):
    for case in golden("sgan"):
        if "feature" not in case.arrays:  # of the other two kinds
            continue
        head, features = head_of(case), case.tensor("feature").requires_grad_()
        saliency = case.tensor("saliency")[:, None].float() / 255
        salient = sgan.salient_positions(saliency, float(case["saliency_threshold"]))
        query, key = head.query(features).flatten(2), head.key(features).flatten(2)
        case.matches("attention", sgan.guided_attention(query, key, salient.flatten(1)))
        fused = head.attend(features, salient)
        case.matches("fused", fused)
        maps, segmentation = head(fused)
        case.matches("cam", maps)
        case.matches("segmentation", segmentation)
        case.matches("score", maps.mean((2, 3)))
        seeds = case.tensor("seed_map").long()
        targets = sgan.seed_targets(torch.where(seeds == 21, 255, seeds))
        case.matches("seed_target", torch.where(targets == 255, 20, targets))
        settings = sgan.SganSettings(seed_weight=float(case["seed_weight"]))
        loss = sgan.sgan_loss(maps, segmentation, case.tensor("label").float(), targets, settings)
        case.matches("loss_classification", loss.classification)
        case.matches("loss_seed", loss.seed)
        case.matches("loss_total", loss.total)
        loss.total.backward()
        matches_gradient(case, "grad_feature", features.grad)
        matches_gradient(case, "grad_gamma", head.gamma.grad)
        for name, key in (("query", "grad_query_weight"), ("key", "grad_key_weight"), ("segment", "grad_fc9_weight")):
            matches_gradient(case, key, getattr(head, name).weight.grad)


def test_seeds(golden):
    """Compared as the case numbers them: classes from 1, 21 for none."""
    for case in golden("sgan_seed"):
        keys, saliency = case["keys"] - 1, case.tensor("saliency")
        claimed = torch.zeros(1, 20, *saliency.shape, dtype=torch.bool, device=saliency.device)
        claimed[0, keys] = sgan.sure_of(case.tensor("cam"), float(case["cam_threshold"]))
        background = (saliency < 0.06)[None, None]
        seeds = sgan.seed_map(claimed, background, yielding=(3, 18))[0]
        np.testing.assert_array_equal(torch.where(seeds == 255, 21, seeds).cpu(), case["seed"], err_msg=case.name)
        seeds = sgan.seed_map(claimed, background, "ignore")[0]
        expected = case["seed_conflict_ignored"]
        np.testing.assert_array_equal(torch.where(seeds == 255, 21, seeds).cpu(), expected, err_msg=case.name)


def test_balanced_losses(golden):
    """In the code and not called by its training: those of DSRG, with other least probabilities."""
    for case in golden("sgan_balanced"):
        refined = case.tensor("crf").clamp_min(1e-5)
        refined_log = (refined / refined.sum(1, keepdim=True)).log()
        for part, loss_of in (
            ("seed", lambda probability, case=case: dsrg.seed_loss(probability, case.tensor("seed"))),
            ("boundary", lambda probability, log=refined_log: dsrg.boundary_loss(probability, log)),
        ):
            logits = case.tensor("logits").requires_grad_()
            raised = logits.softmax(1).clamp(1e-5, 1)
            loss = loss_of(raised / raised.sum(1, keepdim=True))
            case.matches(f"loss_{part}", loss)
            loss.backward()
            matches_gradient(case, f"grad_{part}", logits.grad)
