"""Scorers and the answers they find."""

from __future__ import annotations

import asyncio
import re
import string
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.errors import InputError
from profiles.measuring.answers import (
    choice_letter,
    final_line,
    last_number,
    marked_answer,
    normalised,
    program,
)
from profiles.measuring.scorers import (
    Exact,
    Function,
    MultipleChoice,
    Numeric,
    Regex,
    Task,
    scorer_for,
)


def score(scorer, answer, reference=None, **task):
    scorer = build(scorer) if isinstance(scorer, str) else scorer
    given = Task("q1", "What?", reference=reference, **task)
    return asyncio.run(scorer.score(given, answer))


def build(text):
    return scorer_for(text, load=lambda name: len_of, judge=lambda model: Exact())


def len_of(prompt, answer):
    return len(answer) / 10


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("There are 1,234.5 litres.", "1234.5"),
        ("The answer is $1,234.", "1234"),
        ("He has 7, no wait, **8** apples.", "8"),
        ("so x=-3", "-3"),
        ("10-3", "3"),
        ("\u22125 degrees", "-5"),
        ("about 45 %", "45"),
        (r"\boxed{\frac{3}{4}} of 12 people", "3/4"),
        ("3/4 cup", "3/4"),
        ("12 apples\n#### 72\n", "72"),
        (r"1.2 \times 10^{5}", "120000"),
        ("6.02e23", "6.02e23"),
        ("Answer: 5. Checked twice", "5"),
        ("1e400", "1e400"),
    ],
)
def test_the_last_number_is_found_through_units_and_signs(text, number):
    assert last_number(text) == Fraction(number)


@pytest.mark.parametrize("text", ["", "none", "v1.2.3", "1/0", "e5", "-", "..."])
def test_where_there_is_no_number_none_is_found(text):
    assert last_number(text) is None


@settings(deadline=None)
@given(st.fractions(max_denominator=1).map(int), st.text(alphabet=string.ascii_letters + " "))
def test_every_integer_is_found_with_thousands_separators_too(number, words):
    assert last_number(f"{words} is {number:,} {words}") == number


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_an_extractor(text):
    for find in (last_number, choice_letter, marked_answer, program):
        find(text)


MANY = 200_000
HOSTILE = [
    "The answer is" + "\n" * MANY + "none", "answer" + " " * MANY + "x",
    "answer a" + " " * MANY + "z",
    "answer is (" + " " * MANY + "z", "1" + " " * MANY + "2", " " * MANY + "x", "1" * MANY + ".",
    "1" + ",111" * MANY, "answer " * MANY, "final " * MANY, "#### " * MANY, "#" * MANY,
    "\\boxed{" * MANY, "\\frac{" * MANY, "\\frac{" + "1" * MANY, "```" + "a" * MANY,
    "```" + " " * MANY, "```\n" * MANY, "( " * MANY, "A " * MANY, "1e" * MANY, "1/" * MANY,
    "1 /" + " " * MANY, "+-" * MANY, "." * MANY, "*" * MANY + " " * MANY + "* 10",
    'answer "' * MANY,
    "option choice" * MANY,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_an_answer_of_endless_repetition_is_read_to_its_end(text):
    for find in (last_number, choice_letter, marked_answer, program, final_line, normalised):
        find(text)


def test_an_answer_stands_at_the_end_of_a_text_of_any_length():
    text = "x 1 " * MANY + "The answer is B, #### 72"
    assert last_number(text) == 72
    assert choice_letter("word " * MANY + "The answer is (B).") == "B"


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("C", "C"),
        ("(c)", "C"),
        ("The answer is (B).", "B"),
        ("**Answer:** D", "D"),
        (r"\boxed{D}", "D"),
        (r"$\boxed{\text{C}}$", "C"),
        ("Answer is B. Wait, the answer is C", "C"),
        ("The correct option is D because A is wrong", "D"),
        ("reasons\nC) because", "C"),
        ("the answer is a matter of taste", None),
        ("I think A or B", None),
        ("A great thing", None),
        ("", None),
    ],
)
def test_the_letter_that_an_answer_settles_on_is_found(text, letter):
    assert choice_letter(text) == letter


def test_the_longest_code_block_is_the_program():
    text = "Use it:\n```python\nf(1)\n```\n```python\ndef f(x):\n    return x\n```\n"
    assert program(text) == "def f(x):\n    return x\n"
    assert program("def f(): pass") == "def f(): pass"
    assert program("```python\ndef f(): pass") == "def f(): pass"
    assert program(" \n") is None


@pytest.mark.parametrize(
    ("answer", "right"),
    [("Paris", 1), ("I think so.\nparis.", 1), ("The answer is 'Paris'.", 1), ("Paris, Texas", 0)],
)
def test_exact_looks_at_the_marked_answer_or_the_last_line(answer, right):
    assert score("exact", answer, "Paris").score == right


def test_an_empty_answer_has_nothing_extracted():
    found = score("exact", "  \n", "Paris")
    assert (found.score, found.extracted) == (0.0, None)


def test_numeric_compares_with_its_tolerances():
    assert score("numeric", "so 0.1 + 0.2 = 0.30000000000000004", "0.3").score == 1
    assert score("numeric", "3.14", "3.14159").score == 0
    assert score("numeric:tolerance=0.01", "3.14", "3.14159").score == 1
    assert score("numeric:relative=0.1", "95", "100").score == 1
    assert score("numeric:relative=0.1", "89", "100").score == 0
    assert score("numeric", "#### 72", "Natalia sold 48.\n#### 72").extracted == "72"
    assert score("numeric", "no idea", "72").extracted is None


def test_a_regex_matches_or_compares_its_group():
    assert score(r"regex:\byes\b", "well, yes").score == 1
    assert score(r"regex:\byes\b", "eyes").score == 0
    found = score(r"regex:x = (\w+)", "x = 1 and then x = Two", "two")
    assert (found.score, found.extracted) == (1.0, "Two")
    assert score(r"regex:x = (\w+)", "x = 1", "two").score == 0


def test_multiple_choice_compares_letters():
    assert score("multiple-choice", "The answer is (b).", "B").score == 1
    assert score("multiple-choice", "no idea", "(B)").extracted is None


def test_a_function_of_ones_own_is_called_with_prompt_and_answer():
    assert score("module:function", "12345").score == 0.5


@pytest.mark.parametrize("value", [2, -1, float("nan"), "x", None])
def test_a_function_that_leaves_0_to_1_is_refused(value):
    with pytest.raises(InputError, match="task q1: the scorer"):
        score(Function(lambda prompt, answer: value), "a")


@pytest.mark.parametrize(
    ("scorer", "task"),
    [
        (Exact(), Task("q", "p")),
        (Exact(), Task("q", "p", reference=" ")),
        (Numeric(), Task("q", "p", reference="many")),
        (MultipleChoice(), Task("q", "p", reference="I think A or B")),
    ],
)
def test_a_task_that_cannot_be_judged_is_refused_before_it_costs(scorer, task):
    with pytest.raises(InputError, match="task q"):
        scorer.check(task)


@pytest.mark.parametrize(
    "text",
    [
        "", "exakt", "exact:x", "numeric:tolerance=-1", "numeric:tolerance=nan", "numeric:x=1",
        "regex:", "regex:(", "judge:", "judge", "multiple-choice:A", "unit-tests:fast",
    ],
)  # fmt: skip
def test_a_text_that_names_no_scorer_is_refused(text):
    with pytest.raises(InputError):
        build(text)


def test_texts_name_scorers():
    assert build("numeric:tolerance=0.01,relative=0.1") == Numeric(0.01, 0.1)
    assert build("regex:a:b") == Regex(re.compile("a:b"))
    assert build("judge:acme/judge") == Exact()
