"""One paper, one file, read top to bottom: settings, then pure functions on tensors with the equation beside each
step."""
