import torch.nn.functional as F

from recam.methods.advcam import AdvCamSettings, climb


def features_of(case):
    """The small network of the case: two strided convolutions."""
    layers = [[case.tensor(f"param.{stage}.0.{part}") for part in ("weight", "bias")] for stage in ("stage1", "stage4")]

    def features(images):
        for weight, bias in layers:
            images = F.conv2d(images, weight, bias, stride=2, padding=1).relu()
        return images

    return features


def test_every_step(golden):
    for case in golden("advcam"):
        settings = AdvCamSettings(
            steps=len(case["objective"]),
            step_size=float(case["step_size"]),
            mu=float(case["mu"]),
            mask_threshold=float(case["mask_threshold"]),
        )
        pairs = case.tensor("image_pair")[None]
        result = climb(
            features_of(case), pairs, [int(case["target"])], case.tensor("param.classifier.weight"), settings
        )

        case.matches("cam_per_step", result.cam_per_step[:, 0])
        case.matches("cam_sum", result.cam_sum[0])
        case.matches("objective", result.objective[:, 0])
        case.matches("final_image", result.final_images[0])
