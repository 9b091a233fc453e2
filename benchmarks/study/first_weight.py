"""Of the trials, those at the weights that ours tries first, beside the same without a teacher."""

from collections.abc import Iterable

from .effects import Cell, percent, table
from .grid import PRIMARY, Params, Places, Run
from .models import WITHOUT
from .space import TAUGHT
from .store import Row, read_rows, row_of

SHARED = ("learning_rate", "reg_weight")  # of a recommender with a teacher and of that without


def first_weight_table(cells: Iterable[Cell], places: Places) -> str:
    """A line for each layer and configuration that was tried with both labels and with none.

    NDCG@20 of the first seed's validation part, and the best epoch.
    """
    rows = read_rows(places.results / "trials.jsonl")
    lines = []
    for cell in cells:
        mine = [r for r in rows if (r["data"], r["backbone"]) == cell and "best_epoch" in r]
        for true in (r for r in mine if r["arm"] == "ours" and _at_first_weight(r["params"])):
            params, run = true["params"], Run(*(true[f] for f in Run._fields))
            shared = {name: params[name] for name in SHARED}
            without = row_of(run._replace(arm=WITHOUT[params["student"]]), shared, mine)
            shuffled = row_of(run._replace(arm="labels-shuffled"), params, mine)
            if without and shuffled:
                shown = [_shown(row) for row in (without, true, shuffled)]
                changes = [_change(true, first) for first in (without, shuffled)]
                lines.append([" ".join(cell), params["student"], *shown, *changes])
    header = ["cell", "layer", "no teacher", "true labels", "shuffled labels"]
    return table([*header, "true against none", "true against shuffled"], lines) if lines else ""


def _at_first_weight(params: Params) -> bool:
    return all(params[name] == value for name, value in TAUGHT.items())


def _shown(row: Row) -> str:
    return f"{row['validation'][PRIMARY]:.4f} (epoch {row['best_epoch'] + 1})"


def _change(row: Row, first: Row) -> str:
    return f"{percent(row['validation'][PRIMARY] / first['validation'][PRIMARY] - 1)} %"
