import numpy as np
import torch

from recam.methods import cam, sccam
from recam.methods.sccam import ABSENT, ScCamSettings
from recam.methods.thresholds import apply_threshold


def within(case, key, value):
    """As golden/field.md asks: relative to the array's largest value."""
    case.matches(key, value, atol=1e-5 * np.abs(case[key]).max())


def test_sub_classes(golden):
    for case in golden("sccam_labels"):
        k, label = int(case["k"]), case.tensor("label")
        found = sccam.find_sub_classes(case.tensor("feature"), label, k).numpy()
        np.testing.assert_array_equal(found == ABSENT, case["label"] == 0, err_msg=case.name)
        for class_index in range(label.shape[1]):
            members = case["label"][:, class_index] > 0
            pairs = {*zip(found[members, class_index], case["assignment"][members, class_index], strict=True)}
            clusters = set(case["assignment"][members, class_index])
            assert len(pairs) == len(clusters), f"{case.name}: another partition of class {class_index}"
        given = torch.from_numpy(case["assignment"]).long()
        np.testing.assert_array_equal(sccam.sub_labels(given, k).numpy(), case["sub_label"], err_msg=case.name)


def test_inertia_and_order_of_the_code(golden):
    """The code writes images by their lowest class; ours need no order."""
    for case in golden("sccam_labels"):
        found = sccam.find_sub_classes(case.tensor("feature"), case.tensor("label"), int(case["k"])).numpy()
        for class_index, expected in enumerate(case["inertia"]):
            members = case["label"][:, class_index] > 0
            features, own = case["feature"][members].astype(np.float64), found[members, class_index]
            apart = [((part - part.mean(0)) ** 2).sum() for part in (features[own == each] for each in set(own))]
            np.testing.assert_allclose(sum(apart), expected, rtol=1e-4, err_msg=case.name)
        lowest = np.where(case["label"] > 0, np.arange(case["label"].shape[1]), 99).min(1)
        np.testing.assert_array_equal(np.argsort(lowest, kind="stable"), case["order"], err_msg=case.name)


def test_loss_and_gradients(golden):
    for case in golden("sccam_loss"):
        tensors = [case.tensor(name).requires_grad_() for name in ("feature", "weight_parent", "weight_sub")]
        settings = ScCamSettings(int(case["k"]), float(case["sub_weight"]))
        loss = sccam.sccam_loss(*tensors, case.tensor("label"), case.tensor("sub_label"), settings)
        within(case, "feature_vector", tensors[0].mean((2, 3)))
        within(case, "logits_parent", cam.classify(tensors[0], tensors[1]))
        sub_logits = cam.classify(tensors[0], tensors[2])
        within(case, "logits_sub", sub_logits)
        within(case, "loss_parent", loss.classes)
        within(case, "loss_sub", loss.sub_classes)
        within(case, "loss_total", loss.total)
        loss.total.backward()
        for name, tensor in zip(("feature", "weight_parent", "weight_sub"), tensors, strict=True):
            within(case, f"grad_{name}", tensor.grad)
        # What the code prints of sub-classes while it trains; nothing depends on it.
        scores = sub_logits.detach().sigmoid().view(len(sub_logits), -1, settings.sub_classes).cpu().numpy()
        np.testing.assert_array_equal(scores.sum(2) / 10 > 0.05, case["parent_by_sum"] > 0, err_msg=case.name)
        np.testing.assert_array_equal((scores > 0.5).any(2), case["parent_by_any"] > 0, err_msg=case.name)


def test_maps(golden):
    for case in golden("sccam_cam"):
        size = tuple(int(side) for side in case["size"])
        views = [case.tensor(f"feature_{index}") for index in range(int(case["n_views"]))]
        pairs = [torch.stack(pair) for pair in zip(views[::2], views[1::2], strict=True)]
        keys = case["keys"].tolist()
        weight = case.tensor("weight_parent")
        fused = cam.fuse_views([cam.class_maps(pair, weight[keys]) for pair in pairs], size)
        parents = cam.normalise(fused)
        subs = sccam.sub_class_cams(pairs, case.tensor("weight_sub"), keys, int(case["k"]), size)
        within(case, "parent_cam", parents)
        within(case, "sub_cam", subs)
        threshold = float(case["threshold"])
        for maps, key in ((parents, "parent_label_map"), (subs, "sub_label_map")):
            mask = apply_threshold(maps.cpu().numpy(), np.array(keys), threshold)
            assert (mask == case[key]).mean() >= 0.999, f"{case.name}: {key}"
