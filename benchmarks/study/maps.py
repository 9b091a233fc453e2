"""Features as the recommender reads them: plain beside distilled."""

import matplotlib as mpl
import torch

from sgfd.plots import plot_feature_maps

from .arms import arms_of
from .grid import Places, Run
from .train import best_of, catalog
from .tune import tuned

mpl.use("Agg")
import matplotlib.pyplot as plt


def draw_maps(run: Run, places: Places) -> None:
    """A t-SNE per modality of the plain layer's output and of the student's, colored by label."""
    read = {arm: _features(run._replace(arm=arm), places) for arm in ("plain", run.arm)}
    data = catalog(run, places.root)
    if read["plain"] is None or read[run.arm] is None or data.labels is None:
        return
    for m in data.features:
        figure = plot_feature_maps(
            read["plain"][m],
            read[run.arm][m],
            data.labels,
            label_names=data.label_names,
            titles=(f"{run.data} {run.backbone}, {m}: plain", run.arm),
            max_points=2500,
        )
        figure.savefig(places.results / f"map_{run.data}_{run.backbone}_{m}.png", dpi=80)
        plt.close(figure)


@torch.no_grad()
def _features(run: Run, places: Places) -> dict[str, torch.Tensor] | None:
    params = tuned(run, places)
    if params is None or not (best := best_of(run, params, places)).exists():
        return None
    data = catalog(run, places.root)
    model = arms_of(run.backbone)[run.arm].build(data, run.backbone, params, run.seed)
    model.load_state_dict(torch.load(best, weights_only=True, map_location="cpu"))
    if hasattr(model, "export"):
        return dict(model.export())
    everything = torch.arange(data.num_items)
    return {m: layer(model.features[m](everything)) for m, layer in model.projections.items()}
