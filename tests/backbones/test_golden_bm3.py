"""BM3, plain and distilled, against the authors' released code."""

import golden_files as golden
import numpy as np
import pytest
import torch
from golden_files import on_each_device as on_each_device
from scipy.sparse import csr_array

from sgfd import distill, release
from sgfd.backbones import BM3, Batch
from sgfd.graph import propagate

MODALITIES = {"t": "T", "v": "V"}  # text first, as the release fuses them


def build(file: dict, **options) -> BM3:
    users, items = file["train_pairs"].T.cpu().numpy()
    shape = (file["n_users"], file["n_items"])
    interactions = csr_array((np.ones(len(users)), (users, items)), shape=shape)
    features = {m: file[key] for m, key in MODALITIES.items()}
    return BM3(
        interactions,
        features,
        dim=16,
        num_layers=file["n_layers"],
        dropout=file["dropout"],
        reg_weight=file["reg_weight"],
        cl_weight=file["cl_weight"],
        **options,
    ).double()


def backbone_modules(model: BM3) -> dict:
    return {
        "user_embedding": model.user_embedding,
        "item_id_embedding": model.item_embedding,
        "predictor": model.predictor,
    }


def batch_of(file: dict) -> Batch:
    no_negatives = torch.empty(len(file["batch_users"]), 0, dtype=torch.int64)
    return Batch(file["batch_users"], file["batch_items"], no_negatives)


def assert_representations_and_scores(model: BM3, file: dict) -> None:
    users, items = model.representations()
    golden.close(users, file["forward_user"])
    golden.close(items, file["forward_item"])
    norms = users.norm() + items.norm()
    golden.close(norms / model.num_items, file["reg_loss"])
    golden.close(model.scores(torch.arange(model.num_users)), file["scores"])


@pytest.fixture(autouse=True)
def float64_graph():
    # The graph's weights take the default dtype, which 1e-10 needs to be float64.
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("layers", [1, 2])
def test_plain_bm3_equals_the_release(layers):
    file = golden.load(f"bm3_vanilla_L{layers}")
    model = build(file, train_features=True)
    names = {"text": "t", "image": "v"}
    modules = backbone_modules(model)
    modules |= {f"{name}_trs": model.projections[m] for name, m in names.items()}
    parameters = golden.parameters_of(modules)
    for name, m in names.items():
        parameters[f"{name}_embedding.weight"] = model.features[m].values
    golden.assign(parameters, golden.prefixed(file, "param."))

    loss = model(batch_of(file))
    golden.close(loss, file["loss"])
    loss.backward()
    golden.assert_gradients(parameters, golden.prefixed(file, "grad."))
    assert_representations_and_scores(model, file)


@pytest.mark.parametrize("layers", [1, 2])
def test_distilled_bm3_equals_the_release(layers):
    file = golden.load(f"bm3_sgfd_L{layers}")
    features = {m: file[key] for m, key in MODALITIES.items()}
    preset = release.settings(
        {m: x.shape[1] for m, x in features.items()},
        7,
        out_features=16,
        weights=release.Weights(file["ce_weight"], file["kd_weight"], file["t"]),
    )
    model = distill(
        build(file),
        features,
        file["label"],
        teacher=preset.teacher,
        student=preset.student,
        loss=preset.loss,
    )
    modules = backbone_modules(model.backbone)
    for m in MODALITIES:
        parts = golden.extractor(model.teacher, model.student(m), m)
        modules |= {f"{m}_feature_extractor.{name}": module for name, module in parts.items()}
    parts = golden.fusion(model.teacher)
    modules |= {f"feature_fusion_model.{name}": module for name, module in parts.items()}
    parameters = golden.parameters_of(modules)
    golden.assign(parameters, golden.prefixed(file, "param."))
    assert len(parameters) == len(list(model.parameters()))

    loss, terms = model.loss_and_terms(batch_of(file))
    golden.close(loss, file["loss"])
    golden.close(terms.fusion, file["fusion_loss"])
    for term, name in (
        (terms.classification, "class_loss"),
        (terms.response, "kd_loss"),
        (terms.feature, "feature_loss"),
    ):
        golden.close(term, (file[f"t_{name}"] + file[f"v_{name}"]) / 2)
    loss.backward()
    golden.assert_gradients(parameters, golden.prefixed(file, "grad."))
    assert_representations_and_scores(model.backbone, file)


def test_propagation_equals_the_dense_product():
    file = golden.load("bm3_vanilla_L2")
    model = build(file)
    users = torch.randn(model.num_users, 5)
    items = torch.randn(model.num_items, 5)
    expected = file["norm_adj_dense"] @ torch.cat([users, items])
    got = torch.cat(propagate(model.graph, users, items))
    golden.close(got, expected)
