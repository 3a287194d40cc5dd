import numpy as np
import torch
import torch.nn.functional as F

from recam.methods import cam, gain
from recam.methods.gain import GainSettings

GRADIENT = 1e-4
"""Of a gradient's largest value."""


def matches_gradient(case, key, value):
    case.matches(key, value, atol=GRADIENT * np.abs(case[key]).max())


def settings_of(case, **others):
    return GainSettings(omega=float(case["omega"]), sigma=float(case["sigma"]), **others)


def test_soft_mask(golden):
    for case in golden("gain_mask"):
        maps, image = case.tensor("map").requires_grad_(), case.tensor("image").requires_grad_()
        masked = image - image * gain.soft_mask(maps, settings_of(case))
        case.matches("masked_image", masked)
        (case.tensor("upstream") * masked).sum().backward()
        matches_gradient(case, "grad_map", maps.grad)
        matches_gradient(case, "grad_image", image.grad)


def test_losses_of_given_logits(golden):
    for case in golden("gain_mask"):
        logits_cl, logits_am = (case.tensor(name).requires_grad_() for name in ("logits_cl", "logits_am"))
        classification = cam.bce_loss(logits_cl, case.tensor("label"))
        mining = gain.mining_loss(logits_am, case.tensor("label"))
        total = classification + float(case["alpha"]) * mining
        case.matches("loss_cl", classification)
        case.matches("loss_am", mining)
        case.matches("loss_total", total)
        total.backward()
        matches_gradient(case, "grad_logits_cl", logits_cl.grad)
        matches_gradient(case, "grad_logits_am", logits_am.grad)


class Net:
    """The small network of the cases: two strided convolutions and a linear classifier."""

    def __init__(self, case):
        names = [name for name in case.arrays if name.startswith("param.")]
        self.params = {name.removeprefix("param."): case.tensor(name).requires_grad_() for name in names}
        self.weight, self.bias = (self.params[f"classifier.{part}"] for part in ("weight", "bias"))

    def features(self, images):
        for layer in (0, 2):
            weight, bias = (self.params[f"features.{layer}.{part}"] for part in ("weight", "bias"))
            images = F.conv2d(images, weight, bias, stride=2, padding=1).relu()
        return images

    def logits(self, features):
        return cam.classify(features, self.weight, self.bias)

    def check_gradients(self, case, loss, prefix):
        found = torch.autograd.grad(loss, list(self.params.values()), retain_graph=True)
        for name, gradient in zip(self.params, found, strict=True):
            matches_gradient(case, f"{prefix}.{name}", gradient)


def test_one_map_for_all_labels(golden):
    for case in golden("gain_step"):
        net, image, label = Net(case), case.tensor("image"), case.tensor("label")
        features = net.features(image)
        classification = cam.bce_loss(net.logits(features), label)
        erased = gain.erase(image, features, net.weight, label, settings_of(case, maps_for="image"))
        logits = net.logits(net.features(erased.images))
        mining = gain.mining_loss(logits, erased.targets)
        total = classification + float(case["alpha"]) * mining
        for key, value in (
            ("logits_cl", net.logits(features)), ("map", erased.maps), ("masked_image", erased.images),
            ("logits_am", logits), ("loss_cl", classification), ("loss_am", mining), ("loss_total", total),
        ):  # fmt: skip
            case.matches(key, value)
        net.check_gradients(case, total, "grad")


def test_a_map_for_each_label(golden):
    for case in golden("gain_per_class"):
        net, image, label = Net(case), case.tensor("image"), case.tensor("label")
        features = net.features(image)
        classification = cam.bce_loss(net.logits(features), label)
        erased = gain.erase(image, features, net.weight, label, settings_of(case), align_corners=True)
        logits = net.logits(net.features(erased.images))
        mining = {score: gain.mining_loss(logits, erased.targets, score) for score in ("sigmoid", "softmax", "logit")}
        # The code counts the classification once per class, and takes a softmax.
        of_code = label.sum() * classification + mining["softmax"]
        of_paper = classification + float(case["alpha"]) * mining["sigmoid"]
        for key, value in (
            ("logits_cl", net.logits(features)), ("map", erased.maps), ("mask", erased.masks),
            ("masked_image", erased.images), ("logits_am", logits), ("loss_cl", classification),
            *((f"loss_am_{score}", loss) for score, loss in mining.items()),
            ("loss_total_code", of_code), ("loss_total_paper", of_paper),
        ):  # fmt: skip
            case.matches(key, value)
        net.check_gradients(case, of_code, "grad_code")
        net.check_gradients(case, of_paper, "grad_paper")
