"""Training: one loop over Accelerate, optimizers and schedules, checkpoints."""
