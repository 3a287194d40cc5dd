import numpy as np
import torch

from recam.methods import dsrg

GRADIENT = 1e-4
"""Of a gradient's largest value."""


def matches_gradient(case, key, value):
    case.matches(key, value, rtol=1e-3, atol=GRADIENT * np.abs(case[key]).max())


def test_growing(golden):
    for case in golden("dsrg_grow"):
        thresholds = float(case["threshold_foreground"]), float(case["threshold_background"])
        found = dsrg.grow_seeds(case.tensor("probability"), case.tensor("seed"), case.tensor("label"), *thresholds)
        assert (found.cpu().numpy() == case["grown"]).all(), case.name


def gradients(loss, *leaves):
    return torch.autograd.grad(loss, leaves, retain_graph=True)


def test_losses_and_gradients(golden):
    for case in golden("dsrg_loss"):
        logits, seeds = case.tensor("logits").requires_grad_(), case.tensor("seed")
        probability = dsrg.probabilities(logits)
        refined_log = dsrg.raise_least(case.tensor("crf")).log().requires_grad_()
        case.matches("probability", probability)
        case.matches("crf_log", refined_log)
        seed, boundary = dsrg.seed_loss(probability, seeds), dsrg.boundary_loss(probability, refined_log)
        case.matches("loss_seed", seed)
        case.matches("loss_boundary", boundary)
        for key, value in zip(
            ("grad_probability_seed", "grad_logits_seed"), gradients(seed, probability, logits), strict=True
        ):
            matches_gradient(case, key, value)
        for key, value in zip(
            ("grad_probability_boundary", "grad_crf_log", "grad_logits_boundary_fixed"),
            gradients(boundary, probability, refined_log, logits),
            strict=True,
        ):
            matches_gradient(case, key, value)
        through = dsrg.boundary_loss(probability, dsrg.refined_with_gradient(probability, refined_log))
        (found,) = gradients(through, logits)
        matches_gradient(case, "grad_logits_boundary_code", found)
