"""Whether published weights can be had: they lie in the cache of downloads, or the site that keeps them answers.

Clients of that site try again and again for a minute before they give up; here a person knows within two seconds.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from functools import cache
from ssl import SSLError
from typing import Any

import timm
from huggingface_hub import constants, try_to_load_from_cache

SECONDS = 1.5
"""To wait for an answer; looking up a host name may take longer, and its thread is left to end by itself."""
FILES = ("model.safetensors", "pytorch_model.bin")


@cache
def site_answers() -> bool:
    """Whether the site answers at all; tried once per process."""
    if constants.HF_HUB_OFFLINE:
        return False
    found: list[bool] = []
    request = threading.Thread(target=lambda: found.append(_responds(constants.ENDPOINT)), daemon=True)
    request.start()
    request.join(SECONDS + 0.4)
    return any(found)


def has_weights(name: str) -> bool:
    """Whether ImageNet weights of a timm model, or of an encoder of segmentation-models-pytorch, are in the cache."""
    repository, revision = _repository(name)
    if not repository:
        return False
    return any(isinstance(try_to_load_from_cache(repository, file, revision=revision), str) for file in FILES)


def can_download(name: str) -> bool:
    """Whether these weights can be had: from the cache or from the site."""
    return has_weights(name) or site_answers()


def _repository(name: str) -> tuple[str, str | None]:
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is not None:
        return str(config.hf_hub_id or ""), None
    from segmentation_models_pytorch.encoders import encoders

    settings: Any = (encoders.get(name) or {}).get("pretrained_settings", {}).get("imagenet", {})
    return str(settings.get("repo_id", "")), settings.get("revision")


def _responds(address: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS):
            return True
    except urllib.error.HTTPError:  # an answer
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, SSLError)  # it is there; whether it is trusted is up to the client
    except (OSError, ValueError):
        return False
