"""The paper's recipes as values: Tables 7 and 8, the datasets of pre-finetuning, and the fine-tuning searches.

Pre-finetuning (appendix A.2). `TABLE7` is BART's, `TABLE8` is RoBERTa's, for base and large alike. What the tables
leave out (P28): no clipping for RoBERTa and 0.1 for BART, attention dropout and label smoothing 0.1, as in the recipes
that the same codebase publishes.

Fine-tuning (§4: "a fixed hyper-parameter search … learning rate, Adam ε … and dropout"). The paper gives no grid
(P37). Ours, settled once for every table, from the codebase's published recipes (fairseq, `README.glue.md` of
`examples/roberta` and `examples/bart`): their learning rates (RoBERTa 1e-5 and 2e-5, BART 5e-6 to 2e-5) and 3e-5, which
its search for CommonsenseQA adds, the Adam ε of RoBERTa's (1e-6) and of BART's and Tables 7 and 8 (1e-8), dropout 0.1
and none: 12 points. Each point runs with 5 seeds on all training rows, evaluated at each epoch's end (P58); with a part
held out for the honest protocol, these are other runs (P59). All else is fixed per dataset, after the published recipe
where there is one: 10 epochs, 6 % warm-up (RoBERTa's QQP 25 %), β₂ 0.98, decay 0.1 (BART 0.01), no clipping; `OTHERS`
has RoBERTa's for RACE and CommonsenseQA; SQuAD: 2 epochs of 48 (ours, that codebase has no recipe for it).

Seeds of pre-finetuning (P60): `PRE_SEEDS` where arms are compared with each other (RoBERTa-base and BART), 1 elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any, Literal

from muppet.runs import R3F, Finetune, Prefinetune, Recipe
from muppet.tasks import SCALES, get
from muppet.tasks import mixture as tasks_of
from muppet.tasks import scale_order as joining_order
from muppet.tasks.task import Task
from studies.kit.decisions import option
from studies.kit.study import Cell

Kind = Literal["roberta", "bart"]
Start = str | Prefinetune | tuple[Prefinetune, ...]  # of fine-tuning; several: one pre-finetuning with several seeds

ROBERTA_B, ROBERTA_L, BART = "FacebookAI/roberta-base", "FacebookAI/roberta-large", "facebook/bart-large"
RELEASED_B, RELEASED_L = "facebook/muppet-roberta-base", "facebook/muppet-roberta-large"

TABLE7 = Recipe(
    optimizer="adam", adam_betas=(0.9, 0.999), adam_eps=1e-8, lr=6e-5, schedule="polynomial", dropout=0.1,
    weight_decay=0.01, warmup_updates=5_000, updates=200_000, max_tokens=1024,
    max_length=1024, attention_dropout=0.1, activation_dropout=0.0, label_smoothing=0.1, clip_norm=0.1,
)
TABLE8 = Recipe(
    optimizer="adam", adam_betas=(0.9, 0.999), adam_eps=1e-8, lr=3e-5, schedule="polynomial", dropout=0.1,
    weight_decay=0.01, warmup_updates=5_000, updates=200_000, max_tokens=4400,
    max_length=512, attention_dropout=0.1,
)

# The defaults of the released criteria (P27): that of sentence prediction, and for summaries that of translation.
RELEASED_R3F: dict[Kind, R3F] = {
    "roberta": R3F(),
    "bart": R3F(summaries=R3F(noise="normal", detach=False, token_kl="sum")),
}

SEEDS = range(5)
PRE_SEEDS = range(3)  # fine-tuning seed s starts from pre-finetuning seed s modulo 3: no fine-tuning more for it
EVALUATIONS = 10  # of a recipe in updates; one in epochs is evaluated at the end of each
SEARCH = {"roberta": (1e-5, 2e-5, 3e-5), "bart": (5e-6, 1e-5, 2e-5)}  # learning rates
SUMMARIES = (1e-5, 3e-5, 6e-5)  # of summarization: the published 3e-5 and Table 7's, nothing else searched
SQUAD = {  # answers to the decision `squad`: task, metric
    "v1.1-em": ("squad", "em"), "v1.1-f1": ("squad", "f1"),
    "v2.0-em": ("squad_v2", "em"), "v2.0-f1": ("squad_v2", "f1"),
}
EPSILONS = (1e-6, 1e-8)
DROPOUTS = (0.1, 0.0)

# Sentences of one update: the published fairseq recipes of RoBERTa and BART for GLUE; 16 for a set they do not list.
SENTENCES: dict[Kind, dict[str, int]] = {
    "roberta": {"mnli": 32, "qnli": 32, "qqp": 32, "sst2": 32, "squad": 48, "squad_v2": 48},
    "bart": {
        "mnli": 128, "qnli": 32, "qqp": 32, "rte": 32, "sst2": 128, "mrpc": 64, "cola": 64, "stsb": 32,
        "squad": 48, "squad_v2": 48,
    },
}
# What RoBERTa's published recipes for other sets have otherwise than those for GLUE (README.race.md, commonsense_qa).
OTHERS: dict[tuple[Kind, str], dict[str, Any]] = {
    ("roberta", "race"): {"epochs": 5, "schedule": "constant", "warmup_share": None, "weight_decay": 0.01},
    ("roberta", "commonsense_qa"): {
        "epochs": None, "updates": 3_000, "warmup_share": None, "warmup_updates": 150, "weight_decay": 0.01,
    },
}
SMALL = 10_000  # training rows below which a head is re-used, and a tenth of the rows held out rather than a fiftieth


def kind(model: str) -> Kind:
    """Which of the paper's two families a model is of."""
    return "bart" if "bart" in model.lower() else "roberta"


def mixture(model: str) -> tuple[Task, ...]:
    """The datasets that `model` is pre-finetuned on (appendix A.1); an encoder cannot learn the summarization sets."""
    tasks = [*tasks_of("unique_45")]
    if option("mnli") == "twice":
        tasks.append(get("multinli"))
    return tuple(task for task in tasks if kind(model) == "bart" or task.family != "summarization")


def prefinetuning(model: str, tasks: tuple[Task, ...] | None = None, *, seed: int = 0) -> Prefinetune:
    """The pre-finetuning of `model` on `tasks` (its whole mixture by default) with Table 7 or 8's recipe."""
    family = kind(model)
    regularised = option("r3f") in ("both", family)
    decided: dict[str, Any] = {
        "averaging": option("averaging"),
        "optimizer": option("optimizer"),
        "heads": option("heads"),
        "unused_heads": option("unused_heads"),
        "r3f": RELEASED_R3F[family] if regularised else None,
    }
    recipe = replace(TABLE7 if family == "bart" else TABLE8, **decided)
    return Prefinetune(model=model, tasks=tasks or mixture(model), recipe=recipe, seed=seed)


def repeated(run: Prefinetune) -> tuple[Prefinetune, ...]:
    """`run` with each of the seeds of pre-finetuning."""
    return tuple(replace(run, seed=seed) for seed in PRE_SEEDS)


def rows() -> dict[str, Start]:
    """The measured rows of Tables 3 to 5: what each starts from."""
    return {
        "RoBERTa-B": ROBERTA_B,
        "RoBERTa-B + MUPPET": repeated(prefinetuning(ROBERTA_B)),
        "RoBERTa-B + MUPPET (released)": RELEASED_B,
        "RoBERTa-L": ROBERTA_L,
        "RoBERTa-L + MUPPET": prefinetuning(ROBERTA_L),
        "RoBERTa-L + MUPPET (released)": RELEASED_L,
        "BART": BART,
        "BART + MUPPET": repeated(prefinetuning(BART)),
    }


BASE = {row: row.partition(" + ")[0] for row in (  # what each row of Tables 3 to 5 is compared with
    "RoBERTa-B + MUPPET", "RoBERTa-B + MUPPET (released)",
    "RoBERTa-L + MUPPET", "RoBERTa-L + MUPPET (released)", "BART + MUPPET",
)}


def finetuning(task: Task, family: Kind) -> Recipe:
    """The fixed part of fine-tuning on `task`: the first point of its search."""
    if task.family == "summarization":
        # The published recipe of BART for CNN/DailyMail (README.summarization.md); it is used for the others too.
        return Recipe(
            lr=SUMMARIES[0], adam_betas=(0.9, 0.999), dropout=0.1, attention_dropout=0.1, activation_dropout=0.0,
            updates=20_000, warmup_updates=500, max_tokens=2048, max_length=1024, sub_batches=32, clip_norm=0.1,
            label_smoothing=0.1, loss_scaling="none", averaging="token",
        )
    span = task.family == "span"
    recipe = Recipe(
        lr=SEARCH[family][0], adam_betas=(0.9, 0.98), adam_eps=EPSILONS[0], dropout=DROPOUTS[0], attention_dropout=0.1,
        activation_dropout=0.0 if family == "bart" else None,  # RoBERTa's layers have none
        weight_decay=0.01 if family == "bart" or span else 0.1, epochs=2 if span else 10,
        warmup_share=0.25 if (family, task.name) == ("roberta", "qqp") else 0.06,
        max_examples=SENTENCES[family].get(task.name, 16), max_length=384 if span else 512, sub_batches=1,
        loss_scaling="none",
    )
    return replace(recipe, **OTHERS.get((family, task.name), {}))


@lru_cache(maxsize=None)  # hundreds of cells share a search
def search(recipe: Recipe, family: Kind) -> tuple[Recipe, ...]:
    """Every point of the search around `recipe`."""
    if recipe.label_smoothing is not None:
        return tuple(replace(recipe, lr=lr) for lr in SUMMARIES)
    points = product(SEARCH[family], EPSILONS, DROPOUTS)
    return tuple(replace(recipe, lr=lr, adam_eps=eps, dropout=dropout) for lr, eps, dropout in points)


def reuses_head(init: str | Prefinetune, task: Task) -> bool:
    """Whether fine-tuning starts from the head of pre-finetuning (§4, P32): MRC, commonsense, and small sets."""
    if isinstance(init, str) or task.name not in {seen.name for seen in init.tasks}:
        return False
    small = task.family in ("span", "commonsense") or (task.train_rows or SMALL) < SMALL
    return {"paper": small, "always": True, "never": False}[str(option("reuse_head"))]


def finetunings(start: Start, task: Task) -> tuple[Finetune, ...]:
    """Every run behind one cell: each point of the search with each seed, on all training rows."""
    starts = start if isinstance(start, tuple) else (start,)
    family = kind(starts[0] if isinstance(starts[0], str) else starts[0].model)
    reuse = reuses_head(starts[0], task)
    return tuple(
        Finetune(
            init=starts[seed % len(starts)],
            task=task,
            recipe=recipe,
            seed=seed,
            reuse_head=reuse,
            evaluations=round(recipe.epochs) if recipe.epochs else EVALUATIONS,
        )
        for recipe in search(finetuning(task, family), family)
        for seed in SEEDS
    )


def apart(runs: Iterable[Finetune]) -> tuple[Finetune, ...]:
    """`runs` with a part of the training rows held out: a tenth, of large sets a fiftieth."""
    return tuple(
        replace(run, held_out=0.1 if (run.task.train_rows or SMALL) < SMALL else 0.02) for run in runs
    )


def measured(
    row: str, column: str, start: Start, task: Task, metric: str, printed: str = "", split: str | None = None
) -> Cell:
    """The cell of `task` fine-tuned from `start`: its search × seeds, scored by `metric`, in the paper `printed`."""
    runs = finetunings(start, task)
    return Cell(
        row=row,
        column=column,
        metric=printed or metric,
        runs=runs,
        honest=apart(runs),
        score=task.key(split, metric),
        judge=task.key(split),
        select=task.key("held_out"),
    )


def summarized(row: str, column: str, start: Start, task: Task) -> list[Cell]:
    """The three ROUGE scores of one set of runs, on the test split (P42)."""
    scores = {"R1": "rouge1", "R2": "rouge2", "RL": str(option("rouge"))}
    return [measured(row, column, start, task, metric, name, "test") for name, metric in scores.items()]


def folded(row: str, column: str, start: Start, task: Task, metric: str) -> Cell:
    """Ten-fold cross-validation for a set without an evaluation split (P15): fold i holds out tenth i, with seed i."""
    runs: list[Finetune] = []
    for fold in range(10):
        rest = tuple(tenth for tenth in range(10) if tenth != fold)
        part = replace(task, partition=(("train", rest), ("validation", (fold,))), evaluation=("validation",))
        starts = start[fold % len(start)] if isinstance(start, tuple) else start
        runs += [replace(run, seed=fold) for run in finetunings(starts, part) if run.seed == 0]
    return Cell(
        row=row, column=column, metric=metric, runs=tuple(runs), honest=apart(runs),
        score=task.key("validation", metric), judge=task.key("validation"), select=task.key("held_out"), folds=True,
    )


def squad() -> tuple[Task, str]:
    """The version of SQuAD that the paper's cell stands for, and its metric (P40)."""
    name, metric = SQUAD[str(option("squad"))]
    return get(name), metric


def five() -> dict[str, tuple[Task, str]]:
    """The five evaluation sets of Figures 1 and 2 with their metrics (P11)."""
    first = {"rte": ("RTE", (get("rte"), "accuracy")), "stsb": ("STS-B", (get("stsb"), "spearman"))}
    name, pair = first[str(option("figure1_first"))]
    rest = {"BoolQ": "boolq", "RACE": "race", "SQuAD": "", "MNLI": "mnli"}
    return {name: pair} | {row: (get(task), "accuracy") if task else squad() for row, task in rest.items()}


def scale_order(model: str) -> tuple[Task, ...]:
    """The order in which datasets join the scale curve (P18). The unseen sets stay out (P12), a third one too, as does
    what `model` cannot learn; the five evaluation sets come first, whichever of them the figure plots (P11, P40)."""
    order = (get(name) for name in joining_order(int(option("scale_order"))) if name != option("scale_third_task"))
    return tuple(task for task in order if kind(model) == "bart" or task.family != "summarization")


def scales(model: str, unseen: tuple[str, ...] = ()) -> dict[str, tuple[int, Start]]:
    """The checkpoints of Figures 1 and 3 by name, as (number of datasets, what fine-tuning starts from).

    The last is the tables' own pre-finetuning, but for the datasets named `unseen`. It holds each dataset once, while
    the points before it count appendix entries, two of which repeat others (P4, P5) and join last.
    """
    order = scale_order(model)
    last = tuple(task for task in mixture(model) if task.name not in unseen)
    points: dict[str, tuple[int, Start]] = {"0 sets": (0, model)}
    points |= {f"{k} sets": (k, prefinetuning(model, order[:k])) for k in SCALES if k <= len(order)}
    if unseen:
        return points | {f"{len(last)} sets (each once)": (len(last), prefinetuning(model, last))}
    entries = len({*order, *last})
    return points | {f"{entries} sets (all)": (entries, repeated(prefinetuning(model, last)))}
