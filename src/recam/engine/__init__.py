"""What a stage is, what it works with, and the runner."""
