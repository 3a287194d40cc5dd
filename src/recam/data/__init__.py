"""Data sets: catalogs, decoding, augmentation, loading, and the check that runs before everything else."""
