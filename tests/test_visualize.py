import numpy as np
import pytest

from recam.labels import class_colours, voc_palette
from recam.visualize import legend, overlay_heat, overlay_mask, paint_mask, panel

CLASS_ONE = (0xF5, 0x9F, 0x3B)
CREAM = (224, 224, 192)


def plain(height, width, colour=(200, 100, 50)):
    return np.full((height, width, 3), colour, np.uint8)


def holds(image, colour):
    return bool((image == colour).all(axis=-1).any())


def test_painted_masks_have_the_colour_of_each_value():
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    assert paint_mask(mask).tolist() == [[[0, 0, 0], [128, 0, 0]], [[0, 128, 0], [224, 224, 192]]]
    assert paint_mask(mask, 255 - voc_palette())[0, 1].tolist() == [127, 255, 255]


def test_an_overlay_blends_classes_over_grey_and_leaves_background_alone():
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    image = plain(20, 20)
    overlaid = overlay_mask(image, mask, opacity=0.6)
    assert overlaid.dtype == np.uint8
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50  # ITU-R 601
    np.testing.assert_allclose(overlaid[10, 10], 0.4 * grey + 0.6 * np.array(CLASS_ONE), atol=1)
    assert overlaid[5, 5:15].tolist() == [list(CLASS_ONE)] * 10, "the contour lies inside the region, in full colour"
    np.testing.assert_allclose(overlaid[4, 4:16], np.tile(0.3 * np.array([200, 100, 50]) + 0.7 * 255, (12, 1)), atol=1)
    assert (overlaid[:4] == image[:4]).all()
    assert (image == plain(20, 20)).all()


def test_contours_grow_with_the_image_and_do_not_follow_its_frame():
    mask = np.zeros((900, 40), np.uint8)
    mask[:450] = 1
    overlaid = overlay_mask(plain(900, 40), mask)
    contour = (overlaid == CLASS_ONE).all(axis=-1)
    assert np.flatnonzero(contour[:, 20]).tolist() == [447, 448, 449]
    assert not contour[:440].any()


def test_neighbouring_classes_keep_their_colours_at_the_border():
    mask = np.ones((10, 20), np.uint8)
    mask[:, 10:] = 2
    overlaid = overlay_mask(plain(10, 20), mask)
    assert overlaid[5, 9].tolist() == [0xF5, 0x9F, 0x3B]
    assert overlaid[5, 10].tolist() == [0x3F, 0xC1, 0xC9]


def lab(colours):
    """(n, 3) sRGB → (n, 3) CIELAB under D65."""
    linear = colours / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = linear @ np.array(to_xyz).T / (0.95047, 1, 1.08883)
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], 1)


def test_colours_of_twenty_classes_are_bright_and_told_apart():
    white, red = lab(np.array([[255, 255, 255], [255, 0, 0]]))
    np.testing.assert_allclose(white, [100, 0, 0], atol=0.05)
    np.testing.assert_allclose(red, [53.24, 80.09, 67.2], atol=0.05)  # as published
    colours = lab(class_colours()[1:21].astype(float))
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1) + 1000 * np.eye(20)
    assert distances.min() > 20
    assert colours[:, 0].min() > 45
    assert class_colours()[[0, 255]].tolist() == [[0, 0, 0], list(CREAM)]
    assert len(np.unique(class_colours(), axis=0)) > 240  # also of the classes after them


def test_ignore_is_hatched():
    overlaid = overlay_mask(plain(16, 16), np.full((16, 16), 255, np.uint8))
    strong, faint = (np.array([200, 100, 50]) * (1 - a) + np.array(CREAM) * a for a in (0.7, 0.3))
    np.testing.assert_allclose(overlaid[0, :8], [strong] * 2 + [faint] * 6, atol=1)
    np.testing.assert_allclose(overlaid[1, :8], [strong] + [faint] * 6 + [strong], atol=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1)])
def test_the_thinnest_images_can_be_overlaid(size):
    assert overlay_mask(plain(*size), np.ones(size, np.uint8)).shape == (*size, 3)


def test_an_overlay_in_blocks_of_rows_is_that_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (700, 40, 3), np.uint8), np.zeros((700, 40), np.uint8)  # contours of two pixels
    mask[95:205, 5:30], mask[300:401, :20], mask[398:500, 20:] = 1, 255, 2
    whole = overlay_mask(image, mask)
    monkeypatch.setattr("recam.labels.PIXEL_BLOCK", 100 * 40)
    np.testing.assert_array_equal(overlay_mask(image, mask), whole)


def test_an_overlay_refuses_a_mask_of_another_size():
    with pytest.raises(ValueError, match=r"\(4, 6\) cannot carry a mask of \(6, 4\): resize"):
        overlay_mask(plain(4, 6), np.zeros((6, 4), np.uint8))


def test_heat_shows_the_greatest_map_and_the_photo_where_maps_are_low():
    maps = np.zeros((2, 2, 4), np.float32)
    maps[0, :, 0], maps[1, :, 3] = 1, 0.5
    shown = overlay_heat(plain(80, 160, (100, 100, 100)), maps).astype(int)
    high, half, low = shown[40, 0], shown[40, -1], shown[40, 80]
    np.testing.assert_allclose(high, 0.35 * 100 + 0.65 * np.array([0x7A, 0x04, 0x03]), atol=2)
    assert half.argmax() == 1, "the middle of the colour map is green"
    assert low.tolist() == [100, 100, 100]
    assert (overlay_heat(plain(80, 160), maps) == overlay_heat(plain(80, 160), maps[::-1])).all()


def test_heat_takes_float16_and_no_map_at_all():
    image = plain(8, 8)
    assert (
        overlay_heat(image, np.ones((1, 2, 2), np.float16)) == overlay_heat(image, np.ones((1, 2, 2), np.float32))
    ).all()
    red, green, blue = overlay_heat(image, np.zeros((0, 2, 2), np.float32))[0, 0].tolist()
    assert max(red, green, blue) - min(red, green, blue) < 0.3 * (200 - 50), "the photo stays, greyed"


def test_heat_runs_through_the_colours_of_turbo():
    turbo = pytest.importorskip("matplotlib").colormaps["turbo"]
    levels = np.linspace(0.4, 1, 7, dtype=np.float32)  # from 0.4 upward the heat has its full strength
    for level in levels:
        shown = overlay_heat(plain(1, 1, (0, 0, 0)), np.full((1, 1, 1), level))[0, 0]
        np.testing.assert_allclose(shown / 0.65, np.array(turbo(float(level))[:3]) * 255, atol=20)


def test_a_panel_keeps_the_aspect_and_sets_pictures_in_their_columns():
    red, green = plain(50, 100, (255, 0, 0)), plain(100, 50, (0, 255, 0))
    sheet = panel([[red, green]], ["first", "second"], tile=64)
    reds, greens = (np.argwhere((sheet == colour).all(axis=-1)) for colour in ((255, 0, 0), (0, 255, 0)))
    assert (np.ptp(reds, axis=0) + 1).tolist() == [32, 64]
    assert (np.ptp(greens, axis=0) + 1).tolist() == [64, 32]
    assert reds[:, 1].max() < greens[:, 1].min()
    np.testing.assert_allclose(reds[:, 0].mean(), greens[:, 0].mean(), atol=1)
    assert (sheet[[0, -1]] == 255).all()
    assert (sheet[:, [0, -1]] == 255).all()


def test_missing_cells_are_light_grey_and_as_high_as_their_row():
    sheet = panel([[None, plain(50, 100, (255, 0, 0))], [None, None]], ["a", "b"], tile=64)
    grey = (sheet == (236, 236, 236)).all(axis=-1)
    first = np.flatnonzero(grey[:, 64 // 2])
    assert len(first) == 32 + 64
    assert grey.sum() == 32 * 64 + 2 * 64 * 64


def test_captions_stand_below_their_rows_and_are_wrapped():
    picture = plain(64, 64, (255, 0, 0))
    bare, short, long = (
        panel([[picture]], ["a"], captions, tile=64) for captions in (None, ["horse"], ["horse and person " * 4])
    )
    assert bare.shape[0] < short.shape[0] < long.shape[0]
    bottom = np.argwhere((short == (255, 0, 0)).all(axis=-1))[:, 0].max()
    assert (short[bottom + 1 :] < 128).any()
    assert bare.shape[1] == short.shape[1] == long.shape[1]
    assert (long[:, [0, -1]] == 255).all()


def test_titles_wider_than_a_tile_are_wrapped_or_cut():
    picture = plain(64, 64, (255, 0, 0))
    short, wrapped, cut = (
        panel([[picture]], [title], tile=64) for title in ("mask", "mask of the segmenter", "segmentation" * 5)
    )
    assert wrapped.shape[0] > short.shape[0] == cut.shape[0]
    assert (cut[:, :3] == 255).all()
    assert (cut[:, -3:] == 255).all()


@pytest.mark.parametrize("sign", [*"⊗⊕′φ·…", "ж", "ś", "ß"])
def test_signs_of_titles_and_letters_of_names_are_drawn(sign):
    def drawn(text):
        return legend([text], voc_palette()[1:2], width=120)

    assert not np.array_equal(drawn(sign), drawn("\U000f0000"))  # which no font has


def test_a_panel_tells_all_that_does_not_fit():
    picture = plain(4, 4)
    with pytest.raises(
        ValueError, match="2 columns cannot be laid out: row 0 has 1 cells; row 2 has 3 cells; 3 rows have 1 captions"
    ):
        panel([[picture], [picture] * 2, [picture] * 3], ["a", "b"], ["x"])


def test_a_legend_shows_each_colour_in_lines_no_wider_than_asked():
    names, colours = ["background", "cat", "dining table", "potted plant"], voc_palette()[[0, 8, 11, 16]]
    one_line, wrapped = legend(names, colours, width=600), legend(names, colours, width=130)
    assert (one_line.shape[1], wrapped.shape[1]) == (600, 130)
    assert wrapped.shape[0] > one_line.shape[0]
    for image in (one_line, wrapped):
        assert all(holds(image, colour) for colour in colours)
        assert (image[:, -1] == 255).all()


def test_a_legend_cuts_names_wider_than_itself():
    image = legend(["a" * 80], voc_palette()[[1]], width=100)
    assert (image[:, -6:] == 255).all()


def test_a_legend_needs_one_colour_for_each_name():
    with pytest.raises(ValueError, match="2 names cannot share 256 colours"):
        legend(["cat", "dog"], voc_palette())
