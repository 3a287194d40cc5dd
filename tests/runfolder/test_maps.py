"""Class maps on disk."""

import numpy as np

from recam.runfolder.maps import read_seed, save_seed
from recam.types import SeedMaps


def test_without_a_background_some_map_exceeds_0_everywhere(tmp_path):
    maps = np.array([[[0.0, 0.001, 0.5]], [[0.0, 0.0015, 0.4]]], np.float32)
    seed = SeedMaps(maps, np.array([0, 1]), (1, 3))
    save_seed(tmp_path / "a.npz", seed, background=False)
    save_seed(tmp_path / "b.npz", seed)
    lifted, plain = (read_seed(tmp_path / name).maps for name in ("a.npz", "b.npz"))
    assert (plain.max(0) > 0).tolist() == [[False, False, True]]
    assert (lifted.max(0) > 0).all()
    assert lifted.argmax(0).tolist() == [[0, 1, 0]]
    assert np.array_equal(lifted[:, :, 2], plain[:, :, 2])
