import numpy as np

from recam.methods import irn_walk


def test_walked_maps(golden):
    for case in golden("random_walk"):
        cams, edges = case.tensor("cam"), case.tensor("edge")
        walked = irn_walk.random_walk(
            cams, edges, float(case["radius"]), float(case["beta"]), 2 ** int(case["exp_times"])
        )
        case.matches("walked", walked, rtol=1e-3)


def test_label_maps(golden):
    for case in golden("random_walk"):
        size = tuple(case["size"].tolist())
        labels = irn_walk.walk_to_labels(
            case.tensor("walked"), size, np.arange(len(case["walked"])), float(case["background_threshold"])
        )
        assert labels.shape == size
        assert (labels == case["label_map"]).mean() >= 0.999, case.name
