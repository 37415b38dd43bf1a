"""Folds: near-duplicates stay together, templates do not, and nothing but texts and seed counts."""

from __future__ import annotations

import csv
import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.difficulty.folds import folds, near_duplicates

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def prose(rng: random.Random, words: int) -> list[str]:
    return ["".join(rng.choices(LETTERS, k=rng.randint(3, 9))) for _ in range(words)]


def edited(rng: random.Random, words: list[str]) -> str:
    """One word is another, gone, or new."""
    changed, at = list(words), rng.randrange(len(words))
    changed[at : at + rng.randint(0, 1)] = prose(rng, rng.randint(0, 1))
    return " ".join(changed)


def together(prompts: list[str]) -> bool:
    return len(set(near_duplicates(prompts).tolist())) == 1


@pytest.mark.parametrize("words", [20, 40, 200])
def test_copies_and_one_word_edits_of_long_prompts_share_a_group_and_a_fold(words: int) -> None:
    rng = random.Random(words)
    originals = [prose(rng, words) for _ in range(200)]
    prompts = [text for o in originals for text in (" ".join(o), edited(rng, o), " ".join(o))]
    found = folds(prompts, 5, seed=1)
    assert found.group_of.tolist() == [i // 3 for i in range(600)]
    assert all(len(set(found.fold_of[i : i + 3].tolist())) == 1 for i in range(0, 600, 3))


@pytest.mark.parametrize(("changed", "chance"), [(17, 0.995), (18, 0.0)])
def test_pairs_that_share_half_of_their_shingles_are_found_and_others_are_not(
    changed: int, chance: float
) -> None:
    """Of 58 shingles a block of words touches two more than it has words: 39/77 or 38/78 stay."""
    rng = random.Random(10)
    originals = [prose(rng, 60) for _ in range(800)]
    others = [[*o[:20], *prose(rng, changed), *o[20 + changed :]] for o in originals]
    group = near_duplicates([" ".join(words) for words in (*originals, *others)])
    found = float((group[:800] == group[800:]).mean())
    assert abs(found - chance) <= 3 * (chance * (1 - chance) / 800) ** 0.5


def test_case_and_blanks_make_no_difference() -> None:
    assert together(["What  is\tit?", " what is it? ", "WHAT IS IT?\n"])


def test_sums_that_differ_in_their_numbers_are_different_prompts() -> None:
    rng = random.Random(3)
    sums = [f"{rng.randrange(10**6)}+{rng.randrange(10**6)}=" for _ in range(500)]
    assert len(set(near_duplicates(sums).tolist())) == len(set(sums))


@pytest.mark.parametrize("count", [40, 400])
def test_a_template_of_many_words_is_not_one_group(count: int) -> None:
    rng = random.Random(4)
    frame = " ".join(prose(rng, 300))
    prompts = [f"{frame} What is {rng.random()} plus {i}? Say a number." for i in range(count)]
    found = folds(prompts, 5, seed=0)
    assert found.group_of.max() == count - 1
    assert found.remarks == ()


def test_a_question_under_two_preambles_that_all_share_is_one_group() -> None:
    rng = random.Random(5)
    frames = [" ".join(prose(rng, 50)) for _ in range(2)]
    questions = [" ".join(prose(rng, 15)) for _ in range(60)]
    group = near_duplicates([f"{frame} {text}" for frame in frames for text in questions])
    np.testing.assert_array_equal(group[:60], group[60:])
    assert len(set(group.tolist())) == 60


def test_a_passage_with_other_short_questions_is_one_group() -> None:
    rng = random.Random(6)
    passage = " ".join(prose(rng, 100))
    others = [" ".join(prose(rng, 100)) for _ in range(50)]
    group = near_duplicates([f"{passage} Who did it?", f"{passage} Why is it so?", *others])
    assert group[0] == group[1] == 0
    assert group[2:].tolist() == list(range(1, 51))


def test_scripts_without_blanks_are_compared_by_character() -> None:
    text = "人工智能系统需要知道每个问题有多难才能决定应该花费多少计算资源来回答它"
    assert together([text, text.replace("多难", "多么难")])
    assert not together([text, "今天天气很好我们一起去公园散步然后回家吃饭看书睡觉明天还要上班"])


def test_the_middle_of_a_huge_prompt_does_not_count_and_its_ends_do() -> None:
    rng = random.Random(7)
    ends = [" ".join(prose(rng, 5000)) for _ in range(4)]
    middles = [" ".join(prose(rng, 20_000)) for _ in range(2)]
    assert together([f"{ends[0]} {middle} {ends[1]}" for middle in middles])
    assert not together([f"{ends[i]} {middles[0]} {ends[i + 1]}" for i in (0, 2)])


def test_a_group_of_more_than_half_a_fold_is_said() -> None:
    rng = random.Random(8)
    prompts = ["the same"] * 30 + [" ".join(prose(rng, 9)) for _ in range(70)]
    found = folds(prompts, 5, seed=0)
    assert np.bincount(found.fold_of).tolist() == [30, 18, 18, 17, 17]
    assert found.remarks == (
        "near-duplicate prompts make groups of more than half a fold: 1, the largest of 30 of 100 "
        "prompts, so what is learned is judged on few other texts",
    )


def test_a_group_of_as_many_copies_as_the_neighbourhood_overlooks_still_joins() -> None:
    rng = random.Random(9)
    base = prose(rng, 60)
    copies = [" ".join([*base[:i], "x" * (i + 1), *base[i + 1 :]]) for i in range(45)]
    others = [" ".join(prose(rng, 60)) for _ in range(2000)]
    group = near_duplicates([*copies, *others])
    assert set(group[:45].tolist()) == {0}
    assert group.max() == 2000


def test_another_seed_deals_otherwise() -> None:
    prompts = [f"prompt {i}" for i in range(100)]
    assert folds(prompts, 5, seed=0).fold_of.tolist() != folds(prompts, 5, seed=1).fold_of.tolist()


def test_no_prompts_have_no_folds() -> None:
    assert folds([], 5, seed=0).fold_of.shape == near_duplicates([]).shape == (0,)


def test_groups_and_folds_are_the_same_on_every_machine() -> None:
    prompts = ["a b c d", "A  b c d", "ünï 日本語 😀", "", "x" * 99, "1 + 1 =", "2 + 2 =", "\ud800"]
    found = folds(prompts, 3, seed=5)
    assert found.group_of.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    assert found.fold_of.tolist() == [0, 0, 0, 1, 2, 1, 2, 1]


texts = st.text(max_size=40) | st.text(alphabet="ab 1+\n", max_size=40) | st.text(st.characters())


@settings(max_examples=150, deadline=None)
@given(st.lists(texts, max_size=40), st.integers(1, 6), st.integers(0, 2**32), st.randoms())
def test_folds_of_any_text_are_balanced_and_do_not_depend_on_the_order(
    prompts: list[str], count: int, seed: int, rng: random.Random
) -> None:
    found = folds(prompts, count, seed)
    order = list(range(len(prompts)))
    rng.shuffle(order)
    shuffled = folds([prompts[i] for i in order], count, seed)
    assert shuffled.fold_of.tolist() == found.fold_of[order].tolist()
    for i, j in itertools.pairwise(order):
        assert (found.group_of[i] == found.group_of[j]) == (
            shuffled.group_of[order.index(i)] == shuffled.group_of[order.index(j)]
        )
        if found.group_of[i] == found.group_of[j]:
            assert found.fold_of[i] == found.fold_of[j]
    if prompts:
        sizes = np.bincount(found.fold_of, minlength=count)
        assert sizes.max() - sizes.min() <= np.bincount(found.group_of).max()


@pytest.mark.data
def test_measured_prompts_have_the_near_duplicates_that_all_pairs_show(data_dir) -> None:
    with (data_dir / "routellm" / "outcomes.csv").open() as file:
        prompts = [row["prompt"] for row in csv.DictReader(file)]
    sizes = np.bincount(near_duplicates(prompts))
    assert len(prompts) - len(set(prompts)) < (sizes[sizes > 1] - 1).sum() < 0.05 * len(prompts)
    assert sizes.max() < 10
