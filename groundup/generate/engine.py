"""The engine: requests in, pieces of answers out, many at a time. No HTTP here.

Shapes: B rows, R tokens of a step, N sequences, D width, V vocabulary.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import nan
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from groundup.codecs.boxes import Detection, Floats, from_labels
from groundup.codecs.patches import Frame
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.device import Device
from groundup.generate.block_table import PAGE
from groundup.generate.grammar import Grammar
from groundup.generate.grammar_pool import wait
from groundup.generate.isolate import attempt
from groundup.generate.kv_cache import Decoder, NativeStore, PlainStore, Store, Stretch
from groundup.generate.look import Look, View, require, shown
from groundup.generate.request import OutputDelta, Request, Score
from groundup.generate.sampling import GREEDY, Sampling
from groundup.generate.scheduler import ROWS, STEP, Scheduler
from groundup.generate.sequence import Listen, SequenceState
from groundup.kernels.cpu.matrix import Weights
from groundup.kernels.cpu.modules import Workshop, plant, workshop
from groundup.model import weights as files
from groundup.model.config import ModelConfig
from groundup.model.linear import Linear
from groundup.model.transformer import Transformer, document_mask
from groundup.model.vision.encoder import ImageEmbeddings, ImageInputs, VisionEncoder

MEMORY = 1 << 30  # bytes for the cache, unless another number is given
TOP = 20  # most log-probabilities an id comes with
ECHO = 64  # positions of a prompt whose scores are in memory at a time
WAIT, IDLE = (
    0.005,
    0.02,
)  # seconds that a step waits for what grammars allow: with other answers to go on with, and without


class Engine:
    """Continues prompts with a model.

    `add` a request and call `step` until there is nothing left to do; or `complete` and `stream`, which do that. One
    thread at a time. Raises InputError when the tokenizer has ids that the model lacks.
    """

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, shop: Workshop | None = None, cache_bytes: int = MEMORY
    ):
        if tokenizer.size > model.config.vocab:
            raise InputError(
                f"the tokenizer has {tokenizer.size} ids, the model {model.config.vocab}; they do not belong together"
            )
        self.model, self.tokenizer = model, tokenizer
        self.device = model.device
        config, dtype = model.config, model.precision
        pages = min(ROWS * -(-config.context // PAGE), cache_bytes // config.cache_bytes(PAGE, dtype.itemsize))
        if pages * PAGE < config.context:
            needed = config.cache_bytes(config.context + PAGE, dtype.itemsize)
            raise InputError(
                f"a cache of {cache_bytes:,} bytes does not hold one context of {config.context} tokens; it needs"
                f" {needed:,}"
            )
        self.scheduler = Scheduler(pages)
        self._store: Store
        self._decoder: Decoder | None = None
        if shop is None:
            self._store = PlainStore(config, pages, self.device, dtype)
        else:
            self._store = native = NativeStore(config, pages, dtype, shop, STEP + config.patches)
            with torch.inference_mode():
                self._decoder = Decoder(model, native, shop, ROWS, tokenizer.size)
        self._ends = frozenset((tokenizer.im_end, tokenizer.end))
        self.steps = self.read = self.said = self.found = (
            0  # forwards; ids of prompts computed, ids generated, ids of prompts found
        )

    @property
    def config(self) -> ModelConfig:
        """The model's numbers."""
        return self.model.config

    @staticmethod
    def load(
        folder: Path,
        device: Device,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        weights: Weights = "full",
        cache_bytes: int = MEMORY,
    ) -> "Engine":
        """The engine of a model folder; raises InputError as `weights.load`, `Tokenizer.load` and `plant` do.

        Matrices are kept in the precision they are multiplied in, or in `weights`: whole numbers of 8 or 4 bits.
        """
        model = files.load(folder, device.handle, device.precision(precision))
        shop = workshop(model.config) if device.is_host else None
        plant(model, weights, shop)
        for module in model.modules():
            if isinstance(module, Linear | nn.Embedding):
                module.weight.data = module.weight.data.to(model.precision)
        return Engine(model, Tokenizer.load(folder), shop, cache_bytes)

    # --- one request after another, or all at once ----------------------------------------------------------------

    def complete(
        self, prompts: Sequence[list[int]], limit: int, sampling: Sampling = GREEDY, advance: Callable[[int],
        None] = lambda done: None,
        images: Sequence[tuple[Look, ...]] = (), grammar: Grammar | None = None,
    ) -> list[list[int]]:  # fmt: skip
        """Continue each prompt by up to `limit` ids, to <|im_end|>, <|endoftext|> (both left out) or the context's end.

        A prompt's answer does not depend on the others. `advance` is told of prompts done; `images` are those of each
        prompt, if any has some; `grammar` says what each answer may be. Raises InputError for a prompt that is empty or
        leaves no room in the context.
        """
        shown = images or [()] * len(prompts)
        requests = [
            Request(prompt, limit, sampling, number, grammar=grammar, images=looks)
            for number, (prompt, looks) in enumerate(zip(prompts, shown, strict=True))
        ]  # fmt: skip
        for request in requests:
            self.check(request)
        answers: list[list[int]] = [[] for _ in prompts]
        ends: list[OutputDelta] = []

        def listen(number: int, piece: OutputDelta) -> None:
            answers[number] += piece.ids
            if piece.finish or piece.error:
                ends.append(piece)

        added = [self.add(request, partial(listen, number)) for number, request in enumerate(requests)]
        try:
            while self.step():
                if ends:
                    advance(sum(_sound(piece).finish is not None for piece in ends))
                    ends.clear()
        finally:
            for answer in added:
                if not answer.ended:
                    self.cancel(answer)
        return answers

    def stream(
        self, prompt: list[int], limit: int, sampling: Sampling = GREEDY, images: tuple[Look, ...] = ()
    ) -> Iterator[int]:
        """The same for one prompt, each id as it comes."""
        pieces: list[OutputDelta] = []
        answer = self.add(Request(prompt, limit, sampling, images=images), pieces.append)
        return self._ids(answer, pieces)

    def _ids(self, answer: SequenceState, pieces: list[OutputDelta]) -> Iterator[int]:
        try:
            while self.step():
                for piece in pieces:
                    yield from _sound(piece).ids
                pieces.clear()
        finally:
            self.cancel(answer)

    # --- many at a time --------------------------------------------------------------------------------------------

    def add(self, request: Request, listen: Listen) -> SequenceState:
        """Queue a request; `listen` gets its pieces. Raises InputError for one that cannot be answered."""
        self.check(request)
        answer = SequenceState(request, self.tokenizer, listen)
        self.scheduler.waiting.append(answer)
        return answer

    def cancel(self, answer: SequenceState) -> None:
        """Forget an answer; its pages are free at once."""
        self.scheduler.remove(answer)
        answer.close()

    def check(self, request: Request) -> None:
        """Raise InputError for a request that cannot be answered."""
        context, size = self.config.context, len(request.prompt)
        if request.limit < 1:
            raise InputError(f"the limit of an answer is {request.limit} tokens; ask for at least 1")
        if not size:
            raise InputError("a prompt has no tokens; give it at least one")
        if size >= context:
            raise InputError(
                f"a prompt of {size} tokens leaves no room for an answer in a context of {context}; shorten it"
            )
        for id in (*request.prompt, *request.sampling.bias):
            if not 0 <= id < self.tokenizer.size:
                raise InputError(f"there is no token with the id {id}; they go from 0 to {self.tokenizer.size - 1}")
        if request.logprobs is not None and not 0 <= request.logprobs <= TOP:
            raise InputError(f"log-probabilities of {request.logprobs} ids are asked for; the most is {TOP}")
        self._check_images(request.images, size)

    def _check_images(self, looks: Sequence[Look], size: int) -> None:
        """Raise InputError unless the images stand in a prompt one after the other, with ids after the last."""
        config, before = self.config, 0
        for look in looks:
            require(config)
            grid, patches = look.view.grid, look.view.patches
            if grid.patches > config.patches or patches.shape != (grid.patches, config.patch_values):
                raise InputError(
                    f"an image has {patches.shape} patches; the model sees at most {config.patches} of"
                    f" {config.patch_values} values"
                )
            if not before <= look.place < look.end < size:
                raise InputError(
                    f"an image stands at {look.place} to {look.end} of a prompt of {size} tokens; it must lie inside,"
                    " apart from others"
                )
            before = look.end

    @torch.inference_mode()
    def step(self) -> bool:
        """One forward: the next id of each answer, and a chunk of the prompts that wait. False if there was nothing to
        do.

        What the work for one answer raises, or the one who listens to it, ends that answer; what the forward raises,
        the answers that were in it. They are told so. Raises only what shows that the engine itself is broken.
        """
        late = [answer for answer in self.scheduler.running if answer.held is not None]
        step = self.scheduler.plan()
        if not step:
            self._choose(late, IDLE)
            return bool(late)
        attempt(partial(self._forward, step), partial(self._recover, step))
        self._choose(late, 0)
        return True

    def _forward(self, step: list[tuple[SequenceState, int]]) -> None:
        seen = {
            answer: attempt(partial(self._patches, answer, count), partial(self._fail, answer))
            for answer, count in step
            if answer.request.images
        }
        step = [(answer, count) for answer, count in step if not answer.ended]
        if not step:
            return
        positions_1R = self._store.begin([_stretch(answer, count) for answer, count in step])
        self._count(step)
        if self._decoder is not None and all(answer.left == 1 and not answer.request.echo for answer, _ in step):
            best, scores_NV = self._decoder.next([answer.ids[-1] for answer, _ in step])
            for answer, _ in step:
                self.scheduler.computed(answer, 1)
            self._answer([answer for answer, _ in step], best, scores_NV)
        else:
            self._read(step, positions_1R, _image_inputs(step, seen))

    def _recover(self, step: list[tuple[SequenceState, int]], error: Exception) -> None:
        """End the answers of a step whose forward failed. Raises if the engine cannot go on: pages are lost, or it does
        not compute any more.
        """
        self.scheduler.check()
        self.model.logits(self._states([0], ())[None])
        for answer, _ in step:
            self._fail(answer, error)

    def _read(
        self, step: list[tuple[SequenceState, int]], positions_1R: Tensor, image_inputs: ImageEmbeddings | None
    ) -> None:
        """A step with several ids of a prompt."""
        ids = [id for answer, count in step for id in answer.ids[answer.computed : answer.computed + count]]
        x_RD = self.model(
            torch.tensor([ids], device=self.device), positions_1R, cache=self._store, images=image_inputs
        )[0]
        ready, last, row = [], [], 0
        for answer, count in step:
            if answer.request.echo and answer.computed < answer.asked:
                attempt(partial(self._echo, answer, x_RD[row : row + count]), partial(self._fail, answer))
            row += count
            if answer.ended:
                continue
            self.scheduler.computed(answer, count)
            if not answer.left:
                ready.append(answer)
                last.append(row - 1)
        if ready:
            scores_NV = self.model.logits(x_RD[None, last])[0, :, : self.tokenizer.size]
            self._answer(ready, scores_NV.argmax(-1).tolist(), scores_NV)

    def _patches(self, answer: SequenceState, count: int) -> Tensor | None:
        """What is seen of an answer's images in a step: of each, the patches from the first that is not in the cache
        on.
        """
        inside = answer.within(answer.computed, answer.computed + count)
        return (
            torch.cat([self._seen(look.view)[max(0, answer.computed - look.place) :] for look in inside])
            if inside
            else None
        )

    def _seen(self, view: View) -> Tensor:
        """The embeddings of an image's patches, [N, D]: always all, as products of fewer rows may have other bits."""
        assert self.model.vision is not None, "requests with images are checked"
        patches_NP, grid_N2 = (
            torch.tensor(view.patches, device=self.device),
            torch.from_numpy(view.grid.coordinates()).to(self.device),
        )
        image = Frame(*view.grid, view.grid.patches)
        x_ND: Tensor = self.model.vision(
            ImageInputs(patches_NP, torch.empty(0), grid_N2, frames=(image,)), self.model.precision
        )
        return x_ND

    def _count(self, step: list[tuple[SequenceState, int]]) -> None:
        self.steps += 1
        for answer, count in step:
            if answer.computed == (answer.cached or 0) and answer.computed < answer.asked:
                self.found += answer.computed
            self.read += min(count, max(0, answer.asked - answer.computed))

    def _answer(self, ready: list[SequenceState], best: list[int], scores_NV: Tensor) -> None:
        """Choose the next id of each answer, knowing the likeliest, and tell those who asked."""
        for place, answer in enumerate(ready):
            if answer.plain:
                attempt(partial(self._tell, answer, best[place], ()), partial(self._fail, answer))
            else:
                answer.held = scores_NV[place].float()
        held = [answer for answer in ready if answer.held is not None]
        self._choose(held, WAIT)
        for answer in held:
            if answer.held is not None:
                answer.held = answer.held.clone()  # the next step writes over the scores

    def _choose(self, answers: list[SequenceState], seconds: float) -> None:
        """Choose the next id of answers whose scores are held, where it is known what may come, after waiting for that
        at most so long.
        """
        until = time.monotonic() + seconds
        while True:
            for answer in answers:
                if answer.held is not None:
                    attempt(partial(self._next, answer, answer.held), partial(self._fail, answer))
            waiting = [
                answer.constraint for answer in answers if answer.held is not None and answer.constraint is not None
            ]
            if not waiting or (left := until - time.monotonic()) <= 0:
                return
            wait(waiting, left)

    def _next(self, answer: SequenceState, scores_V: Tensor) -> None:
        """Choose the next id from the scores, unless it is not known yet which are allowed."""
        request, narrowed = answer.request, scores_V
        allowed = None if answer.constraint is None else answer.constraint.allowed()
        if answer.constraint is not None and allowed is None:
            return
        answer.held = None
        if request.sampling.shifts:
            narrowed = scores_V.clone()
            request.sampling.shift(narrowed, answer.ids[: answer.asked], answer.ids[answer.asked :])
        if allowed is not None:
            narrowed = narrowed.masked_fill(~torch.from_numpy(allowed).to(scores_V.device), float("-inf"))
        id = request.sampling.choose(narrowed, answer.source)
        if answer.constraint is not None and id not in self._ends:
            answer.constraint.accept(id)
        self._tell(answer, id, () if request.logprobs is None else (score(scores_V, id, request.logprobs),))

    def _tell(self, answer: SequenceState, id: int, scores: tuple[Score, ...]) -> None:
        cached = (answer.cached or 0) if len(answer.ids) == answer.asked else 0
        prompt_scores, answer.prompt_scores = tuple(answer.prompt_scores), []
        if id in self._ends:
            ending = scores[0] if scores else None
            return self._end(
                answer,
                OutputDelta(
                    answer.reader.rest(), prompt_scores=prompt_scores, finish="stop", cached=cached, ending=ending
                ),
            )
        answer.ids.append(id)
        self.said += 1
        text = answer.reader.read(id)
        long = len(answer.ids) - answer.asked >= answer.request.limit or len(answer.ids) >= self.config.context
        if not answer.reader.stopped and not long:
            return answer.say(OutputDelta(text, (id,), scores, prompt_scores, None, cached))
        text += answer.reader.rest()
        return self._end(
            answer,
            OutputDelta(text, (id,), scores, prompt_scores, "stop" if answer.reader.stopped else "length", cached),
        )

    def _end(self, answer: SequenceState, piece: OutputDelta) -> None:
        self.cancel(answer)
        answer.say(piece)

    def _fail(self, answer: SequenceState, error: Exception) -> None:
        """End an answer that something went wrong with. If that is the one who listens, he is told nothing more."""
        told = answer.ended
        self.cancel(answer)
        if not told:
            attempt(partial(answer.say, OutputDelta.failed(error)), lambda error: None)

    def _echo(self, answer: SequenceState, x_RD: Tensor) -> None:
        """Add the scores of the prompt's ids that these states predict, the first id of all before them."""
        start = answer.computed
        targets = answer.ids[start + 1 : min(start + 1 + len(x_RD), answer.asked)]
        found = [] if start else [Score(answer.ids[0], nan)]
        for at in range(0, len(targets), ECHO):
            part = targets[at : at + ECHO]
            scores_NV = self.model.logits(x_RD[None, at : at + len(part)])[0, :, : self.tokenizer.size].float()
            found += [score(row, id, answer.request.logprobs or 0) for row, id in zip(scores_NV, part, strict=True)]
        answer.prompt_scores += found

    @torch.inference_mode()
    def embed(self, ids: list[int], images: Sequence[Look] = ()) -> list[float]:
        """The mean of a text's last states, or of its images' patches' if it has any, scaled to length 1, [D].

        Raises InputError for a text that is empty or does not fit, and for images that cannot be seen.
        """
        if not 0 < len(ids) <= self.config.context:
            raise InputError(f"a text of {len(ids)} tokens cannot be embedded; it must have 1 to {self.config.context}")
        self._check_images(images, len(ids))
        return nn.functional.normalize(self._states(ids, images).float().mean(0), dim=0).tolist()

    def things(self, view: View) -> list[Detection]:
        """What the labels of an image's patches say lies in it, the surest first; raises InputError as `labels`
        does.
        """
        return from_labels(*self.labels(view), view.grid, list(self.config.classes))

    @torch.inference_mode()
    def labels(self, view: View) -> tuple[Floats, Floats]:
        """Probabilities [N, 1 + K] and values [N, 4] of the labels of an image's patches, as a user would show it.

        Raises InputError for a model that names nothing, and for an image that cannot be seen.
        """
        config, vision = self.config, self.model.vision
        if vision is None or not config.classes:
            raise InputError("the model names nothing in images; ask one that was tuned on a source of boxes")
        ids, images = shown(self.tokenizer, view)
        self._check_images(images, len(ids))
        return labels(vision, self._states(ids, images))

    def _states(self, ids: list[int], images: Sequence[Look]) -> Tensor:
        """The last states of the images' patches, or without images of all tokens, [N, D]."""
        positions_1T = torch.arange(len(ids), device=self.device)[None]
        ids_1T = torch.tensor([ids], device=self.device)
        blocks_1T = torch.zeros_like(ids_1T)
        for number, look in enumerate(images, 1):
            blocks_1T[0, look.place : look.end] = number
        shown_N = blocks_1T[0].nonzero()[:, 0]
        image_inputs = (
            ImageEmbeddings(torch.cat([self._seen(look.view) for look in images]), shown_N) if images else None
        )
        mask_1TT = document_mask(torch.zeros_like(blocks_1T), blocks_1T) if images else None
        x_TD: Tensor = self.model(ids_1T, positions_1T, mask_1TT, images=image_inputs)[0]
        return x_TD[shown_N] if images else x_TD


def labels(vision: VisionEncoder, x_ND: Tensor) -> tuple[Floats, Floats]:
    """Probabilities [N, 1 + K] and values [N, 4] of the labels of patches, from their last states."""
    scores, values = vision.detect(x_ND)
    return scores.softmax(-1).cpu().numpy(), values.cpu().numpy()


def _stretch(answer: SequenceState, count: int) -> Stretch:
    inside = answer.within(answer.computed, answer.computed + count) if answer.request.images else ()
    return Stretch(
        answer.computed, count, answer.pages, tuple((look.place, look.end) for look in inside) if inside else ()
    )


def _image_inputs(
    step: list[tuple[SequenceState, int]], seen: Mapping[SequenceState, Tensor | None]
) -> ImageEmbeddings | None:
    """What is seen of images in a step, and in which of its rows."""
    vectors, places, row = [], [], 0
    for answer, count in step:
        if (vectors_ND := seen.get(answer)) is not None:
            vectors.append(vectors_ND)
            places += [
                torch.arange(max(look.place, answer.computed), look.end) - answer.computed + row
                for look in answer.within(answer.computed, answer.computed + count)
            ]
        row += count
    return ImageEmbeddings(torch.cat(vectors), torch.cat(places).to(vectors[0].device)) if vectors else None


def _sound(piece: OutputDelta) -> OutputDelta:
    """A piece that has no error. Raises InputError for one of the request's, RuntimeError for one of the engine's."""
    if piece.error is not None:
        raise InputError(piece.error) if piece.fault == "request" else RuntimeError(piece.error)
    return piece


def score(scores_V: Tensor, id: int, top: int) -> Score:
    """The log-probability of an id, and of the `top` likeliest, the likeliest first."""
    logs_V = scores_V.log_softmax(-1)
    best, ids = logs_V.topk(top) if top else (logs_V[:0], logs_V[:0])
    return Score(id, float(logs_V[id]), tuple(zip(ids.tolist(), best.tolist(), strict=True)))
