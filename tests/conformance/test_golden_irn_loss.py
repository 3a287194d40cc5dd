import numpy as np

from recam.labels import IGNORE
from recam.methods import irn


def test_loss_and_gradients(golden):
    for case in golden("irn_loss"):
        edge_logits, displacement = (case.tensor(name).requires_grad_() for name in ("edge_logits", "displacement"))
        # The published code counts the 21 values of VOC; ours ignores 255 alone.
        segmentation = case.put(np.where(case["segmentation"] >= 21, IGNORE, case["segmentation"]))
        loss = irn.irn_loss(edge_logits, displacement, segmentation, float(case["radius"]))
        loss.total.backward()

        case.matches("n_bg_pairs", loss.n_background.detach())
        case.matches("n_fg_pairs", loss.n_foreground.detach())
        case.matches("n_neg_pairs", loss.n_negative.detach())
        case.matches("loss_pos", loss.positive.detach())
        case.matches("loss_neg", loss.negative.detach())
        case.matches("loss_dp_fg", loss.displacement_foreground.detach())
        case.matches("loss_dp_bg", loss.displacement_background.detach())
        case.matches("loss_total", loss.total.detach())
        for name, tensor in (("grad_edge", edge_logits), ("grad_displacement", displacement)):
            # Gradients are small: the general absolute tolerance would let a wrong one pass.
            case.matches(name, tensor.grad, atol=1e-5 * np.abs(case[name]).max())


def test_without_displacement_the_affinity_terms_remain(golden):
    for case in golden("irn_loss"):
        segmentation = case.put(np.where(case["segmentation"] >= 21, IGNORE, case["segmentation"]))
        loss = irn.irn_loss(case.tensor("edge_logits"), None, segmentation, float(case["radius"]))
        assert loss.total.item() == np.float32((loss.positive + loss.negative).item() / 2)
        case.matches("loss_pos", loss.positive)
        case.matches("loss_neg", loss.negative)
