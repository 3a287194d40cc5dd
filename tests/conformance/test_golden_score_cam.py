import numpy as np
import torch
import torch.nn.functional as F

from recam.methods.score_cam import ScoreCamSettings, channel_masks, min_max, score_cam, weigh_channels


def network(case):
    """Features and logits of the case's small network."""
    weights = [[case.tensor(f"param.features.{i}.{part}") for part in ("weight", "bias")] for i in (0, 2)]

    def features(images):
        for weight, bias in weights:
            images = F.conv2d(images, weight, bias, stride=2, padding=1).relu()
        return images

    def logits(images):
        weight, bias = (case.tensor(f"param.classifier.{part}") for part in ("weight", "bias"))
        return features(images).mean((2, 3)) @ weight.T + bias

    return features, logits


def near(case, key, value):
    """Within the tolerances of this family: relative to the array's largest value."""
    case.matches(key, value, atol=1e-5 * max(np.abs(case[key]).max(), 1e-12))


def test_masks_scores_and_map(golden):
    for case in golden("score_cam"):
        features_of, logits_of = network(case)
        image, target = case.tensor("image"), int(case["target"])
        features = features_of(image[None])[0]
        near(case, "features", features)

        masks, used = channel_masks(features, (image.shape[1], image.shape[2]))
        np.testing.assert_array_equal(used.cpu().numpy(), case["used"].astype(bool))
        near(case, "mask", masks * used[:, None, None])
        logits = torch.where(used[:, None], logits_of(image * masks[:, None]), torch.zeros(()))
        near(case, "masked_logits", logits)
        near(case, "score", weigh_channels(logits_of, image, features, [target])[0])
        near(case, "cam", score_cam(logits_of, image, features, [target])[0])


def test_rule_of_the_package_grad_cam(golden):
    """It enlarges with corners aligned, keeps constant channels, and normalises before and after it enlarges."""
    for case in golden("score_cam"):
        features_of, logits_of = network(case)
        image, target = case.tensor("image"), int(case["target"])
        features = features_of(image[None])[0]
        size = (image.shape[1], image.shape[2])
        masks, _ = channel_masks(features, size, align_corners=True)
        weights = logits_of(image * masks[:, None])[:, target].softmax(0)
        low = min_max(torch.einsum("d,dhw->hw", weights, features).relu()[None], eps=1e-7)
        full = F.interpolate(low[None], size, mode="bilinear", align_corners=False)[0, 0]
        case.matches("package_cam", min_max(full.relu()[None], eps=1e-7)[0], rtol=1e-3, atol=1e-4)


def test_paper_and_package_weigh_alike(golden):
    """Subtracting the logit of a black image changes no softmax over channels."""
    for case in golden("score_cam"):
        features_of, logits_of = network(case)
        image, target = case.tensor("image"), int(case["target"])
        features = features_of(image[None])[0]
        paper = weigh_channels(logits_of, image, features, [target], ScoreCamSettings("logit", True))
        masks, used = channel_masks(features, (image.shape[1], image.shape[2]))
        black = logits_of(torch.zeros_like(image)[None])[0, target]
        difference = logits_of(image * masks[:, None])[used, target] - black
        torch.testing.assert_close(paper[0, used], difference.softmax(0))
