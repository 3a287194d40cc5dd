import numpy as np
import pytest

from recam.methods.crf import confident_labels


def test_confident_labels(golden):
    pytest.importorskip("pydensecrf", reason="the dense CRF needs pydensecrf2: pip install 'recam[crf]'")
    for case in golden("confident_label"):
        thresholds = float(case["foreground_threshold"]), float(case["background_threshold"])
        labels = confident_labels(case["image"], case["cam"], case["keys"], *thresholds)

        assert labels.dtype == np.uint8
        equal = (labels == case["confident"]).mean()
        assert equal >= 0.99, f"{case.name}: {100 * equal:.2f} % of the pixels are equal"
