import numpy as np
import pytest

from recam.methods import cam, recam


@pytest.mark.parametrize("weighting", recam.WEIGHTINGS)
def test_maps_of_all_scales(golden, weighting):
    for case in golden("cam_fusion"):
        features = [case.tensor(f"feature_{index}") for index in range(len(case["scales"]))]
        weight = recam.combine_weights(case.tensor("weight_1"), case.tensor("weight_2"), weighting)
        present = np.flatnonzero(case["label"])
        size = tuple(case["size"].tolist())

        case.matches(f"strided_{weighting}", cam.make_cams(features, weight, present, size))
        # Stored as float16, so that is how finely it can be compared.
        case.matches(
            f"high_res_{weighting}",
            cam.make_cams(features, weight, present, size, "full").cpu().numpy().astype(np.float16),
            rtol=1e-3,
        )
