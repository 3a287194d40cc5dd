import numpy as np
import torch

from recam.methods import seam

GRADIENT = 1e-4
"""Of a gradient's largest value."""


def matches_gradient(case, key, value):
    case.matches(key, value, atol=GRADIENT * np.abs(case[key]).max())


def test_normalisation_and_weakest(golden):
    for case in golden("seam_norm"):
        x = case.tensor("x").requires_grad_()
        stretched = seam.stretch(x)
        case.matches("max_norm", stretched)
        case.matches("max_onehot", seam.keep_largest(stretched))
        (case.tensor("upstream") * stretched).sum().backward()
        matches_gradient(case, "grad_x", x.grad)

        x.grad = None
        weakest = seam.smallest_scores(x)
        case.matches("min_pool", weakest)
        weakest.backward()
        matches_gradient(case, "grad_min_pool", x.grad)


def test_the_other_normalisation_of_the_code_is_that_of_pictures_alone(golden):
    """Its denominator lacks the minimum; ours makes pictures from the maps of a run, which `cam.normalise` made."""
    for case in golden("seam_norm"):
        positive = np.maximum(case["x"], 0)
        low, high = (extreme((2, 3), keepdims=True) for extreme in (positive.min, positive.max))
        picture = (np.where(positive < low + 1e-5, 0, positive) - low - 1e-5) / (high + 1e-5)
        case.matches("max_norm_numpy", picture)


def test_correlation(golden):
    for case in golden("seam_pcm"):
        features = case.tensor("feature").requires_grad_()
        seeds = seam.seed_maps(case.tensor("cam")[:, 1:])
        case.matches("normalised", seeds)
        refined = seam.correlate(seeds, features)
        case.matches("refined", refined)
        (case.tensor("upstream") * refined).sum().backward()
        matches_gradient(case, "grad_feature", features.grad)


class Levels(torch.nn.Module):
    """A backbone of which the levels are known."""

    bands = 3

    def __init__(self, *levels):
        super().__init__()
        self.known = levels

    def levels(self, images):
        return [images, images, *self.known, images]


def test_whole_forward(golden):
    for case in golden("seam_forward"):
        images, score = case.tensor("image"), case.tensor("score")
        levels = case.tensor("conv4"), case.tensor("conv5")
        names = ("weight_f8_3", "weight_f8_4", "weight_f9")
        pcm = seam.PixelCorrelation(Levels(*levels), 3, tuple(len(case[name]) for name in names)).to(images.device)
        layers = [*pcm.levels, pcm.join]
        with torch.no_grad():
            for layer, name in zip(layers, names, strict=True):
                layer.weight.copy_(case.tensor(name)[:, :, None, None])
        refined = seam.resize(pcm(images, levels, score[:, 1:]), images.shape[2:])
        case.matches("cam", seam.resize(score, images.shape[2:]))
        case.matches("cam_rv", refined)
        (case.tensor("upstream") * refined).sum().backward()
        for layer, name in zip(layers, names, strict=True):
            matches_gradient(case, name.replace("weight", "grad"), layer.weight.grad[:, :, 0, 0])


def test_losses(golden):
    for case in golden("seam_loss"):
        tensors = {name: case.tensor(name).requires_grad_() for name in ("cam1", "cam2", "cam_rv1", "cam_rv2")}
        scores = tuple(tensors[name][:, 1:] for name in ("cam1", "cam2"))
        loss = seam.seam_loss(scores, (tensors["cam_rv1"], tensors["cam_rv2"]), case.tensor("label"))
        for view in (0, 1):
            case.matches(f"loss_cls{view + 1}", loss.logistic[view])
            case.matches(f"loss_rvmin{view + 1}", loss.weakest[view])
            case.matches(f"loss_ecr{view + 1}", loss.ecr[view])
        case.matches("loss_cls", loss.classification)
        case.matches("loss_er", loss.er)
        case.matches("loss_total", loss.total)
        loss.total.backward()
        for name, tensor in tensors.items():
            matches_gradient(case, f"grad_{name}", tensor.grad)
