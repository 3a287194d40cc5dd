import numpy as np
import torch

from recam.methods import oaa

GRADIENT = 1e-4
"""Of a gradient's largest value."""


def replay(case, rule, first, last):
    """`stored` and `accumulated` of each pair after each epoch, as the case has them."""
    score, label, pairs = case.tensor("score"), case.tensor("label"), case["pair"].tolist()
    if rule == "caffe":
        flipped = case.tensor("flip").bool()[:, :, None, None, None]
        score = torch.where(flipped, score.flip(-1), score)
    images, classes = zip(*pairs, strict=True)
    stored = torch.zeros(len(pairs), *score.shape[3:], dtype=torch.uint8, device=score.device)
    known = torch.zeros(len(pairs), dtype=torch.bool, device=score.device)
    for epoch in range(len(score)):
        if epoch >= first:
            accepted = oaa.predicted(score[epoch].mean((2, 3)), label)[images, classes]
            if epoch == last:
                accepted |= ~known
            stored, known = oaa.accumulate(stored, known, score[epoch][images, classes], accepted, rule)
        yield epoch, stored.cpu().numpy().astype(int), known.cpu().numpy()


def test_accumulation(golden):
    for case in golden("oaa_accumulate"):
        if "flip" in case.arrays:  # of the Caffe code
            continue
        case.matches("logits", case.tensor("score").mean((3, 4)))
        for epoch, stored, known in replay(case, "maximum", 1, int(case["n_epochs"]) - 1):
            np.testing.assert_array_equal(known, case["stored"][epoch], err_msg=f"{case.name}: {epoch}")
            assert np.abs(stored - case["accumulated"][epoch]).max() <= 1, f"{case.name}: {epoch}"


def test_accumulation_of_the_caffe_code(golden):
    for case in golden("oaa_accumulate_caffe"):
        for epoch, stored, known in replay(case, "caffe", int(case["n_skip"]) // len(case["label"]), None):
            np.testing.assert_array_equal(known, case["stored"][epoch], err_msg=f"{case.name}: {epoch}")
            np.testing.assert_array_equal(stored, case["accumulated"][epoch], err_msg=f"{case.name}: {epoch}")


def matches_loss(case, key, score, target, least):
    score = score.clone().requires_grad_()
    loss = oaa.integral_loss(score, target, least)
    case.matches(key, loss)
    loss.backward()
    grad = key.replace("loss", "grad") if "first" in key else "grad_score"
    case.matches(grad, score.grad, rtol=1e-3, atol=GRADIENT * np.abs(case[grad]).max())


def test_integral_loss(golden):
    for case in golden("oaa_integral_loss"):
        score, target = case.tensor("score"), case.tensor("target")
        matches_loss(case, "loss", score, target, 1e-3)
        matches_loss(case, "loss_first", score[:1], target[:1], 1e-3)
        matches_loss(case, "caffe_loss_first", score[:1], target[:1], 0.0)
        matches_loss(case, "caffe_hard_loss_first", score[:1], (target[:1] > 0).float(), 0.0)
