import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.judge import (
    Estimate,
    JudgedThreshold,
    Worth,
    judged_threshold,
    near_sample,
    spread_sample,
)

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0]), min_size=1, max_size=60)
ANSWER = st.sampled_from([True, False, None])


def world(known, unknown, seed=0, apart=3.3):
    """Scores of known pictures, then of unknown ones; which are known."""
    random = np.random.default_rng(seed)
    scores = np.r_[random.normal(0, 1, known), random.normal(-apart, 1, unknown)]
    return torch.from_numpy(scores), np.arange(known + unknown) < known


def judge(is_known, a, b, seed=0):
    chance = np.random.default_rng([seed, 7]).random(len(is_known))
    return np.where(is_known, chance < a, chance < b)


def judged(known, unknown, a, b, seed=0, questions=100, **options):
    scores, is_known = world(known, unknown, seed)
    said = judge(is_known, a, b, seed)
    sample = spread_sample(scores, [f"{row}.jpg" for row in range(len(scores))], questions, seed)
    return judged_threshold(scores, scores[sample], said[sample].tolist(), **options), scores, is_known


# ---- which pictures


@given(SCORES, st.integers(1, 70), st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_sample_depends_on_neither_order_nor_scale(values, questions, seed, random):
    ids = [f"{row}.jpg" for row in range(len(values))]
    chosen = {ids[at] for at in spread_sample(torch.tensor(values), ids, questions, seed)}
    pairs = list(zip(values, ids, strict=True))
    random.shuffle(pairs)
    values, ids = map(list, zip(*pairs, strict=True))
    again = spread_sample(torch.tensor(values, dtype=torch.float64) * 8 - 3, ids, questions, seed)
    assert {ids[at] for at in again} == chosen
    assert len(chosen) == len(again) <= questions


def test_the_sample_by_hand():
    ids = [f"{row}.jpg" for row in range(200)]
    scores = torch.arange(200).flip(0).double()
    chosen = spread_sample(scores, ids, 30, seed=5)
    by_hand = []
    for stratum in range(10):
        rows = range(199 - 20 * stratum, 179 - 20 * stratum, -1)
        first = sorted(rows, key=lambda row: hashlib.sha256(f"5\n{row}.jpg".encode()).digest())[:3]
        by_hand += sorted(first, reverse=True)
    assert chosen == by_hand


def test_every_picture_is_asked_about_where_there_are_few():
    ids = ["a", "b", "c"]
    assert spread_sample(torch.tensor([0.5, 0.1, 0.9]), ids) == [1, 0, 2]


def test_questions_that_do_not_divide():
    ids = [str(row) for row in range(500)]
    for questions in (1, 7, 23, 105):
        assert len(spread_sample(torch.rand(500), ids, questions)) == questions


def test_another_seed_is_another_sample():
    ids = [str(row) for row in range(500)]
    scores = torch.linspace(0, 1, 500)
    assert spread_sample(scores, ids, seed=1) == spread_sample(scores, ids, seed=1)
    assert len(set(spread_sample(scores, ids, seed=1)) & set(spread_sample(scores, ids, seed=2))) < 50


def test_the_second_round_is_next_to_the_threshold_and_asks_nothing_twice():
    scores, ids = torch.linspace(0, 1, 1000), [str(row) for row in range(1000)]
    first = spread_sample(scores, ids, 50)
    near = near_sample(scores, ids, 0.3, first, 50)
    assert len(near) == 50
    assert not set(near) & set(first)
    assert all(0.21 < float(scores[at]) < 0.39 for at in near)
    assert near == near_sample(scores, ids, 0.3, first, 50)
    assert near_sample(scores[:20], ids[:20], 0.3, range(20), 50) == []


@pytest.mark.parametrize(
    ("scores", "ids", "questions"),
    [(torch.rand(2, 2), ["a", "b"], 5), (torch.rand(3), ["a"], 5), (torch.rand(1), ["a"], 0)],
)
def test_misuse_of_the_sample(scores, ids, questions):
    with pytest.raises(ValueError, match=r"one entry per id|at least 1"):
        spread_sample(scores, ids, questions)


# ---- the threshold


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.9, 0.1), (0.8, 0.05), (0.8, 0.2)])
@pytest.mark.parametrize("unknown", [0, 10, 50, 250, 1000])
def test_the_aim_is_met_at_any_prevalence(a, b, unknown):
    flagged, caught = [], []
    for seed in range(12):
        found, scores, is_known = judged(1000, unknown, a, b, seed)
        below = (scores < found.threshold).numpy()
        flagged.append(below[is_known].mean())
        caught.append(below[~is_known].mean() if unknown else 1.0)
        assert found.worth is Worth.SOUND
    assert (0.025 if b < 0.2 else 0.01) < np.mean(flagged) < 0.075
    assert np.mean(caught) > (0.85 if b < 0.2 else 0.75)


@pytest.mark.parametrize("unknown", [20, 100, 400, 1000])
def test_standard_errors_are_honest(unknown):
    within = {"prevalence": [], "false_alarms": [], "misses": [], "true_yes": [], "false_yes": []}
    for seed in range(40):
        found, scores, is_known = judged(800, unknown, 0.85, 0.1, seed)
        below = (scores < found.threshold).numpy()
        truth = {
            "prevalence": 1 - is_known.mean(),
            "false_alarms": below[is_known].mean(),
            "misses": 1 - below[~is_known].mean(),
            "true_yes": 0.85,
            "false_yes": 0.1,
        }
        for name, one in truth.items():
            estimate = getattr(found, name)
            if estimate is not None:
                within[name].append(abs(estimate.value - one) <= 2 * estimate.error)
    for name, hits in within.items():
        assert not hits or np.mean(hits) > 0.85, name


def test_a_false_yes_that_nobody_expected_is_found_in_the_answers():
    found, scores, is_known = judged(500, 500, 0.9, 0.3, seed=3)
    assert found.false_yes.value > 0.2
    assert (scores < found.threshold).numpy()[~is_known].mean() > 0.8


@pytest.mark.parametrize("unknown", [0, 20, 200])
def test_a_judge_that_confirms_fewer_of_the_hard_pictures(unknown):
    flagged = []
    for seed in range(12):
        scores, is_known = world(1000, unknown, seed)
        ease = np.argsort(np.argsort(scores.numpy()[is_known])) / 1000
        chance = np.r_[0.97 - 0.4 * (1 - ease) ** 2, np.full(unknown, 0.1)]
        said = np.random.default_rng([seed, 7]).random(len(scores)) < chance
        sample = spread_sample(scores, [str(row) for row in range(len(scores))], seed=seed)
        found = judged_threshold(scores, scores[sample], said[sample].tolist())
        flagged.append((scores < found.threshold).numpy()[is_known].mean())
    assert np.mean(flagged) < 0.075


def test_more_answers_make_it_surer():
    few, *_ = judged(2000, 500, 0.9, 0.1, questions=40)
    many, *_ = judged(2000, 500, 0.9, 0.1, questions=400)
    assert many.prevalence.error < few.prevalence.error / 2
    assert many.false_alarms.error < few.false_alarms.error


@pytest.mark.parametrize("aim", [0.01, 0.05, 0.2])
def test_another_aim(aim):
    found, scores, is_known = judged(2000, 500, 1.0, 0.0, questions=1000, false_alarms=aim)
    assert (scores < found.threshold).numpy()[is_known].mean() == pytest.approx(aim, abs=0.01 + aim / 4)


@given(SCORES, st.lists(st.tuples(st.integers(0, 59), ANSWER), max_size=40), st.randoms(use_true_random=False))
def test_any_answers_give_a_score_of_the_history_or_none(values, asked, random):
    history = torch.tensor(values)
    rows = [at % len(values) for at, _ in asked]
    said = [answer for _, answer in asked]
    found = judged_threshold(history, history[rows], said)
    usable = sum(answer is not None for answer in said)
    assert (found.pictures, found.questions, found.answered) == (len(values), len(said), usable)
    assert (found.worth is Worth.FEW_ANSWERS) == (usable < 10)
    if found.worth is Worth.NOTHING_KNOWN:
        assert bool((history < np.float32(found.threshold)).all())
    elif found.threshold is not None:
        assert found.threshold in history.double()
    else:
        assert found.worth in (Worth.FEW_ANSWERS, Worth.NEVER_YES, Worth.WEAK_JUDGE)
    assert JudgedThreshold.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    assert "\n" not in found.line
    # neither the order of the history nor that of the answers counts
    random.shuffle(asked)
    rows, said = [at % len(values) for at, _ in asked], [answer for _, answer in asked]
    again = judged_threshold(history[torch.randperm(len(values))], history[rows], said)
    assert (again.threshold, again.worth) == (found.threshold, found.worth)


@pytest.mark.parametrize("unknown", [0, 30, 500])
def test_only_the_order_of_the_scores_counts(unknown):
    scores, is_known = world(700, unknown)
    said = judge(is_known, 0.9, 0.1)
    sample = spread_sample(scores, [str(row) for row in range(len(scores))])
    answers = said[sample].tolist()
    found = judged_threshold(scores, scores[sample], answers)
    stretched = torch.special.expit(3 * scores - 1)
    again = judged_threshold(stretched, stretched[sample], answers)
    assert int((scores < found.threshold).sum()) == int((stretched < again.threshold).sum())
    assert dataclasses.replace(again, threshold=found.threshold) == found


def test_pictures_outside_the_history_may_be_asked_about():
    scores, is_known = world(1500, 300)
    said = judge(is_known, 1.0, 0.0)
    held = np.arange(len(scores)) % 2 == 0
    outside = np.flatnonzero(~held)[::9]
    found = judged_threshold(scores[held], scores[outside], said[outside].tolist())
    assert (scores < found.threshold).numpy()[is_known].mean() == pytest.approx(0.05, abs=0.025)


def test_failed_questions_are_left_out():
    scores, is_known = world(900, 200)
    sample = spread_sample(scores, [str(row) for row in range(len(scores))])
    answers = [bool(is_known[at]) for at in sample]
    failed = [None if place % 3 == 0 else answer for place, answer in enumerate(answers)]
    kept = [place for place, answer in enumerate(failed) if answer is not None]
    found = judged_threshold(scores, scores[sample], failed)
    without = judged_threshold(scores, scores[[sample[at] for at in kept]], [answers[at] for at in kept])
    assert (found.questions, found.answered) == (100, 66)
    assert found == dataclasses.replace(without, questions=100)


def test_mined_pictures_make_it_surer_but_never_outweigh_the_sample():
    scores, is_known = world(4000, 1000)
    said = judge(is_known, 0.9, 0.1)
    sample = spread_sample(scores, [str(row) for row in range(len(scores))])
    mined = [at for at in torch.argsort(scores)[:1500].tolist() if at not in set(sample)]
    alone = judged_threshold(scores, scores[sample], said[sample].tolist())

    def with_mined(rows):
        asked = sample + rows
        random = [True] * len(sample) + [False] * len(rows)
        return judged_threshold(scores, scores[asked], said[asked].tolist(), sampled=random)

    assert with_mined([]) == alone
    some = with_mined(mined[::10])
    assert some.prevalence.error < alone.prevalence.error
    assert float((scores < some.threshold).double().numpy()[is_known].mean()) == pytest.approx(0.05, abs=0.02)
    # each twice: the same answers at half their weight
    assert with_mined(mined + mined).prevalence.value == pytest.approx(with_mined(mined).prevalence.value, abs=1e-9)
    # mined pictures that are all OOD do not outweigh a sample that says all are ID
    ids = torch.arange(500).double()
    rows = [*range(0, 500, 5), *range(1, 250, 2)]
    answers, random = [True] * 100 + [False] * 125, [True] * 100 + [False] * 125
    assert judged_threshold(ids, ids[rows], answers, sampled=random).worth is Worth.SOUND


def test_few_answers_about_the_sample_are_few_whatever_was_mined():
    scores = torch.arange(400).double()
    found = judged_threshold(scores, scores[:109], [True, False] * 54 + [True], sampled=[True] * 9 + [False] * 100)
    assert found.worth is Worth.FEW_ANSWERS


def test_a_million_scores_are_thinned():
    random = np.random.default_rng(1)
    scores = torch.from_numpy(np.r_[random.normal(0, 1, 160_000), random.normal(-3.3, 1, 40_000)])
    sample = random.permutation(200_000)[:300]
    found = judged_threshold(scores, scores[sample], (sample < 160_000).tolist())
    assert float((scores[:160_000] < found.threshold).double().mean()) == pytest.approx(0.05, abs=0.02)
    assert found.pictures == 200_000
    assert found.prevalence.value == pytest.approx(0.2, abs=2 * found.prevalence.error)


# ---- what it is worth


def test_nothing_known():
    found, scores, _ = judged(0, 600, 0.9, 0.1)
    assert found.worth is Worth.NOTHING_KNOWN
    assert bool((scores.float() < found.threshold).all())
    assert found.false_alarms is None
    assert found.prevalence.value > 0.9
    assert "check the class list" in found.line


def test_a_judge_that_never_says_yes():
    found, *_ = judged(600, 100, 0.0, 0.0)
    assert (found.worth, found.threshold) == (Worth.NEVER_YES, None)
    assert "yes to none of 100 pictures" in found.line


@pytest.mark.parametrize("unknown", [0, 100])
def test_a_judge_that_rarely_says_yes(unknown):
    for seed in range(12):
        found, *_ = judged(600, unknown, 0.35, 0.02, seed)
        assert (found.worth, found.threshold, found.prevalence) == (Worth.WEAK_JUDGE, None, None)
        assert found.top_yes.value - found.top_yes.error < 0.5
        assert "ants calibrate" in found.line


def test_little_that_is_known_is_no_weak_judge():
    for seed in range(6):
        found, *_ = judged(100, 700, 0.9, 0.1, seed)
        assert found.worth is Worth.SOUND
        assert found.prevalence.value == pytest.approx(0.875, abs=3 * found.prevalence.error)


def test_a_judge_that_always_says_yes_makes_hardly_anything_unknown():
    found, scores, _ = judged(600, 600, 1.0, 1.0)
    assert float((scores < found.threshold).double().mean()) < 0.06
    assert found.prevalence.value < 0.05


def test_few_answers():
    scores = torch.rand(200)
    found = judged_threshold(scores, scores[:12], [True] * 9 + [None] * 3)
    assert (found.worth, found.threshold, found.prevalence) == (Worth.FEW_ANSWERS, None, None)
    assert "9 of 12 questions answered, and 10 are needed" in found.line
    assert judged_threshold(scores, scores[:0], []).worth is Worth.FEW_ANSWERS


def test_few_pictures():
    found, scores, _ = judged(50, 20, 1.0, 0.0)
    assert found.worth is Worth.FEW_PICTURES
    assert found.threshold in scores
    assert found.line.startswith("from only 70 pictures: ")


def test_one_score():
    scores = torch.full((300,), 0.5)
    found = judged_threshold(scores, scores[:50], [False] * 50)
    assert (found.worth, found.threshold) == (Worth.ONE_SCORE, 0.5)
    assert not bool((scores < found.threshold).any())


def test_the_line_of_a_sound_threshold():
    found = JudgedThreshold(
        0.4,
        Worth.SOUND,
        500,
        100,
        97,
        prevalence=Estimate(0.2, 0.03),
        false_alarms=Estimate(0.051, 0.012),
        misses=Estimate(0.125, 0.04),
    )
    assert found.line == (
        "5.1 ± 1.2 % of the known pictures called unknown, 12.5 ± 4.0 % of the unknown missed; "
        "20.0 ± 3.0 % are unknown (97 of 100 questions answered)"
    )
    assert "missed" not in dataclasses.replace(found, misses=None).line


def test_strata_hold_every_answer():
    found, *_ = judged(700, 300, 0.9, 0.1)
    assert [stratum.answers for stratum in found.strata] == [10] * 10
    assert found.strata[0].known < 0.1
    assert found.strata[-1].known > 0.9
    shares = [stratum.known for stratum in found.strata]
    assert shares == sorted(shares)


@pytest.mark.parametrize(
    ("history", "scores", "answers", "options"),
    [
        (torch.empty(0), torch.empty(0), [], {}),
        (torch.rand(5), torch.rand(2), [True], {}),
        (torch.rand(5), torch.rand(2, 1), [True, False], {}),
        (torch.rand(5), torch.tensor([0.5, math.nan]), [True, False], {}),
        (torch.rand(5), torch.rand(2), [True, False], {"sampled": [True]}),
        (torch.rand(5), torch.rand(2), [True, False], {"false_alarms": 0.0}),
        (torch.rand(5), torch.rand(2), [True, False], {"false_yes": 0.6}),
    ],
)
def test_misuse(history, scores, answers, options):
    with pytest.raises(ValueError, match=r"vector|one answer|finite|false_alarms"):
        judged_threshold(history, scores, answers, **options)
