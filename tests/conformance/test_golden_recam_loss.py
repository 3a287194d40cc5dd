import numpy as np

from recam.methods import cam, recam


def test_loss_and_gradients(golden):
    for case in golden("recam_loss"):
        features, weight_1, weight_2 = (
            case.tensor(name).requires_grad_() for name in ("feature", "weight_1", "weight_2")
        )
        loss = recam.reactivation_loss(features, weight_1, weight_2, case.tensor("label"), float(case["sce_weight"]))
        loss.total.backward()

        case.matches("logits", loss.logits.detach())
        case.matches("loss_bce", loss.bce.detach())
        case.matches("loss_sce", loss.sce.detach())
        case.matches("loss_total", loss.total.detach())
        case.matches("accuracy", loss.accuracy)
        for name, tensor in (("grad_feature", features), ("grad_weight_1", weight_1), ("grad_weight_2", weight_2)):
            # Gradients are small: the general absolute tolerance would let a wrong one pass.
            case.matches(name, tensor.grad, atol=1e-5 * np.abs(case[name]).max())


def test_masks_and_masked_features_of_every_class(golden):
    for case in golden("recam_loss"):
        features, weight_1 = case.tensor("feature"), case.tensor("weight_1")
        masks = recam.soft_masks(cam.class_maps(features, weight_1))
        case.matches("soft_mask", masks)
        case.matches("masked_feature", recam.masked_features(features, masks))
