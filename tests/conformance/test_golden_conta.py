import numpy as np
from torch import nn

from recam.methods import conta


def layer(case, name):
    weight = case.tensor(f"param.{name}.weight")
    made = nn.Linear(weight.shape[1], weight.shape[0]).to(weight.device)
    made.load_state_dict({"weight": weight, "bias": case.tensor(f"param.{name}.bias")})
    return made


def test_context(golden):
    for case in golden("conta_context"):
        masks = case.tensor("mask").requires_grad_()
        confounders = case.tensor("dictionary")[1:]
        query, key, classify = (layer(case, name) for name in ("Wy", "Wz", "causal_score"))
        attention = conta.attend(masks, confounders, query, key)
        contexts = conta.context_of(attention, confounders, case.tensor("prior"))
        joint, logits = conta.joint_logits(masks, contexts, classify)
        for name, value in (("attention", attention), ("context", contexts), ("joint", joint), ("logits", logits)):
            case.matches(name, value)
        (logits * case.tensor("probe")).sum().backward()
        found = {"mask": masks, "Wy_weight": query.weight, "Wz_weight": key.weight, "score_weight": classify.weight}
        for name, leaf in found.items():
            key_of = f"grad_{name}"
            case.matches(key_of, leaf.grad, rtol=1e-3, atol=1e-4 * np.abs(case[key_of]).max())
