"""recam: from image labels to segmentation masks."""
