"""GRCN, plain and distilled, against the authors' released code."""

import golden_files as golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_files import on_each_device as on_each_device
from scipy.sparse import csr_array

from sgfd import distill, release
from sgfd.backbones import GRCN, Batch

MODALITIES = {"v": "V", "t": "T"}  # image first, as the release fuses them
# Which of ours makes each of the release's settings.
VARIANTS = {
    "default": {},
    "pruning": {"prune": True},
    "act": {"message_activation": F.leaky_relu},
    "weight_mean": {"confidence": False, "pool": torch.mean},
    "weight_max": {"confidence": False},
    "routing0": {},
}


def build(file: dict, pairs: torch.Tensor, **options) -> GRCN:
    users, items = pairs.cpu().numpy()
    shape = (file["n_users"], file["n_items"])
    interactions = csr_array((np.ones(len(users)), (users, items)), shape=shape)
    features = {m: file[key] for m, key in MODALITIES.items()}
    # The release's routing never reaches the users: none at all computes the same.
    options = {"num_routings": 0, "prune": False, "reg_weight": file["reg_weight"]} | options
    return GRCN(interactions, features, dim=16, **options).double()


def split_parameters(model: GRCN, values: dict) -> dict:
    """The release's tables of users above items, each as two of ours."""
    n = model.num_users
    both = {
        "id_gcn.id_embedding": ("user_embedding.weight", "item_embedding.weight"),
        "model_specific_conf": ("user_confidence", "item_confidence"),
    }
    for theirs, (users, items) in both.items():
        if theirs in values:
            values[users], values[items] = values[theirs][:n], values[theirs][n:]
            del values[theirs]
    return values


def parameters_of(model: GRCN, extractors: dict) -> dict:
    own = {"user_embedding": model.user_embedding, "item_embedding": model.item_embedding}
    parameters = golden.parameters_of(own | extractors)
    for m in MODALITIES:
        parameters[f"{m}_gcn.preference"] = model.preferences[m].weight
    if model.user_confidence is not None:
        parameters["user_confidence"] = model.user_confidence
        parameters["item_confidence"] = model.item_confidence
    return parameters


def assert_attention(model: GRCN, file: dict, pairs: torch.Tensor) -> None:
    """The release's edges come in its own order: first user to item, then item to user."""
    ours = torch.stack([model.graph.edge_users, model.graph.edge_items]).T.tolist()
    place = {tuple(edge): e for e, edge in enumerate(ours)}
    order = torch.tensor([place[tuple(edge)] for edge in pairs.T.tolist()])
    for content, m in zip(model.contents(), MODALITIES, strict=True):
        golden.close(torch.cat([content.users, content.items]), file[f"{m}_rep"])
        attention = torch.cat([content.to_items[order], content.to_users[order]])
        # The release divides by the sum plus 1e-16, which float64 does not see.
        golden.close(attention, file[f"{m}_alpha"])


@pytest.fixture(autouse=True)
def float64_graph():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_distilled_grcn_equals_the_release(variant):
    file = golden.load(f"grcn_sgfd_{variant}")
    n = file["n_users"]
    pairs = torch.stack([file["edge_user"], file["edge_item_plus_num_user"] - n])
    features = {m: file[key] for m, key in MODALITIES.items()}
    preset = release.settings(
        {m: x.shape[1] for m, x in features.items()},
        7,
        out_features=16,
        weights=release.Weights(file["ce_weight"], file["kd_weight"], file["t"]),
        activation=F.leaky_relu if file["has_act"] else None,
    )
    model = distill(
        build(file, pairs, **VARIANTS[variant]),
        features,
        file["label"],
        teacher=preset.teacher,
        student=preset.student,
        loss=preset.loss,
    )
    modules = {}
    for m in MODALITIES:
        parts = golden.extractor(model.teacher, model.student(m), m)
        modules |= {f"{m}_gcn.feature_extractor_model.{k}": v for k, v in parts.items()}
    parts = golden.fusion(model.teacher)
    modules |= {f"feature_fusion_model.{name}": module for name, module in parts.items()}
    parameters = parameters_of(model.backbone, modules)
    values = split_parameters(model.backbone, golden.prefixed(file, "param."))
    if model.user_confidence is None:
        del values["user_confidence"], values["item_confidence"]
        assert file["grad_none"] == 1
    golden.assign(parameters, values)
    assert len(parameters) == len(list(model.parameters()))

    users, items = file["batch_user"], file["batch_item"] - n
    assert torch.equal(users[:, 0], users[:, 1])
    batch = Batch(users[:, 0], items[:, 0], items[:, 1:])
    loss, terms = model.loss_and_terms(batch)
    golden.close(loss, file["out.loss"])
    golden.close(terms.total, file["out.extra_feature_loss"] - file["out.bpr_loss"])
    golden.close(terms.fusion + terms.classification, file["fusion_plus_class_loss"])
    golden.close(terms.response + terms.feature, file["kd_plus_feature_loss"])
    for term, name in (
        (terms.classification, "class_loss"),
        (terms.response, "kd_loss"),
        (terms.feature, "feature_loss"),
    ):
        golden.close(term, (file[f"v_{name}"] + file[f"t_{name}"]) / 2)
    regularized = file["reg_weight"] * file["out.reg_embedding_plus_content"]
    golden.close(model.backbone(batch) - regularized, file["out.bpr_loss"])
    loss.backward()
    gradients = split_parameters(model.backbone, golden.prefixed(file, "grad."))
    golden.assert_gradients(parameters, gradients)
    golden.close(torch.cat(model.representations()), file["result"])
    assert_attention(model.backbone, file, pairs)
    for m in MODALITIES:
        read = model.student(m)(features[m])
        golden.close(F.leaky_relu(read), file[f"{m}_transfer_feature"])


def test_plain_grcn_equals_the_release():
    file = golden.load("grcn_vanilla")
    model = build(file, file["train_pairs"].T, prune=True)
    modules = {f"{m}_gcn.MLP": layer for m, layer in model.projections.items()}
    parameters = parameters_of(model, modules)
    golden.assign(parameters, split_parameters(model, golden.prefixed(file, "param.")))
    batch = Batch(file["batch_user"], file["batch_pos"], file["batch_neg"][:, None])
    # That code also shrinks the whole table of the first modality, and of no other.
    extra = file["reg_weight"] * model.preferences["v"].weight.square().mean()
    loss = model(batch) + extra
    golden.close(loss, file["loss"])
    loss.backward()
    gradients = split_parameters(model, golden.prefixed(file, "grad."))
    golden.assert_gradients(parameters, gradients)
    golden.close(torch.cat(model.representations()), file["result"])
    golden.close(model.scores(torch.arange(model.num_users)), file["scores"])
