"""Our metrics as `evaluate.Metric`s, and the Hub's metrics by name; `evaluate` is imported when one is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from muppet.errors import UserError, brief, unknown
from muppet.metrics import catalogue
from muppet.metrics.catalogue import METRICS
from muppet.metrics.inputs import check
from muppet.metrics.value import Value, paired

GROUPS = {
    **{name: (f"{name}_em", f"{name}_f1") for name in ("squad", "squad_v2", "record", "trivia", "drop")},
    "rouge": ("rouge1", "rouge2", "rougeL", "rougeLsum"),
}
PERCENT = frozenset({"chrf", "cuad", "sacrebleu", "squad", "squad_v2", "ter"})  # modules that report 0 to 100


def load(name: str) -> Any:
    """The metric or group `name` as an `evaluate.Metric`; UserError with the nearest name when there is none."""
    if name not in METRICS and name not in GROUPS:
        raise unknown("metric", name, [*METRICS, *GROUPS])
    return _module_class(name)(keep_in_memory=True)


@lru_cache(maxsize=None)
def _module_class(name: str) -> Any:
    try:
        import datasets
        import evaluate
    except ImportError as error:
        raise UserError(f"metric {name!r} as an evaluate.Metric needs evaluate and datasets: {error}") from None

    names = GROUPS.get(name, (name,))
    kinds = {"predictions": METRICS[names[0]].predictions, "references": METRICS[names[0]].references}

    class Ours(evaluate.Metric):
        """The measures `names` of one set of predictions."""

        def _info(self) -> Any:
            return evaluate.MetricInfo(
                description="; ".join(f"{one}: {METRICS[one].about} ({METRICS[one].source})" for one in names),
                citation="",
                inputs_description="\n".join(f"{side}: each {kind.about}" for side, kind in kinds.items()),
                features=datasets.Features({side: _feature(kind.stored) for side, kind in kinds.items()}),
            )

        def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
            """Add predictions and references; raises UserError that names the example, as `score` does."""
            given = {"predictions": _listed(predictions), "references": _listed(references)}
            paired(name, given["predictions"], given["references"])
            for side, kind in kinds.items():
                read = [_read(value, kind.stored) for value in given[side]]
                check(name, side, kind, read)
                given[side] = [_stored(value, kind.stored) for value in read]
            evaluate.Metric.add_batch(self, **given)

        def add(
            self, *, prediction: Any = None, reference: Any = None, predictions: Any = None, references: Any = None
        ) -> None:
            """Add one prediction and reference; `evaluate.combine` passes the one of each by their plural names."""
            pairs = ((prediction, predictions), (reference, references))
            one, other = ([plural if single is None else single] for single, plural in pairs)
            self.add_batch(predictions=one, references=other)

        def compute(self, *, predictions: Any = None, references: Any = None) -> Any:
            """{measure: fraction of 1} of what is given, or else of what was added."""
            if predictions is None and references is None and not len(self):
                raise UserError(f"metric {name!r}: no example to score; give predictions and references, or add some")
            return evaluate.Metric.compute(self, predictions=predictions, references=references)

        def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
            sides = {"predictions": predictions, "references": references}
            read = {side: [_read(value, kinds[side].stored) for value in values] for side, values in sides.items()}
            return {one: catalogue.measure(one, read["predictions"], read["references"]).value for one in names}

    Ours.__name__ = Ours.__qualname__ = name  # `evaluate.combine` tells modules apart by it
    return Ours


def _feature(form: Any) -> Any:
    import datasets

    if isinstance(form, str):
        return datasets.Value(form)
    if isinstance(form, list):
        return [_feature(form[0])]
    return {field: _feature(kind) for field, kind in form.items()}


def _listed(values: Any) -> list[Any]:
    """Arrays and tensors as lists of plain values; nothing as an empty list."""
    return [] if values is None else values.tolist() if hasattr(values, "tolist") else list(values)


def _stored(value: Any, form: Any) -> Any:
    """A prediction or reference in the form in which `evaluate` keeps it: a lone text where a list is kept, or a pair,
    is the list of it, or the pair whose number is 0."""
    if isinstance(form, list):
        return [_stored(item, form[0]) for item in ([value] if isinstance(value, str) else value)]
    if isinstance(form, dict):
        value = (value, 0.0) if isinstance(value, str) else value
        return {field: _stored(item, kind) for (field, kind), item in zip(form.items(), value, strict=True)}
    return " ".join(str(value).split()) if form == "string" and not isinstance(value, str) else value


def _read(value: Any, form: Any) -> Any:
    """`_stored` undone."""
    if isinstance(form, dict) and isinstance(value, dict) and value.keys() == form.keys():
        return tuple(value[field] for field in form)
    return value


@lru_cache(maxsize=None)
def _hub_module(name: str) -> Any:
    import evaluate

    try:
        return evaluate.load(name, keep_in_memory=True)
    except Exception as error:  # whatever is raised: the module, or a package it needs, cannot be had
        raise UserError(
            f"metric 'evaluate:{name}' cannot be loaded ({brief(error)}): go online once, install what it needs,"
            " give a module's folder, or use a metric of muppet.metrics"
        ) from None


def measure(name: str, entry: str, predictions: Sequence[Any], references: Sequence[Any]) -> Value:
    """`entry` of the result of the Hub's metric `name`; raises UserError when it cannot be loaded or computed.

    Without `entry` it is the one called like the module, or else the only number.
    """
    metric = f"evaluate:{name}"
    module = _hub_module(name)
    try:
        result = module.compute(predictions=list(predictions), references=list(references)) or {}
    except Exception as error:  # a module is anyone's code
        raise UserError(f"metric {metric!r} does not take these predictions and references: {brief(error)}") from None
    own = {key: value for key, value in result.items() if not hasattr(value, "__len__")}  # without lists and texts
    short = name.rstrip("/").rsplit("/", 1)[-1]
    key = entry or (short if short in own else next(iter(own)) if len(own) == 1 else "")
    if key not in own:
        raise UserError(f"metric {metric!r} computes {', '.join(own) or 'no number'}; name one: evaluate:{name}:ENTRY")
    value = float(own[key]) / (100 if short in PERCENT else 1)
    if not (math.isfinite(value) and -1 <= value <= 1):
        raise UserError(f"metric {metric!r}: {key} is {value:g}, and a score is a fraction of 1")
    return Value(value=value, n=len(references), settings={"module": name, "entry": key})
