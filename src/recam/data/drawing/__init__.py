"""How the built-in pictures are drawn: a plan of the scene first, then grounds, distractors and figures, back to front."""
