import numpy as np

from recam.evaluation.metrics import ConfusionMatrix
from recam.evaluation.threshold_sweep import ThresholdSweep
from recam.labels import IGNORE
from recam.methods.thresholds import apply_threshold


def truths(case):
    return [np.where(truth < 0, IGNORE, truth).astype(np.uint8) for truth in case["ground_truth"]]


def test_sweep_of_all_thresholds(golden):
    for case in golden("cam_eval"):
        sweep = ThresholdSweep(case["confusion"].shape[1] - 1, case["thresholds"].tolist())
        for index, truth in enumerate(truths(case)):
            sweep.update(case[f"cam_{index}"], case[f"keys_{index}"], truth)

        np.testing.assert_array_equal(sweep.confusion(), case["confusion"], err_msg=case.name)
        case.matches("miou", sweep.best().curve)
        assert sweep.best().threshold == case["thresholds"][case["miou"].argmax()], case.name


def test_masks_of_each_threshold_scored_one_by_one(golden):
    for case in golden("cam_eval"):
        for threshold, confusion, miou in zip(case["thresholds"], case["confusion"], case["miou"], strict=True):
            matrix = ConfusionMatrix(len(confusion) - 1)
            for index, truth in enumerate(truths(case)):
                matrix.update(apply_threshold(case[f"cam_{index}"], case[f"keys_{index}"], float(threshold)), truth)
            np.testing.assert_array_equal(matrix.matrix, confusion, err_msg=f"{case.name} at {threshold}")
            np.testing.assert_allclose(matrix.scores().miou, miou, rtol=1e-4, atol=1e-5)
