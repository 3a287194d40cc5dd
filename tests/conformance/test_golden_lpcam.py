import numpy as np
import torch

from recam.methods.lpcam import (
    Prototypes,
    class_probabilities,
    make_lpcams,
    select_context,
    select_prototypes,
    split_features,
)


def test_maps(golden):
    for case in golden("lpcam_map"):
        features = [case.tensor(f"feature_{scale}") for scale in range(int(case["n_scales"]))]
        prototypes = [Prototypes(case.tensor(f"centers_{key}"), case.tensor(f"context_{key}")) for key in case["keys"]]
        size = tuple(int(side) for side in case["size"])
        case.matches("cam", make_lpcams(features, prototypes, size))
        case.matches("high_res", make_lpcams(features, prototypes, size, "full"))


def test_selection_of_features_and_centres(golden):
    for case in golden("lpcam_select"):
        features, maps, weight = (case.tensor(name) for name in ("feature", "high_res", "weight"))
        inside, outside = [], []
        for class_index in range(len(weight)):
            pairs = zip(*np.nonzero(case["keys"] == class_index), strict=True)
            parts = [
                split_features(features[image], maps[image, place], float(case["select_threshold"]))
                for image, place in pairs
            ]
            inside.append(torch.cat([part[0] for part in parts]))
            outside.append(torch.cat([part[1] for part in parts]))
            for name, chosen in (
                ("center_kept", _prototypes(case, weight, class_index)),
                ("context_kept", _context(case, weight, class_index)),
            ):
                wanted = case[name][class_index].astype(bool)
                if name == "context_kept" or wanted.any():
                    np.testing.assert_array_equal(chosen.cpu().numpy(), wanted, err_msg=f"{case.name}: {name}")
        case.matches("n_selected", [len(part) for part in inside])
        case.matches("n_not_selected", [len(part) for part in outside])
        case.matches("feature_selected", torch.cat(inside))
        case.matches("feature_not_selected", torch.cat(outside))


def _prototypes(case, weight, class_index):
    probability = class_probabilities(case.tensor("cluster_centers")[class_index], weight, class_index)
    return select_prototypes(probability, float(case["class_threshold"]))


def _context(case, weight, class_index):
    probability = class_probabilities(case.tensor("cluster_centers2")[class_index], weight, class_index)
    return select_context(probability, (float(case["context_threshold_low"]), float(case["context_threshold"])))
