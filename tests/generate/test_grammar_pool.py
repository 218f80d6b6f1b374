"""Grammars of clients: each in a process of its own, ended where it takes too much, and nobody else's answer is another
or waits.
"""

import asyncio
import json
import os
import signal
import threading
from pathlib import Path
from random import Random

import pytest

from groundup.core.errors import InputError
from groundup.generate import grammar_pool as pools
from groundup.generate.grammar import Grammar, UntrustedGrammar
from groundup.generate.grammar_pool import CompiledGrammar, GrammarPool, RemoteConstraint
from groundup.generate.refusals import Busy, Closing
from groundup.generate.request import Request
from groundup.generate.sampling import Sampling
from groundup.generate.service import Service
from tests.generate.generate_helpers import answers, ask, engine, small_tokenizer
from tests.generate.test_service import until

pytest.importorskip("llguidance", reason="needs the extra serve")
COUNT = "a::_: a::incr([0:64])"
WORDS = UntrustedGrammar("regex", "(one|two)( three){2,40}")
ENDLESS = {
    "counting": ("lark", f"start: a::0x1\n{COUNT}\n"),
    "counting in turns": ("lark", "start: a::0x1\na::_: b::incr([0:64])\nb::_: a::incr([0:64])\n"),
    "multiple of a prime": ("json_schema", json.dumps({"type": "integer", "multipleOf": 1000003})),
    "thirty patterns at once": ("json_schema", json.dumps({"allOf": [{"type": "string",
    "pattern": f"^(a|b)*a(a|b){{{n}}}$"} for n in range(30)]})),
}  # fmt: skip
LARGE = {
    "a hundred thousand": ("regex", "a{100000}"),
    "repeated three times": ("regex", "((a{1000}){1000}){1000}"),
    "repeated in a schema": ("json_schema", json.dumps({"type": "string", "pattern": "^((a{1000}){1000}){1000}$"})),
    "nested stars": ("regex", "(((a*)*b*)*c*)*"),
    "choices that double": ("regex", "(a|b)*a(a|b){200}"),
    "six thousand words": ("regex", "|".join(f"w{n}x{n * 7919 % 10007}" for n in range(6000))),
    "three thousand rules": ("lark",
    "start: r0\n" + "\n".join(f'r{n}: "w{n}" r{(n * 7 + 1) % 3000}' for n in range(3000))),
    "nine thousand words": ("lark", "start: " + " ".join(['"ab"'] * 9000)),
    "left recursion": ("lark", 'start: start start | "a" | start start start'),
    "nothing but itself": ("json_schema", json.dumps({"$ref": "#/$defs/a",
    "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}})),
    "a tree": ("json_schema", json.dumps({"$defs": {"n": {"type": "object",
    "properties": {"l": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"})),
    "five thousand values": ("json_schema", json.dumps({"enum": [f"v{n * 7919 % 100003}" for n in range(5000)]})),
    "many names": ("json_schema", json.dumps({"type": "object",
    "properties": {f"p{n}": {"type": "string"} for n in range(1500)}})),
    "a million items": ("json_schema", json.dumps({"type": "array", "minItems": 10**6, "items": {"type": "string",
    "minLength": 10**6}})),
    "a schema of 150 levels": ("json_schema", '{"properties": {"a": ' * 150 + "{}" + "}}" * 150),
    "brackets": ("lark", "start: " + "(" * 3000 + '"a"' + ")?" * 3000),
}  # fmt: skip


@pytest.fixture
def tokenizer(tmp_path):
    return small_tokenizer(tmp_path)


@pytest.fixture
def service(tokenizer):
    made = Service(engine(tokenizer=tokenizer, vocab=290))
    yield made
    made.close(0)


def compiled(service: Service, grammar: UntrustedGrammar, client: str = "") -> CompiledGrammar:
    return asyncio.run(service.grammars.compiled(grammar, client))


def sampled(grammar: object, seed: int = 0, limit: int = 40) -> Request:
    return Request([seed + 5], limit, Sampling(temperature=1.0, seed=seed), grammar=grammar)  # type: ignore[arg-type]


def alone(tokenizer, count: int = 4) -> list[list[int]]:
    """What a grammar that is followed in this process gives."""
    own = Grammar(WORDS.kind, WORDS.text)
    return [
        each.ids for each in ask(engine(tokenizer=tokenizer, vocab=290), *(sampled(own, seed) for seed in range(count)))
    ]


def test_a_grammar_in_another_process_gives_the_same_answers(service, tokenizer):
    grammar = compiled(service, WORDS)
    assert [each.ids for each in answers(service, *(sampled(grammar, seed) for seed in range(4)))] == alone(tokenizer)


def test_masks_that_come_late_change_no_answer(service, tokenizer, monkeypatch):
    random, allowed = Random(5), RemoteConstraint.token_mask
    monkeypatch.setattr(RemoteConstraint, "token_mask", lambda self: None if random.random() < 0.7 else allowed(self))
    grammar = compiled(service, WORDS)
    assert [each.ids for each in answers(service, *(sampled(grammar, seed) for seed in range(4)))] == alone(tokenizer)


def test_a_worker_that_is_killed_changes_no_answer(service, tokenizer, monkeypatch):
    grammar, asked, ask_for = compiled(service, WORDS), [], CompiledGrammar.request_mask

    def killing(self, answer):
        asked.append(answer)
        if len(asked) % 23 == 0 and self._link.worker is not None:
            os.kill(self._link.worker, signal.SIGKILL)
        ask_for(self, answer)

    monkeypatch.setattr(CompiledGrammar, "request_mask", killing)
    assert [each.ids for each in answers(service, *(sampled(grammar, seed) for seed in range(4)))] == alone(tokenizer)
    assert len(asked) > 23


def test_a_maker_that_is_killed_is_made_again(service):
    compiled(service, WORDS)
    service.grammars._spawner._process.kill()
    service.grammars._spawner._process.wait()
    text = answers(service, sampled(compiled(service, UntrustedGrammar("regex", "(four|five){2}"))))[0].text
    assert text in ("fourfour", "fourfive", "fivefour", "fivefive")


def delay(service: Service, attack: UntrustedGrammar) -> tuple[str, int, list[int]]:
    """What becomes of a grammar, and beside it another client's answer of 200 ids: how many steps more than ids it
    took, and its ids.
    """
    outcome: list[str] = []

    def attacking() -> None:
        try:
            outcome.append(
                answers(service, sampled(compiled(service, attack, "bad"), limit=20))[0].pieces[-1].error or "answered"
            )
        except (InputError, Busy) as error:
            outcome.append(str(error))

    attacker = threading.Thread(target=attacking)
    attacker.start()
    more, ids = 0, []
    while attacker.is_alive() or not ids:
        before = service.stats().steps
        [good] = answers(
            service,
            Request([7, 8, 9], 50, Sampling(temperature=1.0, seed=3, bias={service.tokenizer.im_end: -100.0})),
        )
        more, ids = max(more, service.stats().steps - before - len(good.ids)), good.ids
    attacker.join()
    return outcome[0], more, ids


@pytest.mark.parametrize("name", [*ENDLESS, *LARGE])
def test_another_clients_answer_comes_with_every_step_whatever_a_grammar_is(service, name):
    outcome, more, ids = delay(service, UntrustedGrammar(*{**ENDLESS, **LARGE}[name]))
    assert more <= 20 + 1  # the attacker's own steps, where the last question came before its answer
    assert "answered" in outcome or "cannot be" in outcome or "no time" in outcome
    if name in ENDLESS:
        assert (
            "cannot be used: it takes more than 1 s of a processor" in outcome or "no time" in outcome
        )  # where the machine does much else
    [after] = answers(
        service,
        Request([7, 8, 9], 50, Sampling(temperature=1.0, seed=3, bias={service.tokenizer.im_end: -100.0})),
    )
    assert after.ids == ids


def test_a_grammar_that_cannot_be_followed_later_ends_its_own_answer(service, tokenizer):
    """It compiles; after the fourth id its worker computes for ever."""
    later = UntrustedGrammar("lark", f'start: C C C C a::0x1\nC: "x" | "z"\n{COUNT}\n')
    bad, good = answers(service, sampled(compiled(service, later)), sampled(compiled(service, WORDS), 1))
    assert bad.pieces[-1].fault == "request"
    assert "cannot be followed" in bad.pieces[-1].error
    assert good.ids == alone(tokenizer)[1]


def test_a_refusal_is_remembered(service, monkeypatch):
    for _ in range(2):
        with pytest.raises(InputError, match="cannot be used"):
            compiled(service, UntrustedGrammar("regex", "("))
        monkeypatch.setattr(pools, "WorkerLink", lambda *_: {}["never"])


def test_what_waits_to_be_compiled_has_a_bound_and_clients_take_turns(service):
    bad = [UntrustedGrammar("lark", ENDLESS["counting"][1] + " " * number) for number in range(20)]

    async def all_at_once() -> list[object]:
        jobs = [asyncio.ensure_future(service.grammars.compiled(each, "bad")) for each in bad]
        await asyncio.sleep(0)
        good = await service.grammars.compiled(WORDS, "good")
        done = sum(job.done() for job in jobs)
        for job in jobs:
            job.cancel()
        return [good, done, *await asyncio.gather(*jobs, return_exceptions=True)]

    good, done, *outcomes = asyncio.run(all_at_once())
    assert isinstance(good, CompiledGrammar)
    assert sum(isinstance(each, Busy) for each in outcomes) >= 4  # of 20, 16 wait
    assert done <= 8  # not all the others of the other client before


def test_only_so_many_processes_are_held(service, monkeypatch):
    monkeypatch.setattr(pools, "HELD_OF_ONE", 3)
    kept = [compiled(service, UntrustedGrammar("regex", f"one{{{number}}}"), "a") for number in range(1, 4)]
    with monkeypatch.context() as patch, pytest.raises(Busy, match="too many grammars"):
        patch.setattr(pools, "WALL_SECONDS", 1.0)
        compiled(service, WORDS, "a")
    kept.append(compiled(service, WORDS, "b"))
    del kept[0]
    kept.append(compiled(service, UntrustedGrammar("regex", "two"), "a"))


def test_closing_ends_what_is_compiled_and_leaves_no_process(tokenizer):
    pool = GrammarPool(tokenizer)

    async def closing() -> None:
        job = asyncio.ensure_future(pool.compiled(UntrustedGrammar(*ENDLESS["counting"])))
        await asyncio.sleep(0.5)
        pool.close()
        with pytest.raises((Closing, Busy)):
            await job

    asyncio.run(closing())
    assert not pool._spawner.runs


def test_workers_end_with_what_needs_them(service):
    grammar = compiled(service, WORDS)
    pid = grammar._link.worker
    del grammar
    service.grammars._recent.clear()
    until(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
