"""Popularity added to what was trained: is a gain more than what a count of users knows?"""

from collections.abc import Iterator, Sequence

from sgfd.evaluation import evaluate, with_popularity

from .confirm import log_read, scores_of
from .effects import Arms, change, effects, finished, per_user, table
from .grid import PRIMARY, Places, Run
from .machine import checkout
from .stats import effect
from .store import Row, add_row, left_to_do, read_rows, row_of, save_users
from .train import for_validation, users_of
from .tune import tuned

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0)
ARMS = ("plain", "alone", "ours")  # that are looked at where none is named
AGAIN: tuple[Arms, ...] = (("ours", "plain"), ("alone", "plain"))
PART = "popularity"


def add_popularity(runs: Sequence[Run], places: Places) -> Iterator[Row]:
    """Of runs whose test part was read: the weight that is best on validation, and the test part.

    Every such reading is exploratory. Several processes can share it.
    """
    seen = read_rows(places.results / "test.jsonl")
    path = places.results / f"{PART}.jsonl"
    done = read_rows(path)
    left = [
        (run, params)
        for run in runs
        if row_of(run, params := tuned(run, places), seen) and not row_of(run, params, done)
    ]
    for cell in dict.fromkeys(run[:2] for run, _ in left):
        mine = [(run, params) for run, params in left if run[:2] == cell]
        log_read(
            [run for run, _ in mine],
            what=PART,
            label="exploratory",
            commit=checkout()["commit"],
            places=places,
        )
        for run, params in mine:
            with left_to_do(run, params, path, places) as at_it:
                if at_it:
                    row = run._asdict() | {"params": params} | _best(run, params, places)
                    add_row(path, row, locks=places.scratch / "locks")
                    yield row


def _best(run: Run, params: Row, places: Places) -> Row:
    data, scores = scores_of(run, params, places)
    valid, by_weight = for_validation(data, run).valid, {}
    for weight in WEIGHTS:
        both = with_popularity(scores, data.train, weight=weight)
        by_weight[weight] = evaluate(both, valid, seen=data.train).means()[PRIMARY]
    weight = max(by_weight, key=lambda w: by_weight[w])
    ranked = evaluate(with_popularity(scores, data.train, weight=weight), data.test, seen=data.seen)
    save_users(users_of(run, PART, places), ranked)
    return {"weight": weight, "validation": list(by_weight.items()), PART: ranked.means()}


def added_table(before: dict[Run, Row], places: Places) -> str:
    """What it adds to plain, what is left between arms that all have it; then what to each arm.

    Of these rows of the test part, those to which it was added.
    """
    after = finished(before, places, PART)
    found, rows = {}, []
    for arm in dict.fromkeys(run[:3] for run in after):
        mine = [run for run in after if run[:3] == arm]
        values = per_user(before, mine, places, "test"), per_user(after, mine, places, PART)
        found[arm] = gain = effect(*values)
        weights = " ".join(f"{after[run]['weight']:g}" for run in mine)
        means = [f"{gain.mean_a:.4f}", f"{gain.mean_b:.4f}"]
        rows.append([" ".join(arm), weights, *means, change(gain)])
    if not rows:
        return ""
    families = [effects(after, places, PART, arms) for arms in AGAIN]
    cells = [
        [
            " ".join(arm[:2]),
            f"{gain.mean_a:.4f}",
            change(gain),
            *(change(family.get(arm[:2])) for family in families),
        ]
        for arm, gain in found.items()
        if arm[2] == "plain"
    ]
    header = ["cell", "plain", "with popularity"]
    header += [f"{b} against {a}, both with" for b, a in AGAIN]
    each = ["arm", "weight by seed", "without", "with", "change"]
    return table(header, cells) + "\n\n" + table(each, rows)
