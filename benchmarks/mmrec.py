"""distill() on the multimodal models of an MMRec checkout, none of which is edited.

    git clone https://github.com/enoche/MMRec    (GPL-3: run beside sgfd, never a part of it)
    python benchmarks/mmrec.py MMRec [--models BM3 FREEDOM] [--data DIR] [--out matrix.md]

Each model is trained by the toolbox's own Trainer, plain and distilled, from the same seed. Those
that distill() cannot serve in place read features that a distilled VBPR of sgfd exported, in files
of the toolbox's layout. ``--data`` takes a folder in that layout, and clusters of its features as
labels; without it the catalog is made up, and validation shows only that training runs. Needs
PyYAML, pandas, scikit-learn, matplotlib and (SLMRec) torch-scatter beside sgfd; no GPU.
"""

import argparse
import contextlib
import io
import json
import platform
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from mmrec_checkout import FILES, MODELS, Checkout, Recipe, write_layout
from mmrec_table import Row, page, table
from torch import Tensor, nn

import sgfd
from sgfd import DistillationWarning, Distilled, distill, paper_student, pseudo_labels
from sgfd.backbones import VBPR
from sgfd.data import Dataset, PairSampler, synthetic_catalog
from sgfd.export import save_features


def items_of(batch: Tensor) -> Tensor:
    """The rows of a batch below the users: positives, and negatives where there are any."""
    return batch[1:]


def wrap(model: nn.Module, data: Dataset, recipe: Recipe) -> Distilled:
    features = {m: path or data.features[m] for m, path in recipe.features.items()}
    assert data.labels is not None
    return distill(
        model,
        features,
        data.labels,
        projections=recipe.projections,
        loss_method="calculate_loss",
        items=items_of,
    )


@contextlib.contextmanager
def only_ours() -> Iterator[list[warnings.WarningMessage]]:
    """Nothing but what sgfd warns of, and no prints of theirs."""
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DistillationWarning)
        yield caught


def gradients(model: Distilled, own_loss: Callable[[], Tensor]) -> str:
    """Norms at the students' weights of the recommendation loss alone, on a first batch."""
    own_loss().sum().backward()
    grads = [model.student(m).weight.grad for m in model.student_paths]
    model.zero_grad()
    return ", ".join("none" if g is None else f"{float(g.norm()):.1e}" for g in grads)


def train(checkout: Checkout, model: nn.Module) -> tuple[float | None, float]:
    """Recall@20 on the validation part before and after."""
    trainer = checkout.trainer(model)
    try:
        before = float(trainer.evaluate(checkout.valid)["recall@20"])
    except TypeError:  # SLMRec keeps what it predicts, and has none yet
        before, checkout.valid.pr, checkout.valid.inter_pr = None, 0, 0
    trainer.fit(checkout.train, valid_data=checkout.valid, test_data=checkout.test, verbose=False)
    return before, float(trainer.evaluate(checkout.valid)["recall@20"])


def told_nothing(checkout: Checkout, data: Dataset) -> str:
    """What distill() says when it is given the feature files and the loss, and no more."""
    with only_ours() as caught:
        try:
            train(checkout, wrap(checkout.build(), data, Recipe()))
        except ValueError as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    said = [f"{w.category.__name__}: {' '.join(str(w.message).split())}" for w in caught]
    return "\n".join(said) or "nothing"


def in_place(name: str, checkout: Checkout, data: Dataset) -> Row:
    recipe = MODELS[name]
    with only_ours():
        _, plain = train(checkout, checkout.build())
        model = wrap(checkout.build(), data, recipe)
        batch = next(iter(checkout.train))
        model.train()
        model.pre_epoch_processing()
        reached = gradients(model, lambda: model.backbone.calculate_loss(batch))
        model = wrap(checkout.build(), data, recipe)
        rows = {m: set[int]() for m in model.student_paths}
        for m, seen in rows.items():
            model.student(m).register_forward_pre_hook(
                lambda _, args, seen=seen: seen.add(len(args[0]))
            )
        before, after = train(checkout, model)
    live = any(path for path in recipe.features.values())
    return Row(
        name,
        "in place" + ", projections=" * bool(recipe.projections) + ", live features" * live,
        recipe.why,
        recipe.arguments(),
        ", ".join(f"{m}: {path}" for m, path in model.student_paths.items()),
        ", ".join("/".join(map(str, sorted(seen))) or "never called" for seen in rows.values()),
        reached,
        before,
        after,
        plain,
        told_nothing(checkout, data),
    )


def through_files(name: str, checkout: Checkout, data: Dataset) -> Row:
    """The model on features that a distilled VBPR of ours exported, in a folder of its own."""
    with only_ours():
        _, plain = train(checkout, checkout.build())
    untold = told_nothing(checkout, data)
    assert data.labels is not None
    backbone = VBPR(data.train, data.features)
    ours = distill(backbone, data.features, data.labels, student=paper_student)
    sampler = PairSampler(data.train, batch_size=64, seed=0)
    first = next(iter(sampler.epoch(0)))
    reached = gradients(ours, lambda: ours.backbone(first))
    optimizer = torch.optim.Adam(ours.parameters(), lr=3e-3)
    for epoch in range(checkout.epochs):
        for batch in sampler.epoch(epoch):
            optimizer.zero_grad()
            ours(batch).backward()
            optimizer.step()
    with tempfile.TemporaryDirectory() as temporary:
        exported = Path(temporary) / "distilled"
        write_layout(data, exported)
        save_features(ours.export(), exported)
        again = Checkout(checkout.source, name, exported, epochs=checkout.epochs)
        with only_ours():
            before, after = train(again, again.build())
    return Row(
        name,
        "through exported files",
        MODELS[name].why,
        "",
        ", ".join(f"{m}: {path} of sgfd's VBPR" for m, path in ours.student_paths.items()),
        "a batch's",
        reached,
        before,
        after,
        plain,
        untold,
    )


def run(name: str, source: Path, folder: Path, data: Dataset, epochs: int) -> Row:
    if not (source / "models" / f"{name.lower()}.py").is_file():
        return Row(name, "not run", "not in this checkout")
    try:
        serve = through_files if MODELS[name].files else in_place
        return serve(name, Checkout(source, name, folder, epochs=epochs), data)
    except Exception as error:
        return Row(name, "not run", f"{type(error).__name__}: {error}".splitlines()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--data", type=Path, help="a folder in MMRec's layout, image and text")
    parser.add_argument("--classes", type=int, default=20, help="clusters, as labels of --data")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, help="write the table as Markdown, and as .json beside")
    args = parser.parse_args()
    source, out = (args.checkout / "src").resolve(), args.out and args.out.resolve()
    if not (source / "models").is_dir():
        parser.error(f"{args.checkout} must be a checkout of MMRec, with src/models in it")
    if args.data is None:
        sizes = {"num_users": 240, "num_items": 150, "interactions_per_user": 9}
        data = synthetic_catalog(**sizes, widths={"image": 96, "text": 48})  # type: ignore[arg-type]
    else:
        data = Dataset.load(args.data, modalities=list(FILES))
        labels = pseudo_labels(data.features, args.classes).labels.numpy()
        data = Dataset.load(args.data, modalities=list(FILES), labels=labels)
    git = ["git", "-C", str(source), "log", "-1", "--format=%h of %cs"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    about = (
        f"MMRec {commit}; sgfd {sgfd.__version__}, torch {torch.__version__}, NumPy "
        f"{np.__version__}, Python {platform.python_version()}; {data.name}: {data.num_users:,} "
        f"users, {data.num_items:,} items; {args.epochs} epochs; default weights of SGFDLoss."
    )
    print(about, flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "catalog"
        write_layout(data, folder)
        save_features(data.features, folder)
        for name in MODELS:
            row = Row(name, "not run", "not asked for")
            if name in args.models:
                row = run(name, source, folder, data, args.epochs)
                print(table([row]).splitlines()[-1], flush=True)
            rows.append(row)
    print("\n" + table(rows))
    if out:
        out.write_text(page(about, rows), encoding="utf-8")
        result = {"about": about, "rows": [row._asdict() for row in rows]}
        out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
