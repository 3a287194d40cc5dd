"""Kinds of stages, as of their labels: readers of a run go by these, not by names of stages or methods."""

from __future__ import annotations

CLASSIFIER = "classifier"
"""Its label has ``training`` and ``base``, the training that it starts from or None."""
MAPS, REFINED_MAPS, MAP_SCORES = "maps", "refined maps", "scores of maps"
"""Their labels have ``training`` and ``sets``; those of refined maps and of their scores also ``refiner``."""
MASKS, MASK_SCORES = "masks", "scores of masks"
REFINER_NETWORK = "refiner's network"
SEGMENTER, PREDICTIONS = "segmenter", "predictions"
HELD_OUT = "held-out images"
"""Its label has ``training``; its results have ``named`` by split, and ``held_out``, scored maps."""
THRESHOLD, QUALITY = "threshold", "quality"
PICTURES = "pictures"
AGREEMENTS = "images.json"
"""File of a stage of kind `QUALITY`: by image id, agreement of its mask in [0, 1], the worst first."""
