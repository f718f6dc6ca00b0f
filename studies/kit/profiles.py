"""A profile is a function from a declared run to the run that is done: the paper's, its part for one GPU, a small real
one or a tiny made-up one.

A scaled run has other facts and so another id: a small result can never land in a paper-size cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from muppet.errors import unknown
from muppet.paths import MINILM
from muppet.runs import Finetune, Prefinetune, Recipe, Run, Source
from muppet.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Profile:
    """`scale` gives the run to do in place of a declared one, or None when the profile leaves it out."""

    name: str
    caption: str  # what a reader must know wherever its numbers are shown
    scale: Callable[[Run], Run | None]
    comparable: bool = False  # the paper's models on whole data: its numbers may stand against the paper's
    checkpoints: bool = False  # every seed of a pre-finetuning is run, not the first alone (P60)

    def __call__(self, run: Run) -> Run | None:
        """The run to do in place of `run`."""
        return self.scale(run if self.checkpoints else _first_checkpoint(run))


def get(name: str) -> Profile:
    """The profile called `name`. Raises UserError."""
    if name not in PROFILES:
        raise unknown("profile (PROFILE)", name, PROFILES)
    return PROFILES[name]


# ---------------------------------------------------------------- smoke

SMOKE_MODELS = {
    "FacebookAI/roberta-base": "tiny/roberta",
    "FacebookAI/roberta-large": "tiny/roberta-large",
    "facebook/bart-large": "tiny/bart",
    "facebook/muppet-roberta-base": "tiny/muppet-roberta",
    "facebook/muppet-roberta-large": "tiny/muppet-roberta-large",
}
SMOKE_SEEDS, SMOKE_TRAIN, SMOKE_EVALUATION = 1, 1024, 200


def _smoke(run: Run) -> Run | None:
    model = SMOKE_MODELS.get(_model(run))
    if model is None or run.seed >= SMOKE_SEEDS:
        return None
    if isinstance(run, Prefinetune):
        recipe = _small(
            run.recipe,
            lr=1e-3,
            dropout=0.0,
            updates=60,
            warmup_updates=6,
            max_tokens=512,
            max_examples=None,
            max_length=128,
            sub_batches=8,
        )
        return replace(run, model=model, recipe=recipe, source="twins", train_rows=SMOKE_TRAIN)
    recipe = _small(
        run.recipe,
        lr=3e-3,
        dropout=0.0,
        updates=60,
        warmup_updates=4,
        max_tokens=None,
        max_length=128,
        max_examples=32,
        sub_batches=1,
    )
    return _finetune(run, _smoke, model, recipe, "twins", SMOKE_TRAIN, SMOKE_EVALUATION)


# ---------------------------------------------------------------- mini

MINI_MODELS = {"FacebookAI/roberta-base": MINILM}
MINI_SEEDS, MINI_TRAIN, MINI_EVALUATION = 2, 2_500, 300
# Sets whose training rows the mirror holds (some only as its own partition, see Task.carved) and the Hub too.
MINI_TASKS = frozenset(
    "cola sst2 mrpc qqp mnli qnli rte stsb boolq multirc wic wsc cb ag_news imdb rotten_tomatoes trec wiki_qa snli "
    "eraser_multirc copa openbookqa hellaswag commonsense_qa arc_easy arc_challenge squad squad_v2".split()
)


def _mini(run: Run) -> Run | None:
    model = MINI_MODELS.get(_model(run))
    if model is None or run.seed >= MINI_SEEDS:
        return None
    if isinstance(run, Prefinetune):
        tasks = _mini_tasks(run.tasks)
        recipe = _small(
            run.recipe,
            lr=2e-4,
            updates=80,
            warmup_updates=8,
            max_tokens=640,
            max_examples=None,
            max_length=128,
            sub_batches=8,
        )
        return replace(run, model=model, tasks=tasks, recipe=recipe, train_rows=MINI_TRAIN) if tasks else None
    if run.task.name not in MINI_TASKS:
        return None
    train_on = run.train_on and tuple(pair for pair in run.train_on if pair[0].name in MINI_TASKS)
    evaluate_on = run.evaluate_on and _mini_tasks(run.evaluate_on)
    run = replace(run, train_on=train_on or None, evaluate_on=evaluate_on or None)
    recipe = _small(
        run.recipe,
        lr=2e-4,
        updates=60,
        warmup_share=0.06,
        max_tokens=None,
        max_length=128,
        max_examples=16,
        sub_batches=1,
    )
    return _finetune(run, _mini, model, recipe, "hub", MINI_TRAIN, MINI_EVALUATION)


def _mini_tasks(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    return tuple(task for task in tasks if task.name in MINI_TASKS)


# ---------------------------------------------------------------- base

BASE_MODELS = ("FacebookAI/roberta-base", "facebook/muppet-roberta-base")
BASE_SEEDS = 3  # the fewest that give an interval
# Published points of fine-tuning (fairseq, examples/roberta and examples/bart): Adam's ε, and the learning rates that
# are not 1e-5. Summaries have one of their own.
PUBLISHED = {
    "roberta": (1e-6, {"rte": 2e-5, "stsb": 2e-5}),
    "bart": (1e-8, {"mnli": 5e-6, "sst2": 5e-6, "mrpc": 2e-5, "cola": 2e-5, "stsb": 2e-5}),
}
SUMMARY_LR = 3e-5


def _point(run: Finetune) -> dict[str, float]:
    """What a search varies, at its published point."""
    if run.task.family == "summarization":
        return {"lr": SUMMARY_LR}
    adam_eps, rates = PUBLISHED["bart" if "bart" in _model(run).lower() else "roberta"]
    return {"lr": rates.get(run.task.name, 1e-5), "adam_eps": adam_eps, "dropout": 0.1}


def published(run: Run) -> bool:
    """Whether a run is at the published point of its fine-tuning's search; a pre-finetuning has no search."""
    return isinstance(run, Prefinetune) or all(getattr(run.recipe, name) == at for name, at in _point(run).items())


def _base(run: Run) -> Run | None:
    """Whole data and the declared pre-finetuning; the search becomes the published point, so nothing is held out."""
    folds = isinstance(run, Finetune) and run.task.partition is not None  # whose seed is the fold's number
    if _model(run) not in BASE_MODELS or (run.seed >= BASE_SEEDS and not folds):
        return None
    if isinstance(run, Prefinetune):
        return run
    return replace(run, recipe=replace(run.recipe, **_point(run)), held_out=None)  # type: ignore[arg-type]


# ---------------------------------------------------------------- shared

EVALUATIONS = 2  # along a small fine-tuning: halfway and at the end


def _first_checkpoint(run: Run) -> Run:
    """`run`, or what it starts from, with the first seed of pre-finetuning."""
    if isinstance(run, Prefinetune):
        return replace(run, seed=0) if run.seed else run
    return replace(run, init=_first_checkpoint(run.init)) if isinstance(run.init, Prefinetune) else run  # type: ignore[arg-type]


def _model(run: Run) -> str:
    """The pre-trained model at the root of a run."""
    if isinstance(run, Prefinetune):
        return run.model
    return run.init if isinstance(run.init, str) else run.init.model


def _small(recipe: Recipe, **changes: object) -> Recipe:
    """`recipe` at another size. What an experiment varies (batching, scaling, heads, R3F, …) stays as declared; the
    searched fields are set, so that a search becomes one point."""
    length = {"updates": None, "epochs": None, "warmup_updates": None, "warmup_share": None}
    return replace(recipe, **(length | {"adam_eps": 1e-8, "dropout": 0.1} | changes))  # type: ignore[arg-type]


def _finetune(
    run: Finetune,
    scale: Callable[[Run], Run | None],
    model: str,
    recipe: Recipe,
    source: Source,
    train_rows: int,
    evaluation_rows: int,
) -> Finetune | None:
    """The scaled fine-tuning: its parent scaled too, and nothing held out, since a single point needs no selection."""
    init = model if isinstance(run.init, str) else scale(run.init)
    if init is None:
        return None
    assert not isinstance(init, Finetune)
    return replace(
        run,
        init=init,
        recipe=recipe,
        held_out=None,
        evaluations=EVALUATIONS,
        source=source,
        train_rows=train_rows,
        evaluation_rows=evaluation_rows,
    )


PROFILES: Mapping[str, Profile] = {
    "smoke": Profile(
        name="smoke",
        caption="two-layer models with random weights on synthetic twins of the datasets: shows that every part works, "
        "says nothing about the paper",
        scale=_smoke,
    ),
    "mini": Profile(
        name="mini",
        caption="all-MiniLM-L6-v2 in RoBERTa-base's place, real data with capped rows. Its model card lists NLI, Quora "
        "and question-answering sets among its training data, so MNLI, QQP, QNLI and SQuAD are not new to it",
        scale=_mini,
    ),
    "base": Profile(
        name="base",
        caption="RoBERTa-base and its released checkpoint on whole data, for one GPU: Table 8's recipe, the published "
        "point of fine-tuning in place of the search, three seeds",
        scale=_base,
        comparable=True,
    ),
    "paper": Profile(
        name="paper",
        caption="the paper's models, data and recipes",
        scale=lambda run: run,
        comparable=True,
        checkpoints=True,
    ),
}
