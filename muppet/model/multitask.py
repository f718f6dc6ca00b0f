"""A pre-trained model with heads: load, predictions, losses, save."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from muppet.errors import UserError, brief
from muppet.families import summarization
from muppet.families.segments import types_texts
from muppet.families.spec import HeadSpec, RowFormat
from muppet.families.summarization import IGNORED
from muppet.model.batch import Batch
from muppet.model.encoder import Encoder, refusal, row_mask
from muppet.model.heads import Head, OutputLayer, make_head
from muppet.model.losses import Losses
from muppet.model.pretrained import open_pretrained, quiet
from muppet.model.r3f import all_noised
from muppet.paths import beside, check_replaceable, disk_errors, folder_digest
from muppet.runs import R3F
from muppet.runtime.device import UNPACKED, Device
from muppet.tasks.task import Generation


class MultiTask(Encoder):
    """One model for many datasets: the encoder, and `heads`, which datasets find by the keys of their specs."""

    def __init__(self, backbone: Any, tokenizer: Any, origin: str, own: dict[str, float]) -> None:
        config = backbone.config
        super().__init__(backbone, int(config.pad_token_id), origin)
        self.typed = self.typed and types_texts(tokenizer)
        self.tokenizer = tokenizer
        self.row_formats: dict[str, RowFormat] = {}  # by the key of a head
        self.content = folder_digest(Path(origin)) if Path(origin).is_dir() else None
        self.width = int(config.d_model if self.seq2seq else config.hidden_size)
        self.heads = nn.ModuleDict()
        self.output_layer = OutputLayer(summarization.SPEC, 0)
        self._own_dropout = own

    # -- loading and saving

    @classmethod
    def load(
        cls,
        name: str,
        *,
        seed: int = 0,
        dropout: float | None = None,
        attention_dropout: float | None = None,
        activation_dropout: float | None = None,
    ) -> MultiTask:
        """The model called `name` with the heads saved beside it, if any.

        Raises UserError when it cannot be found, is a decoder only, or its weights do not fit its configuration.
        """
        torch.manual_seed(seed)  # of what the checkpoint lacks
        backbone, tokenizer, origin, own = open_pretrained(name, dropout, attention_dropout, activation_dropout)
        model = cls(backbone, tokenizer, origin, own)
        if (Path(origin) / "heads.json").is_file():
            model._load_heads(Path(origin))
        return model

    def _load_heads(self, folder: Path) -> None:
        try:
            saved = json.loads((folder / "heads.json").read_text(encoding="utf-8"))
            weights = load_file(folder / "heads.safetensors")
            self.row_formats = {key: _row_format(plain) for key, plain in saved.get("rows", {}).items()}
            for plain in saved["heads"]:
                spec = HeadSpec(**(plain | {"classes": plain["classes"] and tuple(plain["classes"])}))
                names = {name for name in spec.classes or () if isinstance(name, str)}
                if spec.classes is not None and len(names) != spec.outputs:
                    raise ValueError(f"{spec.key!r} has {spec.outputs} outputs and the classes {spec.classes}")
                self.add_head(spec, seed=0)
            if whole := [name for name, weight in weights.items() if not weight.is_floating_point()]:
                raise ValueError(f"{whole[0]!r} is of {weights[whole[0]].dtype}")
            self.heads.load_state_dict(weights)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"{folder / 'heads.json'}: the saved heads do not load ({brief(error)}); export the model again"
            ) from None

    def add_head(self, spec: HeadSpec, seed: int) -> None:
        """Add a head with fresh weights; they depend on (seed, key) only. Raises UserError for a key that torch keeps
        for itself."""
        if spec.key not in self.heads and hasattr(self.heads, spec.key):
            raise UserError(f"a head cannot be called {spec.key!r}; give the task another name")
        config = self.backbone.config
        std = float(getattr(config, "initializer_range", None) or getattr(config, "init_std", None) or 0.02)
        self.heads[spec.key] = make_head(spec, self.width, std, seed)

    def specs(self) -> dict[str, HeadSpec]:
        """The heads that the model has, by key."""
        return {key: head.spec for key, head in self.heads.items()}  # type: ignore[misc]

    def head(self, spec: HeadSpec) -> Head:
        """The head that `spec` describes."""
        return self.heads[spec.key] if spec.has_weights else self.output_layer  # type: ignore[return-value]

    def save(self, folder: Path, card: str) -> None:
        """Write what `AutoModel.from_pretrained` loads, tokenizer, heads and card; the folder is whole or absent.

        Raises UserError for a folder that holds anything else than such a model.
        """
        check_replaceable(folder)
        config = self.backbone.config
        as_trained = {name: getattr(config, name) for name in self._own_dropout}
        try:
            for name, value in self._own_dropout.items():  # the recipe's dropout is the run's, not the model's
                setattr(config, name, value)
            with beside(folder) as temporary, quiet(), disk_errors(folder):
                self.backbone.save_pretrained(temporary)
                self.tokenizer.save_pretrained(temporary)
                heads = {key: value.contiguous() for key, value in self.heads.state_dict().items()}
                save_file(heads, temporary / "heads.safetensors")
                (temporary / "README.md").write_text(card, encoding="utf-8")
                plain = {
                    "heads": [asdict(spec) for spec in self.specs().values()],
                    "rows": {key: asdict(one) for key, one in self.row_formats.items()},
                    # what may be replaced
                    "files": sorted({"heads.json", *(file.name for file in temporary.iterdir())}),
                }
                (temporary / "heads.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(temporary, folder)
        finally:
            for name, value in as_trained.items():
                setattr(config, name, value)

    def check_finite(self, when: str) -> None:
        """Raise UserError when a weight is not finite."""
        for name, weight in self.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise UserError(f"{when} the weights {name!r} are not finite; a lower learning rate may help")

    # -- what others ask about the model

    def flops_per_token(self) -> tuple[float, float]:
        """(per token, per token and token attended) floating-point operations of one forward and backward pass."""
        config = self.backbone.config
        embeddings = {id(p) for m in self.backbone.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        weights = sum(p.numel() for p in self.backbone.parameters() if id(p) not in embeddings)
        layers = int(getattr(config, "num_hidden_layers", 0) or getattr(config, "encoder_layers", 0))
        return 6.0 * weights, 12.0 * layers * self.width

    def fitted(self, device: Device, tokens: int, copies: int, kept: int | None = None) -> Device:
        """`device` with what this model allows: see `Device.fitted`."""
        config = self.backbone.config
        names = ("num_hidden_layers", "decoder_layers", "num_decoder_layers")
        layers = sum(int(getattr(config, name, 0) or 0) for name in names) or 1
        weights = sum(p.numel() for p in self.parameters())
        device.check_holds(weights)
        if kept is not None and not self.backbone.supports_gradient_checkpointing:
            device = replace(device, gradient_checkpointing=False)
        if refusal(self) is not None:
            device = replace(device, micro_tokens=min(device.micro_tokens, UNPACKED))
        shape = {"weights": weights, "layers": layers, "width": self.width}
        return device.fitted(**shape, tokens=tokens, copies=copies, kept=kept)

    def prepare(self, device: Device) -> None:
        """Move to the device, and trade speed for memory as it says."""
        if device.kind == "cuda":  # cuDNN's attention is planned anew, for 0.4 to 1 s, at each new shape of padded rows
            torch.backends.cuda.enable_cudnn_sdp(False)
        with device.enough(f"{self.origin}, {sum(p.numel() for p in self.parameters()):,} weights"):
            self.to(device.torch)
        if device.gradient_checkpointing:
            self.recompute()

    def compile_layers(self, backend: Any = "inductor", demanded: bool = True) -> bool:
        """Compile the encoder's layers: all share one graph, so it takes the time of one layer, whatever the lengths.
        Where nothing can be compiled they stay as they are, unless that is `demanded`: then a forward raises → whether
        they will be.

        Not what is before them: compiled code is found again without a look at hooks (torch's
        `skip_nnmodule_hook_guards`), and would leave out R3F's noise, or never be without it.
        """
        if not demanded and (why := _no_compiler(backend, self.device)):
            print(f"{self.origin}: its layers are not compiled: {why}", file=sys.stderr)
            return False
        for module in self.reader.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.compile(dynamic=True, backend=backend)
        return True

    def recompute(self) -> None:
        """Turn gradient checkpointing on. Raises UserError for a model that has none."""
        if not self.backbone.supports_gradient_checkpointing:
            kind = self.backbone.config.model_type
            raise UserError(f"{self.origin}: {kind} has no gradient checkpointing, and is too large for memory without")
        renamed = getattr(self.backbone, "activation_checkpointing_enable", None)  # in newer transformers
        (renamed or self.backbone.gradient_checkpointing_enable)({"use_reentrant": False})

    # -- forward

    def predictions(self, batch: Batch, specs: Sequence[HeadSpec], r3f: R3F | None = None) -> list[tuple[Tensor, ...]]:
        """Logits of each segment as its head gives them: (clean,), or (clean, noised) with `r3f`."""
        if r3f is not None and not r3f.fresh_dropout:
            with torch.random.fork_rng():
                clean = self.predictions(batch, specs)
            with all_noised(self.reader.get_input_embeddings(), r3f):  # the same dropout masks, so a second forward
                again = self.predictions(batch, specs)
            return [(*one, *other) for one, other in zip(clean, again, strict=True)]
        if not specs[batch.segments[0].part].has_weights:  # summaries never share a forward with rows
            return self._written(batch, r3f)
        hidden = self.encode_rows(batch, r3f)
        shift = len(batch.lengths)
        logits = []
        for segment in batch.segments:
            head = self.head(specs[segment.part])
            copies = [segment.rows]
            if r3f is not None:
                copies.append(slice(segment.rows.start + shift, segment.rows.stop + shift))
            logits.append(tuple(head.logits(hidden.rows(rows), segment.fields) for rows in copies))
        return logits

    def _written(self, batch: Batch, r3f: R3F | None) -> list[tuple[Tensor, ...]]:
        """The same of segments of summaries, [N, V] for the N tokens that are no padding."""
        summaries = [segment.fields["targets"] for segment in batch.segments]
        longest = max(targets.shape[1] for targets in summaries)
        targets = torch.cat([nn.functional.pad(t, (0, longest - t.shape[1]), value=IGNORED) for t in summaries])
        halves = self.token_logits(batch, targets, r3f).chunk(1 if r3f is None else 2)
        kept = targets != IGNORED
        return [tuple(half[s.rows][kept[s.rows]] for half in halves) for s in batch.segments]

    def forward(
        self, batch: Batch, specs: Sequence[HeadSpec], r3f: R3F | None = None, smoothing: float = 0.0
    ) -> list[Losses]:
        """The unscaled losses of each segment's units."""
        predictions = self.predictions(batch, specs, r3f)
        return [
            self.head(specs[segment.part]).losses(logits, segment.fields, smoothing)
            for segment, logits in zip(batch.segments, predictions, strict=True)
        ]

    # -- summaries

    def _settings(self, how: Generation) -> transformers.GenerationConfig:
        config = self.backbone.config
        return transformers.GenerationConfig(
            num_beams=how.beams,
            length_penalty=how.length_penalty if how.beams > 1 else 1.0,  # else it is refused when the model is saved
            min_new_tokens=how.min_tokens,
            max_new_tokens=how.max_tokens,
            no_repeat_ngram_size=how.no_repeat_ngram,
            early_stopping=how.beams > 1,
            do_sample=False,
            decoder_start_token_id=config.decoder_start_token_id,
            bos_token_id=getattr(config, "bos_token_id", None),
            eos_token_id=config.eos_token_id,
            pad_token_id=self.pad,
        )

    @property
    def generation(self) -> Generation:
        """How the model's folder says that its summaries are decoded (`generation_config.json`)."""
        kept = getattr(self.backbone, "generation_config", None)
        if kept is None or kept.max_new_tokens is None:
            return Generation()
        return Generation(
            beams=kept.num_beams or 1,
            length_penalty=kept.length_penalty or 1.0,
            min_tokens=kept.min_new_tokens or 1,
            max_tokens=kept.max_new_tokens,
            no_repeat_ngram=kept.no_repeat_ngram_size or 0,
        )

    @generation.setter
    def generation(self, how: Generation) -> None:
        self.backbone.generation_config = self._settings(how)

    @torch.no_grad()
    def generate(self, batch: Batch, how: Generation) -> list[str]:
        """Summaries of the batch's rows by beam search; deterministic, and the same whatever stands beside a row."""
        with quiet():
            ids = self.backbone.generate(
                batch.ids, attention_mask=row_mask(batch.ids, batch.lengths), generation_config=self._settings(how)
            )
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def _no_compiler(backend: Any, device: torch.device) -> str | None:
    """Why nothing can be compiled for `device`, as without a C compiler or Triton; None where a sum can."""
    try:
        torch.compile(lambda x: x + x, backend=backend)(torch.ones(2, device=device))
    except Exception as error:  # of dynamo, of the backend, of what it calls: there are many kinds
        return f"{type(error).__name__}: {brief(error)}"
    return None


def _row_format(plain: dict[str, Any]) -> RowFormat:
    columns = tuple((role, column) for role, column in plain["columns"])
    roles = {name: tuple(plain.get(name, ())) for name in ("roles", "sometimes")}
    return RowFormat(**(plain | roles | {"columns": columns, "max_length": int(plain["max_length"])}))
