import numpy as np
import torch
import torch.nn.functional as F

from recam.methods.rib import RibSettings, gndrp, learn, make_rib_maps, rib_loss, weights_kept

STRIDES = {"stage1": 2, "stage2": 2, "stage3": 1, "stage4": 1}
REASONS = {0: "", 1: "score", 2: "spread"}


def near(case, key, value, rtol=1e-4):
    """Within the tolerances of this family: relative to the array's largest value."""
    case.matches(key, value, rtol=rtol, atol=1e-5 * max(np.abs(case[key]).max(), 1e-12))


def test_pooling_loss_and_gradient(golden):
    for case in golden("rib_loss"):
        maps, labels = case.tensor("cam").requires_grad_(), case.tensor("label").float()
        pooled = gndrp(maps, labels, float(case["threshold"]))
        loss, target = rib_loss(pooled, labels, int(case["n_target"]))
        loss.backward()
        near(case, "pooled", pooled)
        near(case, "pooled_gap", maps.mean((2, 3)))
        near(case, "loss", loss)
        near(case, "target_loss", target)
        near(case, "grad_cam", maps.grad)


def network(case):
    """Its parameters by the names in the case, and its signed maps; the first two stages get no gradient."""
    names = [name.removeprefix("param.") for name in case.arrays if name.startswith("param.")]
    parameters = {name: case.tensor(f"param.{name}").requires_grad_("stage1" not in name and "stage2" not in name)
                  for name in names}  # fmt: skip

    def maps_of(images):
        for stage, stride in STRIDES.items():
            weight, bias = (parameters[f"{stage}.0.{part}"] for part in ("weight", "bias"))
            images = F.conv2d(images, weight, bias, stride=stride, padding=1).relu()
        return F.conv2d(images, parameters["classifier.weight"])

    return parameters, maps_of


def settings_of(case):
    decay = float(case["weight_decay"])
    return RibSettings(
        steps=int(case["max_step"]), lr=float(case["lr"]), weight_decay=decay, momentum=decay,
        threshold=float(case["threshold"]), stop_score=float(case["stop_threshold"]),
        spread_threshold=float(case["explode_threshold"]), spread_share=float(case["explode_ratio"]),
    )  # fmt: skip


def test_every_step_and_weights_that_are_put_back(golden):
    for case in golden("rib_process"):
        parameters, maps_of = network(case)
        settings, labels = settings_of(case), case["label"]
        learned = [value for value in parameters.values() if value.requires_grad]
        head = parameters["classifier.weight"]
        groups = [{"params": [each for each in learned if each is not head], "lr": settings.lr},
                  {"params": [head], "lr": 10 * settings.lr}]  # fmt: skip
        images = [case.tensor(f"image_{scale}") for scale in range(4)]
        pairs = [torch.stack([image, image.flip(-1)]) for image in images]
        others, their = case.tensor("others"), case.tensor("others_label").float()

        with weights_kept(learned):
            result = learn(
                maps_of, groups, pairs, (1.0, 0.5, 1.5, 2.0), np.flatnonzero(labels), len(labels),
                lambda step, others=others, their=their: (others[step % len(others)], their[step % len(their)]),
                settings,
            )  # fmt: skip
            for name, value in parameters.items():
                near(case, f"final_param.{name}", value)
        for name, value in parameters.items():
            np.testing.assert_array_equal(value.detach().cpu(), case[f"param.{name}"])

        assert len(result.maps) == int(case["n_steps_entered"])
        assert result.stopped == REASONS[int(case["stop_reason"])]
        near(case, "logits", torch.stack(result.logits))
        near(case, "loss", np.array(result.losses, np.float32))
        near(case, "target_loss", np.array(result.target_scores, np.float32))
        size = tuple(int(side) for side in case["size"])
        for scale in range(4):
            steps = [step[scale] for step in result.maps if len(step) > scale]
            near(case, f"map_per_step_{scale}", torch.stack(steps))
            near(case, f"map_sum_{scale}", result.sums[scale])
        near(case, "strided_cam", make_rib_maps(result.sums, size))
        near(case, "high_res", make_rib_maps(result.sums, size, "full"))
