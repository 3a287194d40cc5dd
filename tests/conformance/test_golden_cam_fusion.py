import numpy as np
import pytest
import torch

from recam.methods import cam, recam


@pytest.mark.parametrize("weighting", recam.WEIGHTINGS)
def test_maps_of_all_scales(golden, weighting):
    for case in golden("cam_fusion"):
        features = [torch.from_numpy(case[f"feature_{index}"]) for index in range(len(case["scales"]))]
        weight = recam.combine_weights(
            torch.from_numpy(case["weight_1"]), torch.from_numpy(case["weight_2"]), weighting
        )
        present = np.flatnonzero(case["label"])
        size = tuple(case["size"].tolist())

        case.matches(f"strided_{weighting}", cam.make_cams(features, weight, present, size))
        # Stored as float16, so that is how finely it can be compared.
        case.matches(
            f"high_res_{weighting}",
            cam.make_cams(features, weight, present, size, "full").numpy().astype(np.float16),
            rtol=1e-3,
        )
