"""Wrong calls of every public part: the error is ours, and says what was wrong and what to do."""

import importlib
import inspect
import io
import re
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import nn

import sgfd
from sgfd import backbones, data, distributed, evaluation, export, graph, release
from sgfd.data import Dataset

N, USERS = 24, 30  # items and users
NAN = float("nan")
HERE = Path(__file__)
SOURCE = Path(sgfd.__file__).parent
# What each part needs that is not installed with sgfd.
EXTRAS = {
    "plots": ("matplotlib", "sklearn"),
    "training": ("lightning",),
    "export": ("safetensors", "faiss", "onnx", "onnxruntime"),
}


class Case(NamedTuple):
    """A wrong call, and what it must end in."""

    name: str
    error: type[Exception]
    call: Callable[..., object]  # given a temporary folder if it takes an argument
    text: str


@cache
def catalog() -> Dataset:
    return data.synthetic_catalog(
        num_users=USERS,
        num_items=N,
        num_classes=3,
        interactions_per_user=6,
        widths={"image": 8, "text": 5},
    )


def x(**changes: Any) -> dict[str, Any]:
    """Features of both modalities, some of them replaced."""
    return {m: torch.from_numpy(v) for m, v in catalog().features.items()} | changes


def y() -> torch.Tensor:
    return torch.from_numpy(catalog().labels)


def z(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape)


def ints(*shape: int, value: int = 0) -> torch.Tensor:
    return torch.full(shape, value)


def masked(values: Any) -> Any:
    return np.ma.masked_array(np.asarray(values), mask=False)


def holed(value: float) -> torch.Tensor:
    """Image features with one broken number."""
    broken = x()["image"].clone()
    broken[3, 1] = value
    return broken


def vbpr() -> backbones.VBPR:
    return backbones.VBPR(catalog().train, catalog().features, dim=4)


def distilled(**changes: Any) -> sgfd.Distilled:
    return sgfd.distill(vbpr(), **{"features": x(), "labels": y()} | changes)


def teacher() -> sgfd.SemanticTeacher:
    return sgfd.SemanticTeacher({"image": 8, "text": 5}, 4, 3)


def pretrain(**changes: Any) -> object:
    given = {"teacher": teacher(), "features": x(), "labels": y(), "epochs": 1}
    return sgfd.pretrain_teacher(**given | changes)


def terms(**changes: Any) -> object:
    taught = teacher()(x())
    given = {"taught": taught, "learned": taught, "labels": y()}
    return sgfd.SGFDLoss().terms(**given | changes)


def narrow(said: sgfd.Semantics) -> sgfd.Semantics:
    return said._replace(embeddings={m: v[:, :1] for m, v in said.embeddings.items()})


def batch() -> tuple[torch.Tensor, ...]:
    return tuple(next(data.PairSampler(catalog().train, batch_size=8, seed=0).epoch(0)))


def arrays(**changes: Any) -> Dataset:
    given = {"train": [(0, 0), (0, 1)], "test": [(1, 2)], "features": {"t": np.eye(3)}}
    return Dataset.from_arrays(**given | changes)


def sheet(values: object, index: object = None) -> Any:
    return pytest.importorskip("pandas").DataFrame(values, index=index)


def frame(**changes: Any) -> Dataset:
    given = {
        "frame": sheet({"userID": ["a", "b"], "itemID": [7, 5]}),
        "features": {"t": sheet([[0.1], [0.2]], index=[5, 7])},
    }
    return Dataset.from_pandas(**given | changes)


def load(folder: Path, **files: bytes | str) -> Dataset:
    """A dataset in the SGFD layout with some files replaced; ``_csv`` stands for ``.csv``."""
    given = {"train_csv": "itemID,userID\n0,0\n1,0\n2,1\n", "test_csv": "itemID,userID\n2,0\n"}
    given |= {"FeatureImage_normal_npy": saved(np.save, np.eye(3))} | files
    for name, content in given.items():
        path = folder / re.sub(r"_(csv|npy|json)$", r".\1", name)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Dataset.load(folder)


def saved(save: Callable[..., object], value: Any) -> bytes:
    file = io.BytesIO()
    save(value, file) if save is torch.save else save(file, value)
    return file.getvalue()


def pickled() -> bytes:
    return saved(np.save, np.array([{"a": 1}], dtype=object))


def classes() -> bytes:
    return saved(np.save, np.arange(3))


def scores(users: torch.Tensor) -> torch.Tensor:
    return torch.linspace(0, 1, N).repeat(len(users), 1)


def evaluate(**changes: Any) -> evaluation.Evaluation:
    given = {"scores": scores, "target": catalog().test, "ks": (3,)}
    return evaluation.evaluate(**given | changes)


def compare(**changes: Any) -> object:
    run = evaluate()
    return evaluation.compare(**{"a": run, "b": run, "metric": "ndcg@3"} | changes)


def edges() -> graph.Edges:
    return graph.Bipartite(catalog().train).to_users


def backend(name: str) -> object:
    with graph.use_backend(name):
        return graph.backend()


def fit(**changes: Any) -> object:
    given = {"model": vbpr(), "dataset": catalog(), "max_epochs": 1, "ks": (3,)}
    given |= {"monitor": "ndcg@3", "accelerator": "cpu", "progress": False}
    return sgfd.training.fit(**given | changes)


def resume(folder: Path, content: bytes) -> object:
    (folder / "last.ckpt").write_bytes(content)
    return fit(directory=folder, resume=True)


def module(**changes: Any) -> Any:
    return sgfd.training.RecommenderModule(**{"model": vbpr()} | changes)


def plot_features(**changes: Any) -> object:
    given = {"features": x()["image"], "labels": y(), "embed": lambda v: v[:, :2]}
    return sgfd.plots.plot_features(**given | changes)


def written(folder: Path) -> Path:
    path = folder / "file"
    path.write_text("")
    return path


# A table: the name, the error, the call, and what the message must have in it.
# fmt: off
CASES = {
    "sgfd": [
        ("no recommender", TypeError, lambda: sgfd.distill("vbpr", x(), y()),
         "backbone must be an nn.Module, the recommender itself; got str."),
        ("items for a function of them", TypeError,
         lambda: sgfd.distill(vbpr(), x(), y(), loss_method="forward", items=[1, 2]),
         "loss_method must be the name of a method and items a function of its arguments;"),
        ("a saved model that is not there", FileNotFoundError,
         lambda folder: sgfd.Distilled.from_pretrained(folder, vbpr(), x()),
         "save_pretrained writes a folder with config.json and model.safetensors."),
        ("a list to load into", TypeError,
         lambda folder: sgfd.Distilled.from_pretrained(folder, [], x()),
         "backbone must be the recommender, a torch.nn.Module; got list."),
        ("a list for interactions", TypeError, lambda: sgfd.behavior_features([[1, 0]]),
         "interactions must be a SciPy sparse (num_users, num_items) array or matrix, such as "
         "dataset.train; got list."),
        ("clusters as a string", ValueError, lambda: sgfd.pseudo_labels(x(), "3"),
         "k must be an integer of at least 2; got '3'."),
        ("features elsewhere", ValueError, lambda: sgfd.pseudo_labels(x()["image"].to("meta"), 3),
         "features must hold its values, row by row; got a tensor on meta"),
        ("a mask to cluster", ValueError, lambda: sgfd.pseudo_labels(masked(x()["image"]), 3),
         "features must be an array without a mask, which would be lost; got a masked array."),
        ("weights of labels with a mask", ValueError,
         lambda: sgfd.balanced_class_weights(masked(y())),
         "labels must be an array without a mask"),
        ("names with a mask", ValueError, lambda: sgfd.encode_labels(masked(["a", "b"])),
         "labels must be an array without a mask"),
        ("a width as a string", ValueError, lambda: sgfd.hidden_widths("100", 4),
         "in_features must be an integer of at least 1; got '100'."),
        ("one word for labels", TypeError, lambda: sgfd.encode_labels("toys"),
         "labels must be a sequence with one label for each item, strings or numbers; got str."),
        ("no label to be a feature", ValueError,
         lambda: sgfd.label_features(-np.ones(3, int), num_classes=2),
         "At least one label must be known to be a feature; got 3 unknown."),
        ("a label beyond its classes", ValueError,
         lambda: sgfd.label_features([0, 5], num_classes=3),
         "labels must be below num_classes=3; got 5."),
        ("several labels each", TypeError, lambda: sgfd.encode_labels([["a"], ["b", "c"]]),
         "got list with several each."),
        ("names for indices", TypeError, lambda: sgfd.balanced_class_weights(["a", "b"]),
         "Names become indices by encode_labels."),
        ("one level", ValueError, lambda: sgfd.hierarchy(3),
         "of two levels or more of two classes or more; got 3."),
        ("labels out of range", ValueError, lambda: sgfd.cross_entropy(z(4, 3), ints(4, value=7)),
         "labels must be in -1..2 (-1 for unknown); got 7..7."),
        ("labels elsewhere", ValueError, lambda: sgfd.cross_entropy(z(4, 3), ints(4).to("meta")),
         "labels must be on the device of the logits (cpu); got meta."),
        ("arrays for tensors", TypeError, lambda: sgfd.cross_entropy(np.zeros((4, 3)), np.zeros(4)),
         "logits must be a torch.Tensor; got ndarray."),
        ("multi-hot of twos", ValueError,
         lambda: sgfd.binary_cross_entropy(z(4, 3), ints(4, 3, value=2)),
         "labels must be in -1..1 (-1 for unknown); got 2..2."),
        ("one row against many", ValueError, lambda: sgfd.kl_divergence(z(4, 3), z(1, 3), 1.0),
         "must have one shape, (N, width); got (4, 3) and (1, 3)."),
        ("a temperature of NaN", ValueError, lambda: sgfd.bernoulli_kl(z(4, 3), z(4, 3), NAN),
         "temperature must be above 0 and finite; got nan."),
        ("other widths", ValueError, lambda: sgfd.squared_distance(z(4, 3), z(4, 2)),
         "must have one shape, (N, width); got (4, 3) and (4, 2)."),
        ("a mean for a divergence", ValueError,
         lambda: sgfd.feature_loss(z(4, 3), z(4, 3), divergence=nn.functional.mse_loss),
         "A divergence must give one value per row, (4,); got (). A loss of torch's needs "
         "reduction='none'"),
        ("counts of other items", ValueError,
         lambda: sgfd.response_loss(z(4, 3), z(4, 3), torch.ones(3)),
         "multiplicity must have the labels' shape (4,), one count per item; got (3,)."),
        ("no divergence", TypeError,
         lambda: sgfd.classification_loss(z(4, 3), ints(4), divergence=None),
         "divergence must be a function; got None."),
        ("a weight as a string", ValueError, lambda: setattr(sgfd.SGFDLoss(), "kd_weight", "0.1"),
         "kd_weight must be at least 0 and finite; got '0.1'."),
        ("a table for a divergence", TypeError,
         lambda: sgfd.classification_loss(z(4, 3), ints(4), divergence=[[0.25] * 4] * 900),
         "divergence must be a function; got [[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25], "
         "[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25], "
         "[0.25, 0.25, 0.25, 0.25], ...]."),
        ("the name of a loss", TypeError, lambda: sgfd.SGFDLoss(classification="cross_entropy"),
         "classification must be a function; got 'cross_entropy'."),
        ("a dict for what is taught", TypeError, lambda: terms(taught={}),
         "taught must be Semantics, which the teacher gives"),
        ("embeddings that would be broadcast", ValueError,
         lambda: terms(learned=narrow(teacher()(x()))),
         "must have one shape, (N, width); got (24, 4) and (24, 1)."),
        ("widths without names", TypeError, lambda: sgfd.SemanticTeacher([8, 5], 4, 3),
         "in_features must be {modality: ...}; got list."),
        ("classes as a string", ValueError, lambda: sgfd.SemanticTeacher({"a": 8}, 4, "3"),
         "num_classes must be an integer of at least 2; got '3'."),
        ("an activation's name", TypeError,
         lambda: sgfd.SemanticTeacher({"a": 8}, 4, 3, activation="relu"),
         "activation must be a function; got 'relu'."),
        ("a modality too few", ValueError, lambda: teacher()({"image": x()["image"]}),
         "features must have exactly the modalities ['image', 'text']; got ['image']."),
        ("doubles", ValueError, lambda: teacher()(x(image=x()["image"].double())),
         "features['image'] must have width 8, be torch.float32 and on cpu, as the layers are; "
         "got shape (24, 8) of torch.float64 on cpu."),
        ("rows of other items", ValueError, lambda: teacher()(x(image=x()["image"][:3])),
         "features must have the same rows in each modality; got {'image': (3,), 'text': (24,)}."),
        ("a model for a teacher", TypeError, lambda: pretrain(teacher=vbpr()),
         "teacher must be a SemanticTeacher; got VBPR."),
        ("a rate below 0", ValueError, lambda: pretrain(learning_rate=-1.0),
         "learning_rate must be at least 0 and finite; got -1.0."),
        ("no such device", ValueError, lambda: pretrain(device="nowhere"),
         "device must be one that torch has here; got 'nowhere'"),
        ("a mask as a string", TypeError, lambda: pretrain(missing={"image": "all"}),
         "missing['image'] must be a tensor or an array; got str."),
        ("another width", ValueError, lambda: sgfd.FeatureStudent(8, 4).embed(z(2, 7)),
         "x must have width 8, be torch.float32 and on cpu, as the layers are; got shape (2, 7)"),
        ("an embedding for a layer", TypeError, lambda: sgfd.paper_student(nn.Embedding(3, 3)),
         "must be exactly an nn.Linear, since a subclass may compute something else; got "
         "torch.nn.modules.sparse.Embedding."),
        ("a width that no layer has", sgfd.NoLayerError,
         lambda: sgfd.find_projections(vbpr(), {"image": 77}),
         "No layer reads features['image'] (width 77)"),
        ("scores, not a function of them", TypeError,
         lambda: sgfd.check_scores(vbpr(), lambda: 0, z(2)),
         "scores must be a function; got tensor([0., 0.])."),
        ("features in a list", TypeError,
         lambda: distilled(features={"image": x()["image"].tolist()}),
         "features['image'] must be a tensor or an array; got list."),
        ("features with infinity", ValueError,
         lambda: distilled(features=x(image=holed(float("inf")))),
         "features['image'] must be finite; 1 of the rows read hold NaN or infinity, the first "
         "at position 3."),
        ("features with a mask", ValueError,
         lambda: distilled(features=x(image=masked(x()["image"]))),
         "features['image'] must be an array without a mask, which would be lost; got a masked"),
        ("labels with a mask", ValueError, lambda: distilled(labels=masked(y())),
         "labels must be an array without a mask, which would be lost; got a masked array. Fill "
         "it: features, whole rows, by x.filled(numpy.nan), labels by x.filled(-1)."),
        ("several labels with a mask", ValueError,
         lambda: distilled(labels=masked(nn.functional.one_hot(y()))),
         "labels must be an array without a mask"),
        ("levels with a mask", ValueError,
         lambda: distilled(labels={"top": y(), "leaf": masked(y())}),
         "labels of level 'leaf' must be an array without a mask"),
        ("new items with a mask", ValueError,
         lambda: distilled().encode({"image": masked(x()["image"])}),
         "features['image'] must be an array without a mask"),
        ("sparse features", TypeError, lambda: distilled(features=x(image=csr_array(np.eye(N)))),
         "features['image'] must be a tensor or an array; got csr_array."),
        ("sparse labels", ValueError, lambda: distilled(labels=csr_array(np.eye(N))),
         "labels must hold its values, row by row; got a csr_array. Use toarray()."),
        ("labels of a sparse tensor", ValueError,
         lambda: distilled(labels=torch.eye(N).to_sparse()),
         "labels must hold its values, row by row; got a tensor on cpu of layout "
         "torch.sparse_coo. Use to_dense() for a sparse one."),
        ("features of eight bits", ValueError,
         lambda: distilled(features=x(image=x()["image"].to(torch.float8_e4m3fn))),
         "of a floating dtype of 16 bits or more; got shape"),
        ("a modality named as a module's attribute", ValueError,
         lambda: sgfd.SemanticTeacher({"training": 3}, 4, num_classes=3),
         "no attribute of nn.ModuleDict; got 'training'. Rename it."),
        ("features without values", ValueError,
         lambda: distilled(features=x(image=x()["image"].to("meta"))),
         "features['image'] must hold its values, row by row; got a tensor on meta"),
        ("a path to nowhere", ValueError, lambda: distilled(features=x(image="no.such")),
         "Features given as a string are the dotted path of a tensor of the backbone; 'no.such' "
         "is none"),
        ("no labels", ValueError, lambda: distilled(labels=None),
         "SGFD teaches labels: a catalog without any needs some first."),
        ("half a class", ValueError, lambda: distilled(labels=y() + 0.5),
         "labels that are numbers must be whole, the indices of classes; got "),
        ("raw ids for classes", ValueError, lambda: distilled(labels=y() + 10_000),
         "which looks like a raw id. Give ids as strings."),
        ("a seed as a string", ValueError, lambda: distilled(seed="lucky"),
         "seed must be an integer of at least 0 and below 9223372036854775808; got 'lucky'."),
        ("a misspelt modality", ValueError, lambda: distilled().student("imgae"),
         "modality must be of ['image', 'text']; got 'imgae'."),
        ("items out of range", ValueError, lambda: distilled().distillation_loss(torch.tensor([N])),
         "items must be in 0..23; got 24..24. If items are numbered after users, subtract the "
         "users; if one of them stands for padding, leave it out."),
        ("a batch in a list", ValueError, lambda: distilled().distillation_loss([1] * 9000),
         "of at least one int64 (or int32) item index; got [1, 1, 1, 1, 1, 1, ...]."),
        ("a label too few", ValueError, lambda: distilled(labels=y()[:-1]),
         "There must be one label and one row of features for each item; got 23 labels, and "
         "features of 24 rows."),
        ("one class for all", ValueError, lambda: distilled(labels=ints(N)),
         "labels must be of at least two classes; got one, 0, which tells no item from another."),
        ("a recommender without parameters", ValueError,
         lambda: sgfd.distill(vbpr().to("meta"), x(), y()),
         "backbone must have its parameters before distill(); they are on the meta device"),
        ("a layer that has no width yet", sgfd.NoLayerError,
         lambda: sgfd.distill(nn.ModuleDict({"image": nn.LazyLinear(4)}), x(), y()),
         "image: nn.LazyLinear, of no width yet (run the recommender once before distill())"),
    ],
    "data": [
        ("pairs below 0", ValueError, lambda: arrays(train=[(0, -1)]),
         "train must hold indices of 0 or more; got user 0, item -1 in row 0 (1 such rows)."),
        ("pairs of several lengths", ValueError, lambda: arrays(train=[(0, 1), (1)]),
         "train must be an array, or rows of one length; list makes none"),
        ("a pair trained and tested on", ValueError, lambda: arrays(test=[(0, 1)]),
         "train and test share 1, such as user 0, item 1."),
        ("pairs with a mask", ValueError, lambda: arrays(train=masked([(0, 1)])),
         "train must be an array without a mask, which would be lost; got a masked array."),
        ("a frame of pairs", TypeError,
         lambda: arrays(train=sheet({"itemID": [1], "userID": [0]})),
         "train must be (n, 2), rows of (user, item), which a DataFrame with columns ['itemID', "
         "'userID'] is only by chance. Use Dataset.from_pandas, or pass"),
        ("a frame of features in another order", ValueError,
         lambda: arrays(features={"t": sheet(np.eye(3), index=[2, 0, 1])}),
         "features['t'] are taken by position, item by item, and the index of this DataFrame is "
         "not 0..2."),
        ("a frame of ids", TypeError, lambda: arrays(item_ids=sheet([[1, 2, 3]])),
         "item_ids must be a sequence of ids; got a DataFrame."),
        ("ids in another order", ValueError,
         lambda: arrays(item_ids=sheet({"a": [1, 2, 3]}, index=[2, 0, 1])["a"]),
         "item_ids are taken by position, row by row, and the index of this Series is not 0..2. "
         "Pass its .to_numpy() if they are in order."),
        ("a frame of names", TypeError,
         lambda: arrays(labels=[0, 0, 0], label_names=sheet({"n": [1]})),
         "label_names must be a sequence of strings; got"),
        ("parts by yes and no", ValueError,
         lambda: frame(frame=sheet({"userID": [1], "itemID": [5], "p": [True]}), part="p"),
         "frame['p'] must hold 'train', 'valid', 'test', or 0, 1, 2; got [True]."),
        ("features in a list", TypeError, lambda: arrays(features=[np.eye(3)]),
         "features must be {modality: ...}; got list."),
        ("features elsewhere", ValueError, lambda: arrays(features={"t": torch.eye(3).to("meta")}),
         "features['t'] must be an array, or rows of one length; Tensor makes none"),
        ("a word for names", TypeError, lambda: arrays(labels=[0, 1, 2], label_names="abc"),
         "label_names must be a sequence of strings; got 'abc'."),
        ("all for validation", ValueError, lambda: arrays(valid_fraction=1),
         "valid_fraction must be at least 0 and below 1; got 1."),
        ("a dict for a frame", TypeError, lambda: frame(frame={"userID": ["a"]}),
         "frame must be a pandas data frame; got dict."),
        ("no such column", ValueError, lambda: frame(user="who"),
         "frame must have one column 'who'; it has userID, itemID. Name it by user=, item= or"),
        ("a number for a path", TypeError, lambda: Dataset.load(3),
         "path must be a path; got 3."),
        ("no folder", FileNotFoundError, lambda folder: Dataset.load(folder / "none"),
         "path must be a folder with a dataset;"),
        ("a table without its header", ValueError,
         lambda folder: load(folder, train_csv="0,0\n1,0\n"),
         "train.csv must name the columns userID, itemID, each once;"),
        ("semicolons", ValueError, lambda folder: load(folder, train_csv="itemID;userID\n0;0\n"),
         "userID, itemID is not there once in ['itemID;userID']."),
        ("a table that is no text", ValueError,
         lambda folder: load(folder, train_csv=bytes(range(128, 256))),
         "train.csv must be a text file in UTF-8;"),
        ("an array cut short", ValueError,
         lambda folder: load(folder, FeatureImage_normal_npy=saved(np.save, np.eye(9))[:-9]),
         "FeatureImage_normal.npy must be a plain NumPy array; it could not be read"),
        ("a pickled array", ValueError,
         lambda folder: load(folder, FeatureImage_normal_npy=pickled()),
         "Pickled objects are refused, since reading one can run code."),
        ("names that are no JSON", ValueError,
         lambda folder: load(folder, MetaData_normal_npy=classes(), label_names_json="{not"),
         "label_names.json must be a JSON list of strings;"),
        ("a misspelt modality", ValueError,
         lambda folder: (load(folder), Dataset.load(folder, modalities=["Imgae"])),
         "Image; got 'Imgae'."),
        ("dense interactions", TypeError,
         lambda: data.hold_out(np.ones((2, 9)), fraction=0.2, seed=0),
         "interactions must be a SciPy sparse (num_users, num_items) array or matrix, such as "
         "dataset.train; got ndarray."),
        ("a matrix for a dataset", TypeError, lambda: data.hold_out_items(catalog().train, seed=0),
         "data must be a Dataset; got csr_array."),
        ("a dataset for a matrix", TypeError, lambda: data.PairSampler(catalog(), batch_size=2),
         "train must be a SciPy sparse (num_users, num_items) array or matrix, such as "
         "dataset.train; got Dataset."),
        ("batches of no model", TypeError, lambda: data.prefetched([], catalog()),
         "model must be an nn.Module; got Dataset."),
        ("no batch ahead", ValueError, lambda: data.prefetched([], vbpr(), depth=0),
         "depth must be an integer of at least 1; got 0."),
        ("infinitely strong", ValueError,
         lambda: data.synthetic_catalog(class_strength=float("inf")),
         "class_strength must be a number and finite; got inf."),
    ],
    "backbones": [
        ("pairs for a matrix", TypeError, lambda: backbones.VBPR(np.zeros((5, 2)), x()),
         "interactions must be a SciPy sparse (num_users, num_items) array or matrix, such as "
         "dataset.train; got ndarray."),
        ("parameters for a model", TypeError, lambda: backbones.LazyAdam(vbpr().parameters()),
         "model must be an nn.Module, not its parameters"),
        ("nothing sparse", ValueError, lambda: backbones.LazyAdam(vbpr()),
         "it has none. Use torch.optim.Adam."),
        ("features of other items", ValueError,
         lambda: backbones.BM3(catalog().train, {"a": z(3, 2)}),
         "features['a'] must have one row per item (24); got 3 rows."),
        ("half a layer", ValueError, lambda: backbones.BM3(catalog().train, x(), num_layers=1.5),
         "num_layers must be an integer of at least 0; got 1.5."),
        ("all dropped", ValueError, lambda: backbones.GRCN(catalog().train, x(), dropout=1),
         "dropout must be at least 0 and below 1; got 1."),
        ("never again", ValueError,
         lambda: backbones.GRCN(catalog().train, x(), refresh_every=0),
         "refresh_every must be an integer of at least 1; got 0."),
        ("the name of a fusion", TypeError,
         lambda: backbones.GRCN(catalog().train, x(), fusion="concat"),
         "fusion must be a function; got 'concat'."),
        ("a margin of NaN", ValueError, lambda: backbones.MAML(catalog().train, x(), margin=NAN),
         "margin must be above 0 and finite; got nan."),
        ("a batch in lists", TypeError, lambda: vbpr()([part.tolist() for part in batch()]),
         "A batch's users must be a tensor of int64 or int32 indices; got <class 'list'>."),
        ("items below 0", ValueError, lambda: vbpr()((batch()[0], ints(8, value=-1), batch()[2])),
         "A batch's items must be in 0..23; got -1..-1."),
        ("users below 0", ValueError,
         lambda: backbones.BM3(catalog().train, x()).scores(torch.tensor([-1])),
         "users must be (B,) indices in 0..29; got -1..-1."),
        ("more than there are", ValueError, lambda: vbpr().recommend(ints(1), 99),
         "k must be in 1..24 (the items there are); got 99."),
        ("attention to nothing", ValueError, lambda: backbones.MetricAttention(0),
         "dim must be an integer of at least 1; got 0."),
        ("parts of other nodes", ValueError, lambda: backbones.concat_fusion(z(2, 3), [z(3, 3)]),
         "The parts to fuse must have one shape, (N, D); got [(2, 3), (3, 3)]."),
        ("a list for a part", TypeError, lambda: backbones.mean_fusion(z(1, 1), [[0.0]]),
         "A part of a representation must be a torch.Tensor; got list."),
        ("whole rows", ValueError, lambda: backbones.clip_rows(ints(2, 2)),
         "x must be floating; got torch.int64."),
        ("covariances of nothing", ValueError, lambda: backbones.covariance_penalty(z(0, 3)),
         "x must be (N, D), neither of them 0; got shape (0, 3)."),
        ("no negatives", ValueError,
         lambda: backbones.rank_weighted_hinge(z(3), z(3, 0), margin=1.0, num_items=9),
         "negatives must be (B, W), W >= 1, for positives (B,); got (3, 0) for (3,)."),
        ("weights of another width", ValueError,
         lambda: backbones.weighted_distance(z(2, 1), z(2, 3), z(2, 3)),
         "weights, users and items must have one width D; got shapes [(2, 1), (2, 3), (2, 3)]."),
    ],
    "graph": [
        ("an edge below nothing", ValueError, lambda: graph.Bipartite(catalog().train, epsilon=-1),
         "epsilon must be at least 0 and finite; got -1."),
        ("a graph for its edges", TypeError,
         lambda: graph.spmm(graph.Bipartite(catalog().train), z(N, 2)),
         "The edges must be graph.to_users or graph.to_items, a direction of a Bipartite; got "
         "Bipartite."),
        ("weights elsewhere", ValueError,
         lambda: graph.spmm(edges(), z(N, 2), edges().weights.to("meta")),
         "weights must be on the graph's device (cpu); got meta."),
        ("sides of other widths", ValueError, lambda: graph.sddmm(edges(), z(USERS, 2), z(N, 3)),
         "x and y must be equally wide; got 2 and 3."),
        ("a score too few", ValueError, lambda: graph.edge_softmax(edges(), z(3)),
         "one per edge by user, then by item; got shape (3,)."),
        ("pairs as lists", TypeError, lambda: graph.mask_edges(edges(), [0], [1]),
         "rows must be a tensor of int64 or int32 indices; got <class 'list'>."),
        ("pairs without their items", ValueError,
         lambda: graph.mask_edges(edges(), torch.arange(3), torch.arange(0)),
         "rows and columns must be (n,), of the same pairs; got shapes (3,) and (0,)."),
        ("a probability as a string", ValueError, lambda: graph.dropout_edges(edges(), "0.5"),
         "p must be at least 0 and below 1; got '0.5'."),
        ("users and items swapped", ValueError,
         lambda: graph.propagate(graph.Bipartite(catalog().train), z(N, 2), z(USERS, 2)),
         "users and items must have one row per node (30 and 24); got shapes (24, 2) and (30, 2)."),
        ("no neighbors at a hop", ValueError,
         lambda: graph.NeighborSampler(catalog().train, num_neighbors=[3, 0]),
         "num_neighbors must have a number for each hop, -1 for all neighbors or at least 1, such "
         "as [5, 3, 2]; got [3, 0]."),
        ("a backend there is none of", ValueError, lambda: backend("cuda"),
         "The kernel backend must be one of ('auto', 'torch', 'torch-sparse'); got 'cuda'."),
    ],
    "evaluation": [
        ("a model for its scores", TypeError, lambda: evaluate(scores=vbpr()),
         "scores must be a function from users to scores of all items; got a model. Pass its "
         "method: model.scores."),
        ("a distilled model for its scores", TypeError,
         lambda: evaluate(scores=sgfd.distill(nn.ModuleDict({"text": nn.Linear(5, 2)}),
                                              {"text": x()["text"]}, y())),
         "got what distill() returns, which is called for its loss. Pass the recommender's"),
        ("scores of NaN", ValueError, lambda: evaluate(scores=lambda users: scores(users) * NAN),
         "scores must not be NaN; the score of user"),
        ("vectors of other items", ValueError, lambda: evaluate(scores=(z(USERS, 2), z(N + 1, 2))),
         "vectors must be of target's users and items, (30, 24); got (30, 25) rows."),
        ("a dense target", TypeError, lambda: evaluate(target=np.ones((USERS, N))),
         "target must be a SciPy sparse (num_users, num_items) array or matrix, such as "
         "dataset.train; got ndarray."),
        ("hits of ones", TypeError, lambda: evaluation.ranking_metrics([[1, 0]], [1], [1]),
         "hits must be bool, True where the item is relevant; got int64."),
        ("nobody's hits", ValueError,
         lambda: evaluation.micro_recall(np.zeros((0, 3), bool), np.zeros(0, int)),
         "hits must be of one user or more; got none."),
        ("one list of hits", ValueError, lambda: evaluation.retrieved_ndcg([True]),
         "hits must be (users, ranks); got (1,)."),
        ("a rank too far", ValueError, lambda: evaluation.bm3_ndcg([[True]], 3),
         "every k must be in 1..1 (the number of columns of hits); got [3]."),
        ("lists for a target", TypeError, lambda: evaluation.bm3_release_metrics(scores, [[1]]),
         "target must be a SciPy sparse (num_users, num_items) array or matrix, such as "
         "dataset.train; got list."),
        ("half a rank", TypeError,
         lambda: evaluation.grcn_full_accuracy(scores, catalog().test, k=2.5),
         "ks must be integers, e.g. (10, 20); got [2.5]."),
        ("a dense yardstick", TypeError, lambda: evaluation.popularity(np.eye(3)),
         "train must be a SciPy sparse (num_users, num_items) array or matrix, such as "
         "dataset.train; got ndarray."),
        ("half a neighbor", ValueError,
         lambda: evaluation.item_knn(catalog().train, num_neighbors=0.5),
         "num_neighbors must be an integer of at least 1; got 0.5."),
        ("features of another catalog", ValueError,
         lambda: evaluation.content_profile(catalog().train[:, 1:], catalog().features),
         "features must have one row per item of train, 23, in each of one or more modalities; "
         "got {'image': 24, 'text': 24}."),
        ("no modality to say anything", ValueError,
         lambda: evaluation.content_profile(catalog().train, {}), "or more modalities; got {}."),
        ("features without names", TypeError,
         lambda: evaluation.content_profile(catalog().train, np.eye(3)),
         "features must be {modality: ...}; got ndarray."),
        ("an infinite share of popularity", ValueError,
         lambda: evaluation.with_popularity(scores, catalog().train, weight=float("inf")),
         "weight must be a number and finite; got inf."),
        ("a misspelt metric", ValueError, lambda: compare(metric="ndgc@3"),
         "a has no metric 'ndgc@3'; it has ['recall@3', 'ndcg@3',"),
        ("runs without names", TypeError, lambda: evaluation.table([evaluate()]),
         "runs must be {name: Evaluation}, which evaluate() gives; got list."),
        ("a dataset for a split", TypeError, lambda: evaluation.evaluate_cold(vbpr(), catalog()),
         "split must be what hold_out_items() gives; got Dataset."),
    ],
    "release": [
        ("a backbone of no table", ValueError,
         lambda: release.published_metrics("vbpr", scores, catalog().test),
         "backbone must be 'bm3', 'grcn' or 'maml'; got 'vbpr'."),
        ("a dataset in lower case", ValueError, lambda: release.catalog("office"),
         "catalog takes one of Office, Clothing, ToysGames; got 'office'."),
        ("a list for a name", ValueError, lambda: release.recipe(["bm3"], "Office"),
         "'Office', 'Clothing' or 'ToysGames'; got ['bm3'] and 'Office'."),
        ("the name of weights", TypeError,
         lambda: release.settings({"a": 8}, 3, weights="BM3_TOYS"),
         "weights must be release.Weights, release.BM3_TOYS say; got 'BM3_TOYS'."),
        ("labels out of range", ValueError,
         lambda: release.cross_entropy_of_probabilities(z(4, 3), ints(4, value=7)),
         "labels must be in -1..2 (-1 for unknown); got 7..7."),
        ("one row against many", ValueError,
         lambda: release.mean_absolute_difference(z(4, 3), z(1, 3), 1.0),
         "must have one shape, (N, width); got (4, 3) and (1, 3)."),
        ("lists for embeddings", TypeError, lambda: release.mean_squared_error([1.0], [2.0]),
         "The teacher's side must be a torch.Tensor; got list."),
    ],
    "distributed": [
        ("a process too many", ValueError,
         lambda: distributed.take_share(batch(), rank=2, world_size=2),
         "rank must be an integer of at least 0 and below 2; got 2."),
        ("lists to share", TypeError,
         lambda: distributed.take_share([[1, 2], [3, 4], [5, 6]], rank=0, world_size=2),
         "A part of the batch must be a torch.Tensor; got list."),
        ("more than the whole", ValueError,
         lambda: distributed.joined_counts(vbpr(), fraction=1.5).__enter__(),
         "fraction must be at most 1, the whole; got 1.5."),
        ("a batch of lists", TypeError,
         lambda: distributed.joined_loss(vbpr(), [part.tolist() for part in batch()]),
         "A batch's users must be a tensor of int64 or int32 indices; got <class 'list'>."),
        ("pairs for a target", TypeError,
         lambda: distributed.joined_evaluation(vbpr().scores, np.zeros((5, 2))),
         "target must be a SciPy sparse"),
    ],
    "training": [
        ("no epoch at all", ValueError, lambda: fit(max_epochs=None),
         "max_epochs must be an integer of at least 1; got None."),
        ("no device", ValueError, lambda: fit(devices=0),
         "devices must be an integer of at least 1; got 0."),
        ("an unknown strategy", ValueError, lambda: fit(strategy="fsdp"),
         "got 'fsdp'. For others use a lightning.Trainer of your own."),
        ("yes and no for weights", TypeError,
         lambda: fit(model=distilled(), schedule=lambda step: (True, False)),
         "schedule(step) must be a tuple (ce_weight, kd_weight) of two numbers, at least 0 and"),
        ("a misspelt metric", ValueError, lambda: fit(monitor="ndgc@3"),
         "(a metric at one of ks); got 'ndgc@3'."),
        ("the name of an optimizer", TypeError, lambda: fit(optimizer="adam"),
         "optimizer must be a function; got 'adam'."),
        ("an optimizer of nothing", TypeError,
         lambda: module(optimizer=lambda p: None).configure_optimizers(),
         "optimizer= must make a torch.optim.Optimizer of the parameters; it made None."),
        ("a matrix for a dataset", TypeError, lambda: fit(dataset=catalog().train),
         "dataset must be a Dataset; got csr_array."),
        ("a file for a folder", NotADirectoryError, lambda folder: fit(directory=written(folder)),
         "directory must be a folder;"),
        ("a checkpoint of 0 bytes", ValueError, lambda folder: resume(folder, b""),
         "last.ckpt must be a whole checkpoint of tensors and plain values; it could not be read "
         "(EOFError)."),
        ("a checkpoint cut short", ValueError,
         lambda folder: resume(folder, saved(torch.save, {"a": z(99)})[:-50]),
         "last.ckpt must be a whole checkpoint of tensors and plain values"),
        ("a pickled model", ValueError,
         lambda folder: resume(folder, saved(torch.save, {"a": vbpr()})),
         "Nothing else is ever unpickled, since that can run code."),
        ("no checkpoint", FileNotFoundError,
         lambda folder: sgfd.training.AtomicCheckpointIO().load_checkpoint(folder / "none"),
         "path must be a checkpoint; there is no file"),
        ("a matrix for a sampler", TypeError, lambda: sgfd.training.BatchStream(catalog().train),
         "sampler must be a PairSampler; got csr_array."),
        ("another seed's position", ValueError,
         lambda: sgfd.training.InteractionDataModule(catalog()).load_state_dict({"seed": 5}),
         "seed must be that of the checkpoint (5)"),
        ("a plain model's schedule", TypeError,
         lambda: sgfd.training.RecommenderModule(vbpr(), schedule=lambda step: (1, 1)),
         "needs a model that distill() made; VBPR has no such loss."),
        ("no patience", ValueError, lambda: sgfd.training.History(monitor="ndcg@3", patience=0),
         "patience must be an integer of at least 1; got 0."),
        ("every half step", ValueError, lambda folder: sgfd.training.ExactResume(folder, every=0.5),
         "every must be an integer of at least 1; got 0.5."),
        ("no step to warm up in", ValueError, lambda: sgfd.training.warm_up(0.1, 0.1, steps=0),
         "steps must be an integer of at least 1; got 0."),
        ("an infinite weight", ValueError, lambda: sgfd.training.decay(float("inf"), 0.1, steps=3),
         "ce_weight must be at least 0 and finite; got inf."),
    ],
    "plots": [
        ("words for features", ValueError, lambda: sgfd.plots.neighbor_agreement([["a"]], [0]),
         "features must be real (items, dimensions); got (1, 1) of <U1."),
        ("half a neighbor", ValueError,
         lambda: sgfd.plots.neighbor_agreement(z(3, 2), ints(3), neighbors=0.5),
         "neighbors must be an integer of at least 1; got 0.5."),
        ("the name of a map", TypeError, lambda: plot_features(embed="tsne"),
         "embed must be a function; got 'tsne'."),
        ("one title for two", TypeError,
         lambda: sgfd.plots.plot_feature_maps(z(9, 2), z(9, 2), ints(9), titles="before"),
         "titles must be two strings; got 'before'."),
        ("an item there is none of", ValueError,
         lambda: sgfd.plots.plot_neighbors(z(3, 2), z(3, 2), ints(3), 9),
         "item must be in 0..2 and neighbors in 1..2; got 9 and 8."),
        ("runs without names", TypeError, lambda: sgfd.plots.plot_curves([0.1, 0.2]),
         "curves must be {name: values}; got list."),
        ("an evaluation for a comparison", TypeError,
         lambda: sgfd.plots.plot_comparison({"a": evaluate()}),
         "comparisons must be {name: Comparison}, which compare() gives; got dict."),
        ("one epoch for many", TypeError, lambda: sgfd.plots.plot_terms({"total": 0.9}),
         "epochs must be a sequence of {term: value}"),
        ("labels in another order", ValueError,
         lambda: sgfd.plots.class_accuracy(
             distilled().teacher, x(), sheet({"y": y().numpy()}, index=range(1, N + 1))["y"]),
         "labels are taken by position, item by item, and the index of this Series is not 0..23."),
        ("a map of labels in another order", ValueError,
         lambda: sgfd.plots.plot_features(
             z(N, 2), sheet({"y": y().numpy()}, index=range(1, N + 1))["y"]),
         "labels are taken by position, item by item, and the index of this Series is not 0..23."),
        ("a recommender for a teacher", TypeError,
         lambda: sgfd.plots.class_accuracy(vbpr(), x(), y()),
         "teacher must be a SemanticTeacher; got VBPR."),
        ("shares for counts", TypeError, lambda: sgfd.plots.plot_class_accuracy({"text": 0.5}),
         "found must be what class_accuracy() gives; got dict."),
    ],
    "export": [
        ("features without names", TypeError,
         lambda folder: export.save_features([z(3, 2)], folder),
         "features must be {modality: (num_items, D)}, as model.export() gives them; got list."),
        ("features with a gap", ValueError,
         lambda folder: export.save_features({"a": z(3, 2) * NAN}, folder),
         "features['a'] must be finite; 3 of 3 rows are not."),
        ("a plain model to stream", TypeError,
         lambda folder: export.stream_features(vbpr(), folder),
         "stream_features needs what distill() returns, which knows the students; got VBPR."),
        ("the number of workers for a part", ValueError,
         lambda folder: export.stream_features(distilled(), folder, part=2),
         "part must be (rank, world), e.g. (0, 4); got 2."),
        ("parts that nobody wrote", FileNotFoundError,
         lambda folder: export.join_features(folder),
         "holds no part: stream_features(model, folder, part=(rank, world)) writes them."),
        ("items without users", TypeError, lambda: export.top_items(z(N, 2), [0]),
         "vectors must be a pair, users (num_users, D) and items (num_items, D)"),
        ("pairs for seen", TypeError,
         lambda: export.top_items((z(USERS, 2), z(N, 2)), [0], seen=[(0, 1)]),
         "seen must be a SciPy sparse"),
        ("out of the folder", ValueError,
         lambda folder: export.save_features({"a": z(3, 2)}, folder, pattern="../{modality}.npy"),
         "A modality's name becomes part of a file name;"),
        ("a folder for a file", IsADirectoryError,
         lambda folder: export.save_safetensors({"a": z(3, 2)}, folder),
         "is a folder, and was to be a file: name another."),
        ("a number for a folder", TypeError, lambda: export.save_features({"a": z(3, 2)}, 3),
         "folder must be a path; got 3."),
        ("no pattern", TypeError,
         lambda folder: export.save_features({"a": z(3, 2)}, folder, pattern=None),
         "pattern must be a string with '{modality}' in it; got None."),
        ("one table of vectors", TypeError, lambda folder: export.save_vectors(folder, z(3, 2)),
         "vectors must be"),
        ("no vectors there", FileNotFoundError, lambda folder: export.load_vectors(folder),
         "without its card nothing tells whether an export is whole."),
        ("a list to index", TypeError, lambda: export.build_index([[1.0]]),
         "vectors must be a tensor or an array; got list."),
        ("an index of no kind", ValueError, lambda: export.build_index(z(3, 2), kind="Round"),
         "kind must be what faiss.index_factory takes, such as 'Flat'"),
        ("queries of another width", ValueError,
         lambda: export.nearest(export.build_index(z(3, 2)), z(1, 5), k=1),
         "queries must be (n, 2), as the index is; got (1, 5)."),
        ("vectors for an index", TypeError, lambda folder: export.save_index(z(3, 2), folder / "i"),
         "needs a faiss.Index, as build_index and load_index give; got Tensor."),
        ("no index there", FileNotFoundError, lambda folder: export.load_index(folder / "i"),
         "is not there"),
        ("a plain model to ONNX", TypeError, lambda folder: export.save_onnx(vbpr(), folder),
         "save_onnx needs what distill() returns, which knows the students"),
    ],
}
# fmt: on


@pytest.mark.parametrize(
    ("part", "case"),
    [
        pytest.param(part, Case(*case), id=f"{part}: {case[0]}")
        for part, cases in CASES.items()
        for case in cases
    ],
)
def test_a_wrong_call_is_refused_by_us_in_our_words(part: str, case: Case, tmp_path: Path) -> None:
    for extra in EXTRAS.get(part, ()):
        pytest.importorskip(extra)
    with pytest.raises(case.error) as caught:
        case.call(*[tmp_path] * len(inspect.signature(case.call).parameters))
    assert type(caught.value) is case.error, repr(caught.value)
    assert case.text in str(caught.value)
    innermost = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert SOURCE in Path(innermost.filename).parents, innermost
    # Raised on purpose, not what Python makes of it there.
    assert (innermost.line or "").startswith("raise "), innermost


def test_the_wrong_calls_are_many_distinct_and_of_every_part() -> None:
    cases = [(part, Case(*case)) for part, several in CASES.items() for case in several]
    assert len({(part, case.name) for part, case in cases}) == len(cases) >= 60
    codes = [case.call.__code__ for _, case in cases]
    assert len({(code.co_code, code.co_names, code.co_consts) for code in codes}) == len(cases)
    parts = {path.parent.name for path in SOURCE.glob("*/__init__.py")} | {"sgfd"}
    assert set(CASES) == parts


# What takes nothing that could be wrong, or is abstract.
EXEMPT = {"id_fusion", "Recommender"}


@pytest.mark.parametrize("part", CASES)
def test_every_public_function_and_class_is_called_wrongly(part: str) -> None:
    for extra in EXTRAS.get(part, ()):
        pytest.importorskip(extra)
    public = importlib.import_module("sgfd" if part == "sgfd" else f"sgfd.{part}")
    named = {
        name
        for name, value in vars(public).items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__.startswith("sgfd.")
        and not name.startswith("_")
        # Results are tuples; errors and warnings are not called.
        and not (inspect.isclass(value) and issubclass(value, (tuple, Exception)))
    }
    words = set(re.findall(r"\w+", HERE.read_text()))
    assert named - EXEMPT <= words
