import numpy as np
import torch

from recam.methods import icd
from recam.methods.cam import upsample


def within(case, key, value, expected=None):
    """As golden/field.md asks: relative to the array's largest value."""
    expected = case[key] if expected is None else expected
    value = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    assert value.shape == expected.shape, f"{case.name}: {key}"
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=atol, err_msg=f"{case.name}: {key}")


def test_directions(golden):
    for case in golden("icd_score"):
        features, weight = case.tensor("feature").requires_grad_(), case.tensor("weight").requires_grad_()
        within(case, "score", icd.direction_scores(features, weight))
        icd.direction_loss(features, weight, case.tensor("label"), float(case["grad_scale"])).backward()
        within(case, "grad_weight", weight.grad)
        assert features.grad is None


def test_signs(golden):
    for case in golden("icd_sign"):
        score, cam, label = (case.tensor(name) for name in ("score", "cam", "label"))
        means, momentum = torch.zeros_like(label[0, 0])[:, None].repeat(1, 2), float(case["momentum"])
        for step in range(len(score)):
            found, present = icd.response_means(score[step], cam[step], label[step])
            means = torch.where(present[:, None], found, means) * (1 - momentum) + means * momentum
            within(case, "accumulated", means, case["accumulated"][step])
            np.testing.assert_array_equal(icd.signs(means).cpu(), case["sign"][step], err_msg=case.name)
            within(case, "resigned", score[step] * icd.signs(means)[:, None, None], case["resigned"][step])
        within(case, "resigned_test", score[0] * icd.signs(means)[:, None, None])


def test_the_head_moves_its_means_in_training_alone(golden):
    """The module's own update, with features and directions that give the scores."""
    for case in golden("icd_sign"):
        score, cam, label = (case.tensor(name) for name in ("score", "cam", "label"))
        classes = score.shape[2]
        backbone = type("Features", (), {"channels": classes})
        head = icd.IntraClassDiscriminator(backbone, classes, 4).to(score.device)
        with torch.no_grad():
            head.directions.copy_(torch.eye(classes))
        for step in range(len(score)):
            signed = head.bottom_up(score[step], cam[step], label[step], float(case["momentum"]))
            within(case, "accumulated", head.means, case["accumulated"][step])
            within(case, "resigned", signed, case["resigned"][step])
        within(case, "resigned_test", head.eval().bottom_up(score[0], cam[0], label[0], 0.0))


def test_superpixels(golden):
    for case in golden("icd_superpixel"):
        regions = case.put(case["superpixel"].astype(np.int64))
        within(case, "refined", icd.refine_by_regions(case.tensor("score"), regions, case.tensor("label")))


def test_top_down(golden):
    for case in golden("icd_topdown"):
        warmup = int(case["warmup"])
        within(case, "probability", case.tensor("logit").sigmoid())
        for call, expected in zip(case["calls"].tolist(), case["grad_per_call"], strict=True):
            logit = case.tensor("logit").requires_grad_()
            loss = icd.topdown_loss(logit, case.tensor("score"), case.tensor("label"))
            weight = icd.warmup_weight(call / warmup if warmup else 1.0)
            (float(case["grad_scale"]) * weight.to(loss.device) * loss).backward()
            within(case, f"grad_per_call {call}", logit.grad, expected)


def test_seeds(golden):
    for case in golden("icd_seed"):
        height, width = case["size"].tolist()
        side = int(case["infer_size"])
        maps = [upsample(case.tensor(name), (side, side))[:, :height, :width].cpu().numpy() for name in ("icd", "cam")]
        mask = icd.seed_mask(*maps, case["keys"].tolist())
        assert (mask == case["seed"]).mean() >= 0.999, case.name
        values = icd.seed_probabilities(
            np.array([[1, 255]], np.uint8), int(case["num_classes"]), float(case["confidence"])
        )
        levels = -np.log([values[1, 0, 0], values[1, 0, 1], values[0, 0, 0]])
        within(case, "unary_levels", levels)
