"""Choosing among a variable number of answers (paper §3.1 "Commonsense", appendix A.1 entries 32-41 and 15)."""

from __future__ import annotations

import re

from muppet.tasks.task import CARD, PARQUET, Row, Task

KEYED = (("choices", "choices.text"), ("keys", "choices.label"), ("label", "answerKey"))


def numbered(column: str) -> tuple[tuple[str, str], ...]:
    """Four choices in columns numbered from 0."""
    return tuple((f"choice{k + 1}", f"{column}{k}") for k in range(4))


def copa(row: Row) -> list[Row]:
    """The two kinds of question in words."""
    question = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}[row["question"]]
    choices = [row["choice1"], row["choice2"]]
    return [{"context": row["premise"], "question": question, "choices": choices, "label": row["label"]}]


def math_qa(row: Row) -> list[Row]:
    """Options stand in one string, `a ) 38 , b ) 27.6 , …` or `['a ) 38', 'b ) 27.6', …]`; some numbers hold commas."""
    parts = re.split(r"(?:^|[,\['\"]\s*)([a-e]) \) ", row["options"])
    keys, choices = parts[1::2], [choice.strip(" ,'\"]") for choice in parts[2::2]]
    return [{"question": row["Problem"], "choices": choices, "keys": keys, "label": row["correct"]}]


def sciq(row: Row) -> list[Row]:
    """The right answer has a column of its own: its place among the distractors is taken from the question's hash."""
    choices = [row["distractor1"], row["distractor2"], row["distractor3"]]
    label = sum(row["question"].encode()) % 4
    choices.insert(label, row["correct_answer"])
    return [{"context": row["support"], "question": row["question"], "choices": choices, "label": label}]


def social_i_qa(row: Row) -> list[Row]:
    """Labels count from 1."""
    choices = [row["answerA"], row["answerB"], row["answerC"]]
    roles = {"context": row["context"], "question": row["question"], "choices": choices}
    return [roles | {"label": _from_one(row["label"])}]


def winogrande(row: Row) -> list[Row]:
    """Each option in the blank's place, with what follows it, continues what stands before the blank."""
    before, _, after = row["sentence"].partition("_")
    choices = [row["option1"] + after, row["option2"] + after]
    return [{"context": before.strip() or " ", "choices": choices, "label": _from_one(row["answer"])}]


def _from_one(label: str) -> int | str:
    return int(label) - 1 if label.strip().isdigit() else label


COMMONSENSE = (
    Task(
        name="copa", family="commonsense", path="aps/super_glue", config="copa",
        revision="3de24cf8022e94f4ee4b9d55a6f539891524d646", rows=copa, train_rows=400, evaluation_rows=100,
        licence="BSD-2-Clause", checked=CARD + "super_glue",
        note="a classification dataset in Table 1; ranked, as it has choices",
    ),
    Task(
        name="math_qa", family="commonsense", path="allenai/math_qa", config="default", revision=PARQUET,
        rows=math_qa, carved="carved", train_rows=29837, evaluation_rows=4475, licence="Apache-2.0",
        checked="offline mirror",
    ),
    Task(
        name="openbookqa", family="commonsense", path="allenai/openbookqa", config="main",
        revision="388097ea7776314e93a529163e0fea805b8a6454", columns=(("question", "question_stem"), *KEYED),
        train_rows=4957, evaluation_rows=500, licence="not stated", checked="offline mirror",
    ),
    Task(
        name="swag", family="commonsense", path="allenai/swag", config="regular", revision=PARQUET,
        columns=(("context", "sent1"), ("question", "sent2"), *numbered("ending"), ("label", "label")),
        train_rows=73546, evaluation_rows=20006, licence="not stated", checked=CARD + "swag",
    ),
    Task(
        name="hellaswag", family="commonsense", path="Rowan/hellaswag", config="default",
        revision="218ec52e09a7e7462a5400043bb9a69a41d06b76",
        columns=(("context", "ctx"), ("choices", "endings"), ("label", "label")), train_rows=39905,
        evaluation_rows=10042, licence="MIT", checked="offline mirror",
    ),
    Task(
        name="race", family="commonsense", path="ehovy/race", config="all",
        revision="2fec9fd81f1dc971569a9b729c43f2f0e6436637",
        columns=(("context", "article"), ("question", "question"), ("choices", "options"), ("label", "answer")),
        train_rows=87866, evaluation_rows=4887, licence="non-commercial research only", checked="offline mirror",
    ),
    Task(
        name="commonsense_qa", family="commonsense", path="tau/commonsense_qa", config="default",
        revision="94630fe30dad47192a8546eb75f094926d47e155", columns=(("question", "question"), *KEYED),
        train_rows=9741, evaluation_rows=1221, licence="MIT", checked="offline mirror",
    ),
    Task(
        name="cosmos_qa", family="commonsense", path="allenai/cosmos_qa", config="default", revision=PARQUET,
        columns=(("context", "context"), ("question", "question"), *numbered("answer"), ("label", "label")),
        train_rows=25262, evaluation_rows=2985, licence="CC BY 4.0", checked="offline mirror",
    ),
    Task(
        name="arc_easy", family="commonsense", path="allenai/ai2_arc", config="ARC-Easy",
        revision="210d026faf9955653af8916fad021475a3f00453", columns=(("question", "question"), *KEYED),
        train_rows=2251, evaluation_rows=570, licence="CC BY-SA 4.0", checked="offline mirror",
    ),
    Task(
        name="arc_challenge", family="commonsense", path="allenai/ai2_arc", config="ARC-Challenge",
        revision="210d026faf9955653af8916fad021475a3f00453", columns=(("question", "question"), *KEYED),
        train_rows=1119, evaluation_rows=299, licence="CC BY-SA 4.0", checked="offline mirror",
    ),
    Task(
        name="sciq", family="commonsense", path="allenai/sciq", config="default",
        revision="2c94ad3e1aafab77146f384e23536f97a4849815", rows=sciq, carved="carved_from_validation",
        train_rows=11679, evaluation_rows=1000, licence="CC BY-NC 3.0", checked="offline mirror",
    ),
)

BEYOND = (
    Task(
        name="piqa", family="commonsense", path="ybisk/piqa", config="plain_text", revision=PARQUET,
        columns=(("context", "goal"), ("choice1", "sol1"), ("choice2", "sol2"), ("label", "label")), train_rows=16113,
        evaluation_rows=1838, licence="AFL-3.0", checked="offline mirror",
    ),
    Task(
        name="social_i_qa", family="commonsense", path="allenai/social_i_qa", config="default", revision=PARQUET,
        rows=social_i_qa, train_rows=33410, evaluation_rows=1954, licence="CC BY 4.0", checked="offline mirror",
    ),
    Task(
        name="winogrande", family="commonsense", path="allenai/winogrande", config="winogrande_xl",
        revision="01e74176c63542e6b0bcb004dcdea22d94fb67b5", rows=winogrande, train_rows=40398, evaluation_rows=1267,
        licence="CC BY", checked="offline mirror",
    ),
)
