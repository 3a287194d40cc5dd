"""How other programs read shapes, for tests."""

import numpy as np
from pycocotools import mask as coco_mask


def filled(loops, shape):
    encoded = coco_mask.frPyObjects([loop.ravel().astype(float).tolist() for loop in loops], *shape)
    return coco_mask.decode(encoded).sum(2)


def decoded_brush(runs):
    """Label Studio's reader as its documentation tells: a stream of bits, most significant first."""
    bits = "".join(f"{byte:08b}" for byte in runs)
    place = 0

    def take(count):
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    count, width = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values = []
    while len(values) < count:
        repeated = take(1)
        length = take(sizes[take(2)]) + 1
        values += [take(width)] * length if repeated else [take(width) for _ in range(length)]
    return np.array(values, np.uint8)
