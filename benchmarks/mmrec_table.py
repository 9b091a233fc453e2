"""The matrix of benchmarks/mmrec.py as a page."""

from typing import NamedTuple


class Row(NamedTuple):
    """One line of the matrix; validation is the toolbox's Recall@20 after its last epoch."""

    model: str
    served: str
    why: str = ""
    arguments: str = ""
    student: str = ""
    rows: str = ""  # that a student is given in a step
    gradient: str = ""  # norm at its weight, of the recommendation loss alone
    before: float | None = None  # None: the model cannot be asked before its first loss
    after: float | None = None
    plain: float | None = None  # after as much training without sgfd
    untold: str = ""  # what distill() says without those arguments


HEADS = (
    "| model | served | why | arguments | student | rows given | gradient | Recall@20 before | "
    "after | after without sgfd | what distill() says without the arguments |"
)


def table(rows: list[Row]) -> str:
    lines = [HEADS, "|" + "---|" * len(Row._fields)]
    for row in rows:
        said = dict.fromkeys(shorten(message) for message in row.untold.split("\n"))
        short = row._replace(untold="; ".join(said))
        cells = ["" if c is None else f"{c:.4f}" if isinstance(c, float) else c for c in short]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def shorten(said: str) -> str:
    """Up to the second colon, after which a message explains; the JSON has all of it."""
    return ": ".join(said.split(": ")[:2])


def page(about: str, rows: list[Row]) -> str:
    """What docs/mmrec_matrix.md holds."""
    return f"""# distill() on the models of the MMRec toolbox

Printed by `python benchmarks/mmrec.py CHECKOUT --out docs/mmrec_matrix.md`, from an untouched
checkout, each model through the toolbox's own Trainer.

{about}

Beside the arguments in the table every model in place was given
`loss_method="calculate_loss", items=lambda batch: batch[1:]`, and features not named there from the
files. *Rows given* are those that a student reads in a step. *Gradient* is the norm at its weight
of the recommendation loss alone, on a first batch. Recall@20 is the toolbox's, on the validation
part, before training and after the last epoch, and after as much training without sgfd; *before* is
empty where the model cannot be asked before its first loss. Through exported files: the model on
what sgfd's VBPR (`student=paper_student`) learned, the student and its gradient being that VBPR's.

{table(rows)}
"""
