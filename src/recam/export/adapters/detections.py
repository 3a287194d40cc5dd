"""Predictions as Detections of supervision (https://supervision.roboflow.com), for its annotators and zones."""

from __future__ import annotations

from typing import Any

import numpy as np

from recam.errors import DependencyError
from recam.export.shapes import box_of
from recam.inference.prediction import Prediction


def to_detections(prediction: Prediction) -> Any:
    """A ``supervision.Detections`` with one detection for each class in the mask: all of its pixels.

    Returns:
        ``mask`` (n, H, W) bool; ``xyxy`` (n, 4) the box around it; ``class_id`` (n,) from 0, which is mask value less
        one; ``confidence`` (n,) the probability of the class in the image; ``data["class_name"]`` (n,).

    Raises:
        DependencyError: supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise DependencyError("Detections need supervision: pip install supervision.") from error
    indices = [prediction.classes.index(name) for name in prediction.found]
    if not indices:
        return supervision.Detections.empty()
    masks = np.stack([prediction.mask == 1 + index for index in indices])  # (n, H, W)
    boxes = np.array([box_of(mask) for mask in masks], np.float32)  # (n, 4) left, top, width, height
    return supervision.Detections(
        xyxy=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        mask=masks,
        class_id=np.array(indices),
        confidence=np.array([prediction.probabilities[index] for index in indices], np.float32),
        data={"class_name": np.array(prediction.found)},
    )
