"""MAML and its distillation, put together as the authors' released code has them.

The release shares one head among the modalities, overwrites the visual term of response
distillation by the textual one, adds vectors of 40 rows to scalars, takes the sum of the result,
and lets the optimizer see two tables only. That composition is written out here, from the public
parts; ``MAML`` and ``distill`` have no options for it.
"""

from types import SimpleNamespace

import golden_files as golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_files import on_each_device as on_each_device
from scipy.sparse import csr_array
from torch import nn

from sgfd import FeatureStudent, SemanticTeacher, cross_entropy, release
from sgfd.backbones import MAML, clip_rows, rank_weighted_hinge, weighted_distance

FEATURES = {"v": "V", "t": "T"}  # visual first, as the release concatenates them


def leaky(x):
    return F.leaky_relu(x, float(np.float32(0.2)))  # the release's slope is single precision


@pytest.fixture
def parts():
    """The golden file, and its parameters in our modules."""
    file = golden.load("maml_sgfd")
    x = {m: file[key] for m, key in FEATURES.items()}
    widths = {m: values.shape[1] for m, values in x.items()}
    model = MAML(
        csr_array((file["n_users"], file["n_items"])),
        x,
        dim=file["embed_dim"],
        margin=file["margin"],
        hidden_dim=file["hidden_layer_dim"],
    ).double()
    model.eval()  # the release's dropout never acts
    for m, projection in model.projections.items():
        model.projections[m] = FeatureStudent.adopt(
            projection,
            activation=leaky,
            embed_activation=leaky,
            embed_normalize=False,
        )
    teacher = SemanticTeacher(
        widths,
        file["embed_dim"],
        7,
        ratio=2,
        inner_activation=None,
        activation=leaky,
        normalize=False,
        fusion_activation=F.relu,
    ).double()
    head = nn.Linear(file["embed_dim"], 25).double()
    layers = {
        "dense": model.projections["v"],
        "dense_5": model.projections["t"],
        "dense.hidden_layer": model.attention.hidden,
        "dense.hidden_layer1": model.attention.output,
        "category_classification": head,
        "feature_transfer_layer": teacher.fusion_transfer,
        "teacher_fusion_category_classification": teacher.fusion_classifier,
    }
    layers |= {f"mlp_layer_{k + 1}": layer for k, layer in enumerate(model.feature_layers)}
    layers |= {f"dense_{k + 1}": layer for k, layer in enumerate(teacher.extractors["v"])}
    layers |= {f"dense_{k + 6}": layer for k, layer in enumerate(teacher.extractors["t"])}
    parameters = {
        "Variable": model.user_embedding.weight,
        "Variable_1": model.item_embedding.weight,
    }
    for name, layer in layers.items():
        parameters |= {f"{name}.kernel": layer.weight, f"{name}.bias": layer.bias}
    golden.assign(parameters, kernels_turned(golden.prefixed(file, "param.")))
    return SimpleNamespace(
        file=file, x=x, model=model, teacher=teacher, head=head, parameters=parameters
    )


def kernels_turned(values):
    """TensorFlow's kernels are (in, out)."""
    return {name: x.T if name.endswith("kernel") else x for name, x in values.items()}


def node_loss(parts):
    """The sum of the rank-weighted hinges, and its parts compared with the file's."""
    file, model = parts.file, parts.model
    users = file["pos_pairs"][:, :1]
    items = torch.cat([file["pos_pairs"][:, 1:], file["neg"]], dim=1)
    u, i = model.user_embedding(users), model.item_embedding(items)
    f = model.item_features(items.flatten()).view_as(i)
    distances = weighted_distance(model.attention(u, i, f), u, i)
    positives, negatives = distances[:, 0], distances[:, 1:]
    hinges = rank_weighted_hinge(
        positives, negatives, margin=file["margin"], num_items=file["n_items"]
    )
    golden.close(positives, file["out.node.pos_distances"])
    golden.close(negatives.amin(1), file["out.node.closest_negative_distances"])
    ranks = (file["n_items"] * file["out.node.rank_weight"]).log1p()
    golden.close(hinges, file["out.node.pair_loss"] * ranks)
    golden.close(hinges.sum(), file["out.node.loss"])
    return hinges.sum()


def distillation(parts):
    """The release's vector of 40 rows."""
    file, teacher, temperature = parts.file, parts.teacher, parts.file["t_decay"]
    rows = torch.cat([file["pos_pairs"][:, 1:], file["neg"]], dim=1).flatten()
    y = file["label"][rows]
    taught = teacher({m: x[rows] for m, x in parts.x.items()}).embeddings
    class_loss, response, feature = {}, {}, {}
    for m, name in (("v", "visual"), ("t", "text")):
        learned = parts.model.projections[m].embed(parts.x[m][rows])
        says_t, says_s = parts.head(taught[m]), parts.head(learned)
        class_loss[m] = release.cross_entropy_of_probabilities(says_t, y).sum()
        response[m] = release.mean_squared_error(
            (says_t / temperature).softmax(-1), (says_s / temperature).softmax(-1)
        )
        feature[m] = release.mean_squared_error(taught[m], learned)
        golden.close(taught[m], file[f"out.{name}_teacher_x"])
        golden.close(class_loss[m], file[f"out.{name}_class_loss"])
        golden.close(response[m], file[f"out.{name}_kd_loss_vec"])
        golden.close(feature[m], file[f"out.{name}_feature_loss_vec"])
    fusion = cross_entropy(teacher.fuse(taught), y).sum()
    class_loss = (class_loss["v"] + class_loss["t"]) / 2
    feature = (feature["v"] + feature["t"]) / 2
    # Of the two response terms only the text's is there, averaged with itself.
    return file["ce_weight"] * (fusion + class_loss) + file["kd_weight"] * (response["t"] + feature)


def loss_vector(parts):
    file, model = parts.file, parts.model
    embedding = node_loss(parts) + distillation(parts)
    golden.close(embedding, file["out.embedding_loss_incl_dis"])
    u, i = model.user_embedding.weight, model.item_embedding.weight
    f = model.item_features(torch.arange(model.num_items))
    golden.close(f, file["out.feature_projection"])
    feature = file["feature_l2_reg"] * (i - f).square().sum()
    golden.close(feature, file["out.feature_loss"])
    # With their signs, where covariance_penalty has squares.
    covariance = torch.cov(torch.cat([u, i]).T, correction=0)
    covariance = file["cov_loss_weight"] * (covariance.sum() - covariance.trace())
    golden.close(covariance, file["out.covariance_loss"])
    return embedding + feature + covariance


def test_loss_and_gradients_equal_the_release(parts):
    loss = loss_vector(parts)
    golden.close(loss, parts.file["out.loss_total_vector"])
    loss.sum().backward()
    expected = kernels_turned(golden.prefixed(parts.file, "grad_of_sum_loss."))
    golden.assert_gradients(parts.parameters, expected, tolerance=1e-9)


def test_a_step_of_adam_and_the_clip_give_the_releases_tables(parts):
    loss_vector(parts).sum().backward()
    rate, b1, b2 = (float(np.float32(x)) for x in (1e-3, 0.9, 0.999))
    for name, key in (("Variable", "after_step_user"), ("Variable_1", "after_step_item")):
        x, g = parts.parameters[name].detach(), parts.parameters[name].grad
        first, second = (1 - b1) * g, (1 - b2) * g.square()
        # TensorFlow's Adam corrects the bias before it adds epsilon.
        step = rate * (1 - b2) ** 0.5 / (1 - b1) * first / (second.sqrt() + 1e-8)
        golden.close(clip_rows(x - step), parts.file[key], 1e-9)


def test_scores_equal_the_release(parts):
    # The file's tables are from before the first clip, which our scores foresee.
    file, model = parts.file, parts.model
    users, items = torch.arange(model.num_users), torch.arange(model.num_items)
    u, i = model.user_embedding(users).unsqueeze(1), model.item_embedding(items)
    weights = model.attention(u, i, model.item_features(items))
    golden.close(-weighted_distance(weights, u, i), file["out.item_scores"])
