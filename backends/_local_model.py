"""A loaded transformers model: a batch of calls in, their outcomes out. Synchronous, for one thread."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ants_engine.errors import BackendError, SettingError

if TYPE_CHECKING:
    from PIL import Image
import copy
import gc
import inspect
import io
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ants_engine.errors import BadRequestError, MissingDependencyError, ModelNotFoundError, UsageError
from ants_engine.protocol import Answer, Call, Decoding

from ._chat import NEEDS_PICTURE, Chat, prompt_format
from ._scrub import one_line
from ._weights import INSTALL, WAYS_OUT, Weights

Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs, and in what precision."""

    device: str
    precision: Literal["fp32", "bf16", "fp16"]


def place(device: str, precision: Precision) -> Placement:
    """Resolve ``auto``: CUDA, then MPS, then the CPU; bf16 on CUDA, fp32 elsewhere.

    Raises:
        SettingError: torch knows no such device.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise SettingError(f"mllm.device: torch knows no device {device!r}") from error
    if precision == "auto":
        precision = "bf16" if kind == "cuda" else "fp32"
    return Placement(device=device, precision=precision)


EXTREME_RATIO = 16
"""Longest over shortest side; more extreme pictures are stretched."""


def bounded_ratio(picture: "Image.Image") -> "Image.Image":
    """Stretch the short side of an extreme picture.

    Scaled to a model's height, 448 x 1 pixels would take a gigabyte, and some models refuse them.
    """
    from PIL import Image

    width, height = picture.size
    least = -(-max(width, height) // EXTREME_RATIO)
    if min(width, height) >= least:
        return picture
    return picture.resize((max(width, least), max(height, least)), Image.Resampling.NEAREST)


_LIBRARIES = ("transformers", "huggingface_hub", "accelerate", "torch")
_BARS = threading.Lock()


@contextmanager
def hushed() -> Iterator[None]:
    """Drop log records of transformers, its hub client and torch from this thread; other threads keep theirs."""
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.name.partition(".")[0] not in _LIBRARIES

    handlers = [handler for name in (*_LIBRARIES, None) for handler in logging.getLogger(name).handlers]
    if logging.lastResort is not None:
        handlers.append(logging.lastResort)
    for handler in handlers:
        handler.addFilter(keep)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(keep)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Switch off the progress bars of transformers and the hub client; one thread at a time."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as bars

    with _BARS:
        hub_shows = not are_progress_bars_disabled()
        loading_shows = bars.is_progress_bar_enabled()
        _unwarned(bars.disable_progress_bar)
        try:
            yield
        finally:
            if loading_shows:
                _unwarned(bars.enable_progress_bar)
            _unwarned(enable_progress_bars if hub_shows else disable_progress_bars)


def _unwarned(switch: Callable[[], object]) -> None:
    # the switches warn where an environment variable overrides them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        switch()


def complete(model: Any, processor: Any) -> None:
    """Complete, in place, the processor of a folder from before transformers 4.46 with the model's configuration.

    Concerns LLaVA's image tokens and BLIP's query tokens.

    Raises:
        ValueError: it cannot be completed; the message says which revision to take.
    """
    config = model.config
    if hasattr(processor, "patch_size") and processor.patch_size is None:
        processor.patch_size = config.vision_config.patch_size
        if processor.vision_feature_select_strategy is None:
            processor.vision_feature_select_strategy = config.vision_feature_select_strategy
        # CLIP and EVA put one token before the patches; the strategy says whether it is dropped
        if config.vision_config.model_type == "clip_vision_model" and not processor.num_additional_image_tokens:
            processor.num_additional_image_tokens = 1
    if not hasattr(processor, "num_query_tokens"):
        return
    if processor.num_query_tokens is None:
        processor.num_query_tokens = config.num_query_tokens
    if config.image_token_index is None:
        image = processor.tokenizer.convert_tokens_to_ids("<image>")
        # only a placeholder that features replace, but it needs a row of the embedding table
        if image >= model.get_input_embeddings().num_embeddings:
            raise ValueError(
                "config.json has no image_token_index, and the vocabulary has no room for <image>: take a revision "
                "of the model that was made for transformers 4.46 or newer"
            )
        config.image_token_index = image


CallResult: TypeAlias = Answer | BackendError
"""How one call of a batch ended."""

_REASONING_MARK = re.compile(r"think|thought|reason|channel|message|response|solution|box", re.IGNORECASE)
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class LocalModel:
    """Answers batches with one model in memory."""

    def __init__(self, name: str, model: Any, processor: Any, placement: Placement) -> None:
        """Prepare a loaded model for chat.

        Raises:
            ModelNotFoundError: the processor has no tokenizer, no image processor or no usable chat template, or it
                lacks what the model needs.
        """
        self._model = model
        self._processor = processor
        self._placement = placement
        self._fits: int | None = None
        tokenizer = _tokenizer(name, processor)
        # a decoder continues after the last token; an encoder counts positions from the first
        tokenizer.padding_side = "right" if model.config.is_encoder_decoder else "left"
        # processors pass a saved side to every tokenizer, also to a Q-Former's
        tokenizer.init_kwargs.pop("padding_side", None)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._tokenizer = tokenizer
        try:
            complete(model, processor)
        except ValueError as error:
            raise ModelNotFoundError(f"The model {name!r} cannot be used: {one_line(error)}. {WAYS_OUT}") from error
        self._reasoning_marks = reasoning_marks(tokenizer)
        self._chat = Chat(name, processor, tokenizer, prompt_format(model.config, tokenizer))
        self.needs_picture: bool = _needs_picture(model)
        """It cannot answer without a picture."""
        self._greedy, self._eos = _greedy_config(model, tokenizer)
        model.generation_config = self._greedy
        self._drops_token_types = "token_type_ids" not in inspect.signature(model.forward).parameters

    @classmethod
    def load(
        cls, name: str, weights: Weights, placement: Placement, *, trust_remote_code: bool, cache_dir: Path | None
    ) -> "LocalModel":
        """Load model and processor.

        Raises:
            ModelNotFoundError: files are missing, damaged, or of a model that does not answer questions on pictures.
            MissingDependencyError: transformers, or a package that this model needs, is not installed.
        """
        try:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor
        except ImportError as error:
            raise MissingDependencyError(INSTALL) from error
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "cache_dir": cache_dir}
        if weights.revision is not None:
            options |= {"revision": weights.revision, "local_files_only": weights.cached}
        with hushed(), no_progress_bars():
            try:
                processor = AutoProcessor.from_pretrained(weights.source, **options)
                model, report = AutoModelForImageTextToText.from_pretrained(
                    weights.source,
                    dtype=getattr(torch, _DTYPES[placement.precision]),
                    output_loading_info=True,
                    weights_only=True,
                    **options,
                )
            except ImportError as error:
                raise MissingDependencyError(f"The model {name!r} needs a package more: {one_line(error)}") from error
            except Exception as error:
                raise ModelNotFoundError(f"The model {name!r} cannot be loaded: {_why(error)}. {WAYS_OUT}") from error
            if report["missing_keys"]:
                some = ", ".join(sorted(report["missing_keys"])[:3])
                count = len(report["missing_keys"])
                raise ModelNotFoundError(f"The model {name!r} lacks {count} of its weights ({some}, …). {WAYS_OUT}")
            try:
                model = model.to(placement.device).eval()
            except (RuntimeError, AssertionError) as error:
                raise SettingError(f"mllm.device: {placement.device!r} cannot be used: {one_line(error)}") from error
            return cls(name, model, processor, placement)

    def answer(self, calls: Sequence[Call], abandoned: threading.Event) -> list[CallResult]:
        """Answer a batch. A failing call fails alone; out-of-memory makes batches smaller.

        Args:
            calls: all with a picture or all without, same decoding.
            abandoned: set to end generation at the next token; the answers are then discarded.
        """
        results: list[CallResult] = []
        while len(results) < len(calls):
            left = len(calls) - len(results)
            some = calls[len(results) :][: left if self._fits is None else min(self._fits, left)]
            answered = self._answer_some(some, abandoned)
            if answered is None:
                self._fits = (len(some) + 1) // 2
                free_memory()
            else:
                results += answered
        return results

    def _answer_some(self, calls: Sequence[Call], abandoned: threading.Event) -> list[CallResult] | None:
        """Answer calls together, or each alone if one fails; None when out of memory."""
        try:
            with hushed():
                return list(self._generate(calls, abandoned))
        except Exception as error:  # a model's own code raises anything on odd input
            out_of_memory = _is_out_of_memory(error)
            if len(calls) == 1:
                return [_rejection(error, out_of_memory=out_of_memory)]
        # outside of the handler, so that the failed batch's tensors are freed
        if out_of_memory:
            return None
        return [result for call in calls for result in self._answer_some([call], abandoned) or ()]

    def _generate(self, calls: Sequence[Call], abandoned: threading.Event) -> list[Answer]:
        import torch

        decoding = calls[0].decoding
        if calls[0].picture is None and self.needs_picture:
            raise BadRequestError(
                "this model cannot be asked without a picture: look-alike names and EOE's labels need one that can, "
                "such as Qwen/Qwen2-VL-2B-Instruct"
            )
        inputs = self._inputs(calls)
        asked = inputs["input_ids"]
        with torch.inference_mode():
            output = self._model.generate(
                **inputs, generation_config=self._config(decoding), stopping_criteria=_stop_when(abandoned)
            )
        # encoder-decoders start with an extra token; most others repeat the prompt, some that embed it do not
        if self._model.config.is_encoder_decoder:
            output = output[:, 1:]
        elif output.shape[1] >= asked.shape[1] and torch.equal(output[:, : asked.shape[1]], asked):
            output = output[:, asked.shape[1] :]
        prompt_tokens = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._read(row, count) for row, count in zip(output.tolist(), prompt_tokens, strict=True)]

    def _read(self, tokens: list[int], prompt_tokens: int) -> Answer:
        end = next((place for place, token in enumerate(tokens) if token in self._eos), None)
        said = tokens if end is None else tokens[: end + 1]
        return Answer(
            text=spell(said, self._tokenizer, self._reasoning_marks),
            # without an end token it was cut off, by whatever limit
            finish_reason="length" if end is None else "stop",
            prompt_tokens=prompt_tokens,
            completion_tokens=len(said),
        )

    def _inputs(self, calls: Sequence[Call]) -> dict[str, Any]:
        import torch

        texts = [self._chat.render(call) for call in calls]
        pictures = [[_decode(call)] for call in calls if call.picture is not None]
        options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        bos = self._tokenizer.bos_token
        if bos is not None and texts[0].startswith(bos):
            options["add_special_tokens"] = False
        batch = self._processor(text=texts, images=pictures or None, **options)
        inputs = dict(batch.to(self._placement.device, dtype=getattr(torch, _DTYPES[self._placement.precision])))
        if self._drops_token_types:
            inputs.pop("token_type_ids", None)
        if not self._model.config.is_encoder_decoder and not bool(inputs["attention_mask"][:, -1].all()):
            raise ValueError("the processor pads on the right, so its texts cannot share a batch")
        return inputs

    def _config(self, decoding: Decoding) -> Any:
        config = copy.deepcopy(self._greedy)
        config.max_new_tokens = decoding.max_new_tokens
        if decoding.temperature > 0:
            config.do_sample = True
            config.temperature = decoding.temperature
            config.top_k, config.top_p = 0, 1.0
        return config


def reasoning_marks(tokenizer: Any) -> dict[int, str]:
    """Return a tokenizer's control tokens that separate reasoning from the answer, such as ``[THINK]``."""
    return {
        token: mark.content
        for token, mark in tokenizer.added_tokens_decoder.items()
        if mark.special and _REASONING_MARK.search(mark.content)
    }


def spell(tokens: Sequence[int], tokenizer: Any, marks: Mapping[int, str]) -> str:
    """Decode tokens, dropping control tokens other than ``marks``."""
    text, start = "", 0
    for place, token in enumerate(tokens):
        if token in marks:
            text += tokenizer.decode(tokens[start:place], skip_special_tokens=True) + marks[token]
            start = place + 1
    return text + str(tokenizer.decode(tokens[start:], skip_special_tokens=True))


def _tokenizer(name: str, processor: Any) -> Any:
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        missing = "tokenizer" if tokenizer is None and hasattr(processor, "image_processor") else "image processor"
        raise ModelNotFoundError(
            f"The model {name!r} has no {missing}: its files (processor_config.json or preprocessor_config.json, "
            f"tokenizer.json) have to lie beside the weights. {WAYS_OUT}"
        )
    return tokenizer


def _needs_picture(model: Any) -> bool:
    asked = inspect.signature(model.generate).parameters.get("pixel_values")
    return model.config.model_type in NEEDS_PICTURE or (asked is not None and asked.default is asked.empty)


def _why(error: Exception) -> str:
    text = str(error)
    if "Weights only load failed" in text or "weights_only" in text:
        # torch's own message advises to switch the check off
        return (
            "its weights file holds pickled objects, which could run code, and is not read; take the model as "
            "safetensors, or convert it once where you trust it"
        )
    if "trust_remote_code" in text:
        return (
            "it brings Python code of its own, which is not run; once you have read that code and trust it, set "
            "mllm.trust_remote_code = true"
        )
    return one_line(error)


def _greedy_config(model: Any, tokenizer: Any) -> "tuple[Any, frozenset[int]]":
    config = copy.deepcopy(model.generation_config)
    ends = config.eos_token_id
    eos = set(ends if isinstance(ends, list | tuple) else [ends]) | {tokenizer.eos_token_id}
    eos -= {None}
    config.do_sample = False
    # sampling flags and limits of the model's own configuration would warn, or override the call's
    for flag in ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "max_length"):
        setattr(config, flag, None)
    config.eos_token_id = sorted(eos) or None
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(eos, default=None)
    return config, frozenset(eos)


def _stop_when(abandoned: threading.Event) -> Any:
    import torch
    from transformers import StoppingCriteriaList

    def stop(input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), abandoned.is_set(), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([stop])


def _decode(call: Call) -> Any:
    from PIL import Image, UnidentifiedImageError

    if call.picture is None:
        raise UsageError("a batch mixes calls with and without pictures")
    try:
        with Image.open(io.BytesIO(call.picture.data)) as picture:
            return bounded_ratio(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise BadRequestError(f"the picture {call.picture.sha256[:12]} cannot be decoded: {one_line(error)}") from error


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # on the CPU torch raises a bare RuntimeError
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _rejection(error: Exception, *, out_of_memory: bool) -> BadRequestError:
    if isinstance(error, BadRequestError):
        return error
    if out_of_memory:
        return BadRequestError(
            "out of memory for a single question: lower `mllm.image_max_side` or take a smaller model"
        )
    return BadRequestError(f"the model cannot take this question: {type(error).__name__}: {one_line(error)}")


def free_memory() -> None:
    """Return unreferenced memory to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
