import numpy as np

from recam.methods import nsrom, oaa
from recam.methods.edam import check_saliency

GRADIENT = 1e-4
"""Of a gradient's largest value."""


def matches_gradient(case, key, value):
    case.matches(key, value.reshape(case[key].shape), rtol=1e-3, atol=GRADIENT * np.abs(case[key]).max())


def graph_of(case):
    state = {name.removeprefix("param."): case.tensor(name) for name in case.arrays if name.startswith("param.")}
    ours = {"conv_state": "state", "conv_proj": "project", "gcn.conv1": "between", "gcn.conv2": "within"}
    ours |= {"conv_extend": "extend", "blocker": "norm"}
    nodes, channels = state["conv_proj.weight"].shape[:2]
    graph = nsrom.GraphReasoning(type("Features", (), {"channels": channels}), 1, nodes=nodes)
    named = {}
    for name, value in state.items():
        layer, _, part = name.rpartition(".")
        named[f"{ours[layer]}.{part}"] = value[..., 0] if "gcn" in layer and part == "weight" else value
    graph.load_state_dict(named, strict=False)
    assert {name for name, _ in graph.named_parameters()} <= set(named)
    return graph.to(case.tensor("feature").device)


def test_graph_reasoning(golden):
    for case in golden("nsrom_glore"):
        graph, features = graph_of(case), case.tensor("feature").requires_grad_()
        output = graph.eval()(features)
        case.matches("output_eval", output)
        (output * case.tensor("probe")).sum().backward()
        matches_gradient(case, "grad_feature", features.grad)
        matches_gradient(case, "grad_node_weight", graph.between.weight.grad)
        matches_gradient(case, "grad_state_weight", graph.within.weight.grad)
        matches_gradient(case, "grad_proj_weight", graph.project.weight.grad)
        case.matches("output_train", graph.train()(features))


def test_integral_loss(golden):
    for case in golden("nsrom_iam_loss"):
        logits = case.tensor("logits").requires_grad_()
        loss = oaa.integral_loss(logits, case.tensor("attention").float() / 255, 0.0)
        case.matches("loss", loss)
        loss.backward()
        matches_gradient(case, "grad_logits", logits.grad)


def images_of(case, *names):
    for index in range(int(case["n_images"])):
        grey = case[f"saliency_{index}"].astype(np.float32) / np.float32(255)
        check_saliency(grey, grey.shape)
        yield index, case[f"keys_{index}"], grey, *(case[f"{name}_{index}"] for name in names)


def test_potential_objects(golden):
    for case in golden("nsrom_pom"):
        for index, keys, saliency, maps, first in images_of(case, "attention", "attention_last"):
            cams, firsts = (each.astype(np.float32) / np.float32(255) for each in (maps, first))
            mask = nsrom.potential_mask(cams, firsts, keys, saliency)
            assert (mask == case[f"label_{index}"]).mean() >= 0.999, f"{case.name}: {index}"


def test_second_round(golden):
    for case in golden("nsrom_mask"):
        for index, keys, saliency, prediction, pseudo in images_of(case, "prediction", "pseudo_label"):
            mask = nsrom.second_round_mask(prediction, pseudo, saliency, len(keys))
            assert (mask == case[f"masked_{index}"]).mean() >= 0.999, f"{case.name}: {index}"
