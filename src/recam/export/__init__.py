"""What a run has made, for other programs: networks as ONNX with their cards, masks in the formats of other tools."""
