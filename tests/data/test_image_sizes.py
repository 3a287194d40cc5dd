import numpy as np

from recam.data.image_sizes import DRAWN, FILES, read_sizes
from recam.data.images import ImageFile, write_png
from recam.types import Sample


class Drawn:
    """An image that is made when it is read."""

    where = "drawn"

    def __init__(self, height, width):
        self.shape = height, width, 3
        self.read_count = 0

    def read(self):
        self.read_count += 1
        return np.zeros(self.shape, np.uint8)


def test_heads_of_files_are_read_and_what_is_no_image_is_passed_over(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((30, 50, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"nothing")
    samples = [Sample(name, (), ImageFile(tmp_path / f"{name}.png")) for name in ("a", "b", "c")]
    found = read_sizes(samples)
    assert found.sizes == ((30, 50),)
    assert [sample.id for sample in found.samples] == ["a"]
    assert (found.long_side, found.longest, found.pixels) == (50, 50, 1500)


def test_few_of_many_are_looked_at_from_the_first_to_the_last():
    samples = [Sample(str(index), (), Drawn(8, 8 + index)) for index in range(100)]
    found = read_sizes(samples)
    assert len(found.sizes) == DRAWN < FILES
    assert sum(sample.image.read_count for sample in samples) == DRAWN
    assert (found.samples[0].id, found.samples[-1].id) == ("0", "99")
    assert found.longest == 107


def test_typical_images_have_the_mean_size_and_number_of_labels():
    sizes, labels = [10, 20, 30, 60], [(0,), (0, 1), (0, 1), ()]
    samples = [Sample(str(n), own, Drawn(10, n)) for n, own in zip(sizes, labels, strict=True)]
    found = read_sizes(samples)  # mean 300 pixels, 5/3 labels of those that have any
    assert [sample.id for sample in found.typical(4)] == ["30", "20", "10", "60"]
    assert [sample.id for sample in found.typical(1)] == ["30"]


def test_nothing_of_no_images():
    found = read_sizes([])
    assert (found.sizes, found.long_side, found.longest, found.pixels, found.typical(3)) == ((), 0, 0, 0.0, [])
