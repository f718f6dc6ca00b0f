"""A profile is a function from a declared run to the run that is done: the paper's, its part for one GPU, a small real
one or a tiny made-up one.

A scaled run has other facts and so another id: a small result can never land in a paper-size cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from muppet.errors import unknown
from muppet.paths import MINILM
from muppet.runs import Finetune, Prefinetune, Recipe, Run, base_model
from muppet.tasks import get as get_task
from studies.kit.decisions import option


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
    model = SMOKE_MODELS.get(base_model(run))
    if model is None or run.seed >= SMOKE_SEEDS:
        return None
    if isinstance(run, Prefinetune):
        recipe = _prefinetuning(
            run.recipe, lr=1e-3, dropout=0.0, attention_dropout=0.0, updates=60, warmup_updates=6, max_tokens=512
        )
        return replace(run, model=model, recipe=recipe, source="twins", train_rows=SMOKE_TRAIN)
    recipe = _finetuning(
        run.recipe, lr=3e-3, dropout=0.0, attention_dropout=0.0, updates=60, warmup_updates=4, max_examples=32
    )
    sized = replace(run, recipe=recipe, evaluations=2, source="twins")
    return _started(replace(sized, train_rows=SMOKE_TRAIN, evaluation_rows=SMOKE_EVALUATION), _smoke, model)


# ---------------------------------------------------------------- mini (docs/mini-profile.md has the trials behind it)

MINI_MODELS = {"tuned_on_pairs": MINILM, "pretrained_only": "nreimers/MiniLM-L6-H384-uncased"}  # by `mini_model`
MINI_SEEDS, MINI_TRAIN, MINI_EVALUATION = 3, 5_000, 2_000
# The sets of pre-finetuning: those whose training rows can be had (some only as a mirror's own partition, see
# Task.carved), without RACE and HotpotQA, of whose passages 128 tokens hold a third and a tenth.
MINI_SETS = frozenset(
    "cola sst2 mrpc qqp mnli qnli rte boolq multirc wic wsc cb ag_news imdb snli rotten_tomatoes yelp_polarity "
    "eraser_multirc wiki_qa trec copa math_qa openbookqa hellaswag commonsense_qa arc_easy arc_challenge sciq "
    "squad".split()
)
# Fewer rows of what is long or has many choices, so that no set takes more than a tenth of the sub-batches.
MINI_CAPS = tuple((name, 1_500) for name in ("eraser_multirc", "hellaswag", "imdb", "math_qa", "multirc", "squad"))
# Updates of fine-tuning, 16 examples each: as many as the plain model takes to learn the set. What it does not learn
# in a few minutes of a core is not in this profile.
MINI_UPDATES = {
    "sst2": 150, "stsb": 150, "qnli": 150, "qqp": 150, "mrpc": 300, "rte": 300, "mnli": 300, "cola": 1_200,
    "squad": 150, "commonsense_qa": 150, "openbookqa": 150, "conll2000": 150, "ptb_pos": 150, "ptb_parsing": 300,
}  # fmt: skip
MINI_LENGTH = {"squad": 256}  # tokens of a row in fine-tuning, where 128 cut off too much
# The licensed Treebank's free sample in its place, under its name.
MINI_INSTEAD = {"ptb_pos": "ptb_sample_pos", "ptb_parsing": "ptb_sample_parsing"}
MINI_SCALES = (16, 28)  # points of the scale curve that are left out
MINI_SHARES = (0.1, 0.325, 0.55, 0.775)  # of Figure 3's shares of the data, beside the whole


def _mini(run: Run) -> Run | None:
    model = {"FacebookAI/roberta-base": MINI_MODELS[str(option("mini_model"))]}.get(base_model(run))
    if model is None or run.seed >= MINI_SEEDS:
        return None
    if isinstance(run, Prefinetune):
        tasks = tuple(task for task in run.tasks if task.name in MINI_SETS)
        if len(run.tasks) in MINI_SCALES or run.recipe.loss_scaling == "dataset_size" or run.recipe.temperature:
            return None
        recipe = _prefinetuning(run.recipe, lr=1e-4, updates=400, warmup_updates=24, max_tokens=640)
        return replace(run, model=model, tasks=tasks, recipe=recipe, train_rows=MINI_TRAIN, caps=MINI_CAPS)
    updates = MINI_UPDATES.get(run.task.name)
    if updates is None or run.train_on or (run.fraction or MINI_SHARES[0]) not in MINI_SHARES:
        return None
    task = run.task
    if task.name in MINI_INSTEAD:
        task = replace(get_task(MINI_INSTEAD[task.name]), name=task.name)
    recipe = _finetuning(run.recipe, lr=1e-4, updates=updates, warmup_share=0.06, max_examples=16)
    recipe = replace(recipe, max_length=MINI_LENGTH.get(task.name, recipe.max_length))
    sized = replace(run, task=task, recipe=recipe, evaluations=1)
    return _started(replace(sized, train_rows=MINI_TRAIN, evaluation_rows=MINI_EVALUATION), _mini, model)


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
    adam_eps, rates = PUBLISHED["bart" if "bart" in base_model(run).lower() else "roberta"]
    return {"lr": rates.get(run.task.name, 1e-5), "adam_eps": adam_eps, "dropout": 0.1}


def published(run: Run) -> bool:
    """Whether a run is at the published point of its fine-tuning's search; a pre-finetuning has no search."""
    return isinstance(run, Prefinetune) or all(getattr(run.recipe, name) == at for name, at in _point(run).items())


def _base(run: Run) -> Run | None:
    """Whole data and the declared pre-finetuning; the search becomes the published point, so nothing is held out."""
    folds = isinstance(run, Finetune) and run.task.partition is not None  # whose seed is the fold's number
    if base_model(run) not in BASE_MODELS or (run.seed >= BASE_SEEDS and not folds):
        return None
    if isinstance(run, Prefinetune):
        return run
    return replace(run, recipe=replace(run.recipe, **_point(run)), held_out=None)  # type: ignore[arg-type]


# ---------------------------------------------------------------- shared


def _first_checkpoint(run: Run) -> Run:
    """`run`, or what it starts from, with the first seed of pre-finetuning."""
    if isinstance(run, Prefinetune):
        return replace(run, seed=0) if run.seed else run
    return replace(run, init=_first_checkpoint(run.init)) if isinstance(run.init, Prefinetune) else run  # type: ignore[arg-type]


def _prefinetuning(recipe: Recipe, **size: object) -> Recipe:
    return _small(recipe, **({"max_examples": None, "max_length": 128, "sub_batches": 8} | size))


def _finetuning(recipe: Recipe, **size: object) -> Recipe:
    return _small(recipe, **({"max_tokens": None, "max_length": 128, "sub_batches": 1} | size))


def _small(recipe: Recipe, **size: object) -> Recipe:
    """`recipe` at another size. What an experiment varies (batching, scaling, heads, R3F, …) stays as declared; the
    searched fields are set, so that a search becomes one point."""
    length = {"updates": None, "epochs": None, "warmup_updates": None, "warmup_share": None}
    return replace(recipe, **(length | {"adam_eps": 1e-8, "dropout": 0.1} | size))  # type: ignore[arg-type]


def _started(run: Finetune, scale: Callable[[Run], Run | None], model: str) -> Finetune | None:
    """`run` from the scaled model or parent, with nothing held out, since a single point needs no selection."""
    init = model if isinstance(run.init, str) else scale(run.init)
    assert not isinstance(init, Finetune)
    return None if init is None else replace(run, init=init, held_out=None)


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
        checkpoints=True,
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
