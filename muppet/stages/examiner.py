"""What a fine-tuning is evaluated on, and by which score its weights are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from muppet.families.encoded import Part
from muppet.families.spec import HeadSpec
from muppet.result import Score, without_items
from muppet.stages.evaluate import Evaluated, evaluate, token_loss
from muppet.training.curve import Judged
from muppet.training.trainer import Trainer

Place = tuple[str, str]  # task, split
Scored = dict[Place, Evaluated]


@dataclass(frozen=True, kw_only=True)
class Examiner:
    """Evaluates the model of `trainer` on `rows`. `judges`: the places whose scores, each by its task's first metric
    and weighted by its examples, say which weights are best. Summaries are judged by minus their loss a token, the
    mean of the places', since decoding them at each evaluation would cost more than the training (`smoothing`: of that
    loss)."""

    trainer: Trainer
    spec: HeadSpec
    rows: Mapping[Place, Part]
    judges: Sequence[Place]
    smoothing: float

    def evaluate(self) -> Scored:
        """Everything, with predictions."""
        model, device, processes = self.trainer.model, self.trainer.device, self.trainer.processes
        return {
            place: evaluate(model, part, self.spec, place[1], device, processes) for place, part in self.rows.items()
        }

    def judge(self) -> Judged:
        """What the current weights are worth, and their scores; summaries have none, as they are not decoded."""
        if not self.spec.has_weights:
            return self._by_loss(), {}
        evaluated = self.evaluate()
        return self.judged(evaluated), without_items(scores_of(evaluated))

    def judged(self, evaluated: Scored) -> float:
        """What weights are worth that gave `evaluated`."""
        if not self.spec.has_weights:
            return self._by_loss()
        scores = [evaluated[place].scores[self.rows[place].encoded.task.metric] for place in self.judges]
        return sum(score.value * score.n for score in scores) / sum(score.n for score in scores)

    def _by_loss(self) -> float:
        model, device, processes = self.trainer.model, self.trainer.device, self.trainer.processes
        parts = [self.rows[place] for place in self.judges]
        with device.enough(f"{parts[0].name}, loss of summaries"):
            losses = [token_loss(model, part, self.spec, device, processes, self.smoothing) for part in parts]
        return -sum(losses) / len(losses)


def scores_of(evaluated: Scored) -> dict[str, Score]:
    """By `task/split/metric`."""
    return {
        f"{task}/{split}/{metric}": score
        for (task, split), one in evaluated.items()
        for metric, score in one.scores.items()
    }
