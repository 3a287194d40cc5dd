"""A CLIP that is as small as it goes, with random weights, in a folder as open_clip publishes them."""

import json

import pytest
import torch
from safetensors.torch import save_file

MODEL = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


def write_clip(folder):
    """The folder, and open_clip's model."""
    pytest.importorskip("open_clip", reason="CLIP needs open_clip: pip install 'recam[clip]'")
    from open_clip.model import CLIP

    torch.manual_seed(0)
    model = CLIP(**MODEL).eval()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL}), encoding="utf-8")
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder, model
