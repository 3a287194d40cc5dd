import numpy as np
import torch

from recam.training.optim import make_sgd, poly_rates


def test_trajectory_and_rates(golden):
    for case in golden("poly_sgd"):
        first, second = (torch.nn.Parameter(torch.from_numpy(case[name].copy())) for name in ("p0", "q0"))
        groups = [{"params": [first], "lr": float(case["lr0"][0])}, {"params": [second], "lr": float(case["lr0"][1])}]
        # The published optimizer takes its weight decay for momentum as well; the golden trajectory holds that.
        optimizer = make_sgd(groups, momentum=1e-4, weight_decay=float(case["weight_decay"]))
        set_step = poly_rates(optimizer)

        rates, trajectory = [], []
        for step, gradient in enumerate(case["grads"]):
            set_step(step, int(case["max_step"]))
            first.grad, second.grad = torch.from_numpy(gradient).split([len(first), len(second)])
            rates.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            trajectory.append(torch.cat([first, second]).detach().numpy().copy())

        case.matches("learning_rates", rates)
        case.matches("trajectory", np.stack(trajectory))
