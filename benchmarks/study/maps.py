"""Features as the recommender reads them: plain beside distilled."""

from typing import Any

import matplotlib as mpl
import torch

from sgfd import Distilled
from sgfd.plots import plot_feature_maps

from .grid import Places, Run
from .train import is_done, loaded
from .tune import tuned

mpl.use("Agg")
import matplotlib.pyplot as plt


def draw_maps(run: Run, places: Places) -> None:
    """A t-SNE per modality of the plain layer's output and of the student's, colored by label."""
    runs = [run._replace(arm="plain"), run]
    chosen = [(each, params) for each in runs if (params := tuned(each, places)) is not None]
    done = [loaded(*each, places) for each in chosen if is_done(*each, places)]
    if len(done) < len(runs):
        return
    before, after = (_features(model, data.num_items) for data, model in done)
    data = done[1][0]
    for m in data.features:
        figure = plot_feature_maps(
            before[m],
            after[m],
            data.labels,
            label_names=data.label_names,
            titles=(f"{run.data} {run.backbone}, {m}: plain", run.arm),
            max_points=2500,
        )
        figure.savefig(places.results / f"map_{run.data}_{run.backbone}_{m}.png", dpi=80)
        plt.close(figure)


@torch.no_grad()
def _features(model: Any, num_items: int) -> dict[str, torch.Tensor]:
    if isinstance(model, Distilled):
        return model.export()
    items = torch.arange(num_items)
    return {m: layer(model.features[m](items)) for m, layer in model.projections.items()}
