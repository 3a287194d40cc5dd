"""From a trained network to masks of images: one image, files, windows, by PyTorch and by ONNX."""
