"""The sorting policy: its language, what orders do to it, and what is refused whatever a model writes."""

from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from groundup.apps.sorter.policy import (
    ANSWER,
    COLOURS,
    END,
    LONGEST,
    ORDER_CLASSES,
    PATTERN,
    STANDARD,
    TOPICS,
    WASTE_CLASSES,
    Bin,
    Clause,
    Reply,
    SortingPolicy,
    apply,
    describe,
    parse,
    render,
    say,
    standard_policy,
)
from groundup.core.errors import InputError
from groundup.generate.grammar import Constraint, Grammar
from tests.generate.generate_helpers import small_tokenizer

BIN = st.one_of(st.integers(1, 99).map(str), st.sampled_from(sorted(COLOURS)))
SEVERAL = st.lists(st.sampled_from(sorted(ORDER_CLASSES)), min_size=1, max_size=5, unique=True).map(tuple)
CLAUSE = st.one_of(
    st.builds(lambda kinds, bin_: Clause("route", kinds, (bin_,)), SEVERAL, BIN),
    st.builds(
        lambda verb, kinds: Clause(verb, kinds),
        st.sampled_from(["leave", "manual", "only", "resume", "first"]),
        SEVERAL,
    ),
    st.builds(lambda one, other: Clause("swap", (), (one, other)), BIN, BIN),
    st.just(Clause("reset")),
    st.builds(
        lambda word: Clause("sure", (), (word,)),
        st.one_of(st.integers(0, 100).map(str), st.sampled_from(["more", "less"])),
    ),
)
ALONE = st.sampled_from(
    [Clause("ask", (), (topic,)) for topic in ("bottle", "bin", "kind")]
    + [Clause("refuse", (), (topic,)) for topic in ("kind", "other", "many")]
)
ORDER = st.one_of(st.lists(CLAUSE, min_size=1, max_size=4).map(tuple), ALONE.map(lambda op: (op,)))
LINES = [
    *(
        "route glass-brown 3",
        "route glass glass-clear 99",
        "route hazard purple",
        "leave paper",
        "manual film can",
        "only food",
        "resume cardboard",
    ),
    *(
        "first plastic glass-green",
        "swap 1 2",
        "swap blue 10",
        "reset",
        "sure 0",
        "sure 7",
        "sure 100",
        "sure more",
        "sure less",
    ),
    *("route can 2; leave paper; sure 80", "reset; swap 1 grey; first can", *(" ".join(topic) for topic in TOPICS)),
]
TWICE = ["route paper paper 3", "only can glass can", "leave film; first food food"]
LONG = ["leave paper; " * 40 + "leave can", "leave " + "can " * 10_000 + "can"]
HOSTILE = [
    "",
    " ",
    "route",
    "route 3",
    "route paper",
    "route paper 0",
    "route paper 03",
    "route paper -1",
    "route paper 3.5",
    "route paper 100",
    "route paper 3 4",
    "route wood 3",
    "route 3 paper",
    "Route paper 3",
    "route  paper 3",
    "route paper 3 ",
    " leave can",
    "leave",
    "leave paper 3",
    "leave paper;leave can",
    "leave paper;",
    "; ",
    "leave paper\nleave can",
    "swap 1",
    "swap 1 2 3",
    "swap paper 1",
    "reset all",
    "sure",
    "sure 101",
    "sure -5",
    "sure 08",
    "sure 5e1",
    "sure NaN",
    "sure maybe",
    "ask",
    "ask me",
    "ask bin; leave paper",
    "leave paper; refuse other",
    "leave paper; leave can; reset; sure 90; leave film",
    "refuse",
    "refuse unsafe",
    "delete everything",
    "__import__('os').system('true')",
    "route paper ３",
    "route paper ²",
    "leave pаper",
    "leave paper\u200b",
    "stop",
    "none",
    "{}",
    '{"route": "paper"}',
]


def told(line: str, policy: SortingPolicy | None = None) -> SortingPolicy:
    after = apply(parse(line), policy or standard_policy())
    assert isinstance(after, SortingPolicy), after
    return after


def said(line: str, policy: SortingPolicy | None = None) -> Reply:
    after = apply(parse(line), policy or standard_policy())
    assert isinstance(after, Reply), after
    return after


def changed(after: SortingPolicy) -> dict:
    return {sort: place for sort, place in after.destinations.items() if place != STANDARD[sort]}


# --- the language --------------------------------------------------------------------------------------------


@given(ORDER)
def test_what_is_written_is_read_as_it_was(order):
    line = render(order)
    if len(line) <= 400:
        assert parse(line) == order
        assert render(parse(line)) == line


@pytest.mark.parametrize("line", HOSTILE + TWICE + LONG)
def test_hostile_lines_are_refused(line):
    with pytest.raises(InputError, match="order"):
        parse(line)


@given(st.text(max_size=60))
def test_any_text_is_an_order_that_is_written_alike_or_refused(text):
    try:
        order = parse(text)
    except InputError:
        return
    assert render(order) == text


@given(st.from_regex(PATTERN, fullmatch=True))
def test_what_the_pattern_matches_is_an_order_but_for_its_length_and_a_kind_twice(line):
    twice = any(clause.split().count(kind) > 1 for clause in line.split("; ") for kind in ORDER_CLASSES)
    if twice or len(line) > LONGEST:
        with pytest.raises(InputError, match="order"):
            parse(line)
    else:
        assert render(parse(line)) == line


def test_the_engine_keeps_to_the_pattern(tmp_path):
    """llguidance reads the expression as `re` does; an order may end where it does."""
    pytest.importorskip("llguidance", reason="needs the extra serve")
    tokenizer, grammar = small_tokenizer(tmp_path), Grammar.regex(ANSWER)

    def kept(line: str) -> bool:
        way = Constraint(grammar, tokenizer)
        for id in tokenizer.encode(line + END):
            if not way.token_mask()[id]:
                return False
            way.accept(id)
        return bool(way.token_mask()[tokenizer.im_end])

    assert [line for line in LINES + TWICE if not kept(line)] == []
    assert [line for line in HOSTILE if kept(line)] == []


# --- what orders do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("route glass-brown 1; leave paper", {"glass-brown": 1, "paper": "leave"}),
        ("route paper yellow", {"paper": 2}),
        ("route glass 1", {"glass-brown": 1, "glass-green": 1, "glass-clear": 1}),
        ("route glass 1; route glass-brown 4", {"glass-brown": 4, "glass-green": 1, "glass-clear": 1}),
        ("route glass-brown 4; route glass 1", {"glass-brown": 4, "glass-green": 1, "glass-clear": 1}),
        ("manual hazard", {"hazard": "manual"}),
        ("route hazard red", {}),
        ("only can glass", dict.fromkeys(("plastic", "cardboard", "paper", "food", "film"), "leave")),
        ("only can; route can 4", dict.fromkeys(set(WASTE_CLASSES) - {"can", "hazard"}, "leave") | {"can": 4}),
        (
            "only glass; leave glass-green",
            dict.fromkeys(set(WASTE_CLASSES) - {"glass-brown", "glass-clear", "hazard"}, "leave"),
        ),
        ("swap 1 2", {"paper": 2, "cardboard": 2, "plastic": 1, "can": 1, "film": 1}),
        ("swap blue yellow", {"paper": 2, "cardboard": 2, "plastic": 1, "can": 1, "film": 1}),
        ("route paper 2; swap 1 2", {"cardboard": 2, "plastic": 1, "can": 1, "film": 1}),
        ("leave paper; reset", {}),
        ("reset; leave paper", {"paper": "leave"}),
        ("leave paper; swap 3 4; resume paper", {"glass-brown": 4, "glass-green": 4, "glass-clear": 4, "food": 3}),
    ],
)
def test_an_order_changes_what_it_says(line, changes):
    assert changed(told(line)) == changes


def test_what_was_left_comes_back():
    assert told("resume paper", told("leave paper can")).destinations == standard_policy().destinations | {
        "can": "leave"
    }


def test_what_was_moved_and_is_sorted_stays_there():
    assert told("resume paper", told("route paper 2")).destinations["paper"] == 2


@pytest.mark.parametrize(
    ("line", "sure"),
    [
        ("sure 95", 95),
        ("sure more", 90),
        ("sure more; sure more; sure more", 95),
        ("sure less; sure less; sure less; sure less", 50),
    ],
)
def test_sureness(line, sure):
    assert told(line).min_confidence == sure


def test_the_last_that_is_said_to_be_first_is_first():
    assert told("first can; first paper").priority == ("paper", "can")
    assert told("first can", told("first can paper")).priority == ("can", "paper")


@pytest.mark.parametrize(
    ("line", "because"),
    [
        ("route hazard 1", "alone"),
        ("leave hazard", "alone"),
        ("route paper red", "alone"),
        ("route paper hazard 5", "alone"),
        ("swap 1 5", "alone"),
        ("route hazard 1; leave paper", "alone"),
        ("route paper 6", "no bin 6"),
        ("route paper purple", "no purple bin"),
        ("swap 1 9", "no bin 9"),
        ("route paper 1; route paper 2", "two things about paper"),
        ("leave paper; route paper 2", "two things"),
        ("only can; leave can", "two things"),
        ("only can; route paper 1", "two things"),
        ("route glass-brown 1; leave glass-brown", "two things"),
        ("swap 2 yellow", "itself"),
        ("sure 49", "50 to 99"),
        ("sure 100", "50 to 99"),
        ("refuse kind", "not know"),
        ("refuse other", "not an order"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(line, because):
    answer = said(line)
    assert not answer.question
    assert because in answer.text("en")
    assert answer.text("zh") != answer.text("en")


@pytest.mark.parametrize("topic", ["bottle", "bin", "kind"])
def test_what_is_unclear_is_asked(topic):
    assert said(f"ask {topic}").question


def test_a_colour_of_two_bins_is_asked_about():
    policy = standard_policy()
    bins = (*policy.bins[:3], Bin(colour="blue"), policy.bins[4])
    assert said("route paper blue", SortingPolicy(bins=bins, standard=STANDARD, destinations=STANDARD)).question


@given(st.lists(ORDER, max_size=6))
def test_no_run_of_orders_makes_an_unsafe_policy(orders):
    policy = standard_policy()
    for order in orders:
        after = apply(order, policy)
        if isinstance(after, SortingPolicy):
            policy = after
        assert policy.destinations["hazard"] in (5, "manual")
        assert [sort for sort, place in policy.destinations.items() if place == 5] in ([], ["hazard"])
        assert set(policy.destinations) == set(WASTE_CLASSES)
        assert SortingPolicy.model_validate_json(policy.model_dump_json()) == policy


@pytest.mark.parametrize(
    "wrong",
    [
        {"destinations": STANDARD | {"hazard": 1}},
        {"destinations": STANDARD | {"hazard": "leave"}},
        {"destinations": STANDARD | {"can": 5}},
        {"destinations": {}},
        {"destinations": STANDARD | {"can": 6}},
        {"destinations": STANDARD | {"can": 0}},
        {"min_confidence": 10},
        {"first": ("wood",)},
        {"bins": ()},
        {"more": 1},
        {"bins": (Bin(colour="pink"),) * 5},
        {"standard": STANDARD | {"hazard": 2}},
    ],
)
def test_a_policy_that_cannot_be_is_not_made(wrong):
    with pytest.raises(ValidationError):
        SortingPolicy(**{"bins": standard_policy().bins, "standard": STANDARD, "destinations": STANDARD} | wrong)


def test_a_policy_does_not_change():
    with pytest.raises(ValidationError):
        standard_policy().min_confidence = 60


# --- in words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "english", "chinese"),
    [
        ("route glass-brown can 3", "brown glass, cans into bin 3", "棕色玻璃、罐子放到3号箱"),
        (
            "route glass red; leave paper",
            "glass into red bin; leave paper on the belt",
            "玻璃放到红色箱；纸张留在带上",
        ),
        ("manual film", "film by hand", "薄膜由人工处理"),
        ("only can", "sort only cans", "只分拣罐子"),
        ("resume can", "sort cans again", "恢复分拣罐子"),
        ("first can", "pick cans first", "优先拣罐子"),
        ("swap 1 blue", "swap bin 1 and blue bin", "对换1号箱和蓝色箱"),
        ("reset; sure 90", "back to the standard policy; confidence threshold 90 %", "恢复标准规则；把握门槛90%"),
        ("sure more", "a higher confidence threshold", "提高把握门槛"),
        ("sure less", "a lower confidence threshold", "降低把握门槛"),
    ],
)
def test_an_order_is_said_in_plain_words(line, english, chinese):
    assert (say(parse(line), "en"), say(parse(line), "zh")) == (english, chinese)


@given(st.lists(CLAUSE, min_size=1, max_size=4).map(tuple), st.sampled_from(["en", "zh"]))
def test_the_words_of_an_order_name_all_that_it_names(order, language):
    words = say(order, language)
    for clause in order:
        for kind in clause.kinds:
            assert WASTE_CLASSES.get(kind, ("glass", "玻璃"))[language == "zh"] in words
        for word in clause.rest:
            assert word in ("more", "less") or (COLOURS.get(word, word) if language == "zh" else word) in words


@pytest.mark.parametrize(("language", "seed"), [*product(("en", "zh"), range(20))])
def test_words_name_every_sort_once(language, seed):
    rng, policy = Random(seed), standard_policy()
    for _ in range(5):
        kind = rng.choice(sorted(ORDER_CLASSES))
        after = apply(
            parse(
                rng.choice([f"route {kind} {rng.randint(1, 4)}", f"leave {kind}", f"manual {kind}", f"first {kind}"])
            ),
            policy,
        )
        policy = after if isinstance(after, SortingPolicy) else policy
    text = describe(policy, language)
    names = [names[language == "zh"] for names in WASTE_CLASSES.values()]
    assert [text.count(name) for name in names] == [1] * len(WASTE_CLASSES)
    lines = text.splitlines()
    for (sort, place), name in zip(policy.destinations.items(), names, strict=True):
        line = lines[place - 1 if isinstance(place, int) else {"manual": 5, "leave": 6}[place]]
        assert name + "*" * (sort in policy.priority) in line
