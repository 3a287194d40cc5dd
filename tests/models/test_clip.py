"""CLIP's towers against open_clip's own outputs, on random weights."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clip_inputs import MODEL, write_clip
from recam.errors import RecamError, WeightsError
from recam.methods.clip_es import grad_cam, score_texts
from recam.models.clip import CONFIG, clip_problems, load_clip, place


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder, model = write_clip(tmp_path_factory.mktemp("clip"))
    return load_clip(folder), model


def test_both_towers_are_those_of_open_clip(both):
    clip, model = both
    view = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = clip.read(view, last=2)
    tokens = model.visual.transformer(model.visual._embeds(view))
    expected = model.visual.ln_post(tokens)[0, 1:].mean(0) @ model.visual.proj
    torch.testing.assert_close(found.embedding, expected, rtol=1e-4, atol=1e-5)
    assert found.grid == (2, 2)
    torch.testing.assert_close(found.attention.sum(1), torch.ones(5))
    texts = ["a clean origami cat.", "a clean origami person with clothes,people,human."]
    from open_clip.tokenizer import SimpleTokenizer

    with torch.no_grad():
        expected = F.normalize(model.encode_text(SimpleTokenizer()(texts)), dim=1)
    torch.testing.assert_close(clip.embed_texts(texts), expected)


def test_any_size_is_read_in_whole_patches(both):
    clip, _ = both
    view = clip.as_view(np.zeros((40, 56, 3), np.uint8))
    assert view.shape == (1, 3, 48, 64)
    assert view[0, 0, 0, 0] == pytest.approx(-0.48145466 / 0.26862954)
    found = clip.read(view, last=3)
    assert found.grid == (3, 4)
    scores = score_texts(found.embedding, clip.embed_texts(["a cat", "a dog", "sky"]), clip.scale)
    maps = grad_cam(found.tokens, scores, 2, found.grid)
    assert maps.shape == (2, 3, 4)
    assert maps.isfinite().all()
    assert maps.max() > 0.9


def test_positions_keep_their_corners_apart():
    positions = torch.tensor([[9.0], [0.0], [1.0], [2.0], [3.0]])
    assert place(positions, (2, 2), (2, 2)) is positions
    moved = place(positions, (2, 2), (2, 4))
    assert moved.ravel().tolist() == [9, 0, 0.25, 0.75, 1, 2, 2.25, 2.75, 3]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[", "is no config of open_clip"),
        ("{}", "is no config of open_clip"),
        (json.dumps({"model_cfg": {"vision_cfg": 1, "text_cfg": {}}}), "vision_cfg and text_cfg are no objects"),
    ],
)
def test_configs_that_are_none(tmp_path, content, expected):
    pytest.importorskip("open_clip")
    assert "has no open_clip_config.json and no open_clip_model.safetensors" in clip_problems(str(tmp_path))[0]
    folder, _ = write_clip(tmp_path / "clip")
    (folder / CONFIG).write_text(content, encoding="utf-8")
    assert expected in clip_problems(str(folder))[0]
    with pytest.raises(RecamError, match=expected):
        load_clip(folder)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"vision_cfg": {**MODEL["vision_cfg"], "timm_model_name": "resnet50"}}, "timm_model_name: only plain ViTs"),
        ({"vision_cfg": {**MODEL["vision_cfg"], "layers": [1, 1, 1, 1]}}, "layers that are no number"),
        ({"speed": 3}, "open_clip makes no model of it"),
        ({"embed_dim": 16}, "does not fit open_clip_config.json"),
    ],
)
def test_models_that_are_not_read(tmp_path, changed, expected):
    folder, _ = write_clip(tmp_path / "clip")
    (folder / CONFIG).write_text(json.dumps({"model_cfg": MODEL | changed}), encoding="utf-8")
    with pytest.raises(WeightsError, match=expected):
        load_clip(folder)
