"""Machine reading comprehension as span prediction (paper §3.1 "MRC", appendix A.1 entries 42-47)."""

from __future__ import annotations

from muppet.tasks.task import Task

SQUAD = (("id", "id"), ("question", "question"), ("context", "context"), ("answers", "answers"))

MRC = (
    Task(
        name="squad", family="span", path="rajpurkar/squad", config="plain_text", columns=SQUAD, metrics=("f1", "em"),
        no_answer=False, train_rows=87599, evaluation_rows=10570, licence="CC BY-SA 4.0",
        checked="huggingface.co/datasets/rajpurkar/squad",
    ),
)

BEYOND = (
    Task(
        name="squad_v2", family="span", path="rajpurkar/squad_v2", config="squad_v2", columns=SQUAD, metrics=("f1", "em"),
        no_answer=True, carved="carved_from_validation", train_rows=130319, evaluation_rows=11873, licence="CC BY-SA 4.0",
        checked="huggingface.co/datasets/rajpurkar/squad_v2",
    ),
)
