"""An MMRec checkout made to run as it is: its data, its loaders, and what it misses today.

Nothing is written into the checkout. Its code is of 2022 to 2026 and asks for Python 3.7, NumPy
1.21 and a GPU; ``shims()`` lists all that keeps it from running on a CPU with today's packages.
"""

import contextlib
import importlib.util
import io
import os
import random
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from scipy.sparse import csr_array
from torch import nn

from sgfd.data import Dataset

Features = dict[str, str | None]
FILES: Features = {"image": None, "text": None}
LIVE: Features = {"image": "image_embedding", "text": "text_embedding"}
SEED = 999


class Recipe(NamedTuple):
    """What ``distill()`` must be told of a model, and why."""

    features: Features = FILES  # None: the array of the file; else the path to read it live from
    projections: dict[str, str] | None = None
    settings: tuple[tuple[str, float], ...] = ()  # of the model, where its first would not do
    files: bool = False
    why: str = "the one layer of each width"

    def arguments(self) -> str:
        """Beside ``loss_method="calculate_loss", items=lambda batch: batch[1:]``."""
        live = {m: path for m, path in self.features.items() if path}
        said = [f"`features={live}`"] if live else []
        said += [] if live or self.features == FILES else [f"{', '.join(self.features)} only"]
        said += [f"`projections={self.projections}`"] if self.projections else []
        return ", ".join(said)


TRAINED = "trains its raw features as an embedding: read live"
MODELS = {
    "VBPR": Recipe(
        {"both": "item_raw_features"}, why="one layer reads text and image, concatenated"
    ),
    "GRCN": Recipe(),
    "DualGNN": Recipe(),
    "DRAGON": Recipe(
        projections={"image": "v_gcn.MLP", "text": "t_gcn.MLP"},
        why="image_trs and text_trs have the same widths and are never called",
    ),
    "SLMRec": Recipe(
        {"image": "v_feat", "text": "t_feat"}, why="its rows are normalized: read live"
    ),
    "LATTICE": Recipe(LIVE, why=TRAINED),
    "BM3": Recipe(LIVE, why=TRAINED),
    "FREEDOM": Recipe(
        LIVE, settings=(("reg_weight", 1e-3),), why=TRAINED + "; reg_weight=0 leaves features out"
    ),
    "MGCN": Recipe(LIVE, why=TRAINED),
    "SMORE": Recipe(LIVE, why=TRAINED),
    "PGL": Recipe(LIVE, why=TRAINED),
    "MMGCF": Recipe(),
    "MVGAE": Recipe(),
    "MMGCN": Recipe({"image": None}, why="the layer of the text's width reads users too"),
    "LGMRec": Recipe(files=True, why="bare parameters and torch.mm, no layer"),
    "DAMRS": Recipe(files=True, why="image_trs and text_trs are never called"),
    "ItemKNNCBF": Recipe(files=True, why="no parameters but a dummy"),
}


def shims() -> None:
    """What was taken away since the checkout was written, put back for this process."""
    vars(np).setdefault("float", float)  # gone from NumPy 1.24
    if not hasattr(sp.dok_matrix, "_update"):  # gone from SciPy 1.13
        sp.dok_matrix._update = _update_dok
    if not torch.cuda.is_available():  # five models call .cuda() outright
        torch.Tensor.cuda = lambda self: self  # type: ignore[method-assign]
    # Imported at the top of files that the models need; none is used by what runs here.
    for name in ("lmdb", "sparsesvd", "torchvision"):
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            for part in ("", ".transforms", ".transforms.functional"):
                sys.modules[name + part] = MagicMock()


def _update_dok(self: Any, entries: dict[tuple[int, int], float]) -> None:
    for (row, column), value in entries.items():
        self[int(row), int(column)] = value


def write_layout(data: Dataset, folder: Path) -> None:
    """The interactions of a dataset, and the graphs that three models read, as MMRec reads them."""
    folder.mkdir(parents=True)
    parts = []
    for label, part in enumerate((data.train, data.valid, data.test)):
        users, items = part.nonzero()
        parts.append(pd.DataFrame({"userID": users, "itemID": items, "x_label": label}))
    table = pd.concat(parts)
    for column, count in (("userID", data.num_users), ("itemID", data.num_items)):
        if table[column].max() + 1 != count:
            raise ValueError(f"MMRec counts {column} by the largest in use: not {count}.")
    table.to_csv(folder / f"{folder.name}.inter", sep="\t", index=False)
    # Pickled dictionaries, since that is what DualGNN, DRAGON and DAMRS load.
    for name, pairs, most in (
        ("user_graph_dict", data.train @ data.train.T, 200),
        ("item_graph_dict_2", data.train.T @ data.train, 10),
    ):
        np.save(folder / f"{name}.npy", _neighbors(csr_array(pairs), most), allow_pickle=True)


def _neighbors(pairs: csr_array, most: int) -> Any:
    """``{node: [neighbors, shared counts]}``, those who share most first."""
    graph = {}
    for node in range(pairs.shape[0]):
        row = slice(pairs.indptr[node], pairs.indptr[node + 1])
        others, counts = pairs.indices[row], pairs.data[row]
        order = [i for i in np.argsort(-counts, kind="stable") if others[i] != node][:most]
        graph[node] = [others[order].tolist(), counts[order].tolist()]
    return graph


class Checkout:
    """One model's config and loaders over one folder of data; ``build`` makes the model anew."""

    def __init__(self, source: Path, model: str, folder: Path, *, epochs: int) -> None:
        self.source, self.epochs = source, epochs
        sys.dont_write_bytecode = True
        if str(source) not in sys.path:
            sys.path.insert(0, str(source))
        os.chdir(source)  # its configs are looked for in the working directory
        shims()
        from utils.configurator import Config
        from utils.dataloader import EvalDataLoader, TrainDataLoader
        from utils.dataset import RecDataset

        options: dict[str, Any] = {
            "use_gpu": torch.cuda.is_available(),
            "data_path": f"{folder.parent}/",
            "inter_file_name": f"{folder.name}.inter",
            "USER_ID_FIELD": "userID",
            "ITEM_ID_FIELD": "itemID",
            "vision_feature_file": "image_feat.npy",
            "text_feature_file": "text_feat.npy",
            "user_graph_dict_file": "user_graph_dict.npy",
            "train_batch_size": 64,
            "epochs": epochs,
            "eval_step": epochs,
            "save_recommended_topk": False,
        }
        self.config = config = Config(model, folder.name, options)
        for name in config["hyper_parameters"]:
            # Of a list to search through, the first.
            config[name] = config[name][0] if isinstance(config[name], list) else config[name]
        for name, value in MODELS[model].settings:
            config[name] = value
        if model == "ItemKNNCBF":
            config["epochs"] = config["eval_step"] = 1  # nothing to train
        parts = RecDataset(config).split()
        for part in parts:
            str(part)  # counts its pairs, which the loaders read
        self.train = TrainDataLoader(config, parts[0], batch_size=64, shuffle=True)
        self.valid, self.test = (
            EvalDataLoader(config, part, additional_dataset=parts[0], batch_size=256)
            for part in parts[1:]
        )

    def build(self) -> nn.Module:
        """The model from the same seed, as its own start-up code makes it."""
        from utils.utils import get_model, init_seed

        init_seed(SEED)
        self.train.pr = 0  # a loop that was left early would go on where it was
        self.train.pretrain_setup()
        with contextlib.redirect_stdout(io.StringIO()):
            model: nn.Module = get_model(self.config["model"])(self.config, self.train)
        model = model.to(self.config["device"])
        # DualGNN and DRAGON: a tensor once it is moved to a GPU, but on a CPU still a parameter,
        # which their own forward cannot overwrite.
        if "result_embed" in model._parameters:
            parameter = model._parameters.pop("result_embed")
            model.result_embed = parameter.detach()
        return model

    def trainer(self, model: nn.Module) -> Any:
        """Its own Trainer."""
        from common.trainer import Trainer

        random.seed(SEED)
        return Trainer(self.config, model)
