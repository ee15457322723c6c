"""What is printed of a box's arithmetic, calculated again by someone who has only what is printed."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.detectors import AVERAGE
from tests.unit.test_merging import box, reply, seen
from windmill.core import figures, merging

confidences = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-7, 0.5, 1 - 1e-9, 1.0]))
boxes = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(80, 100), st.integers(80, 100))
said = st.builds(
    lambda emoji, sure, where: seen(emoji, sure, box(*where)), st.sampled_from("🐈🐕"), confidences, boxes
)
worths = st.floats(-3, 3)
detectors = st.builds(
    lambda bias, agreement, overlap, right, slope, silent: replace(
        AVERAGE,
        bias=bias,
        agreement=agreement,
        overlap=-overlap,
        average=replace(AVERAGE.average, right=right, slope=slope, silent=-silent),
    ),
    worths, st.floats(0, 3), st.floats(0, 10), st.floats(-10, 10), st.floats(0, 2), st.floats(0, 2),
)  # fmt: skip


def calculated(text):
    """What a reader gets who types it in: notes in words are left out."""
    typed = re.sub(r" \([^()]*(is silent|IoU with)[^()]*\)", "", text)
    for sign, meant in (("−", "-"), ("×", "*"), ("²", "**2"), ("ln(", "log(")):
        typed = typed.replace(sign, meant)
    return eval(typed, {"__builtins__": {}, "log": math.log, "exp": math.exp})  # noqa: S307 -- our own text


def leads_to(text, printed):
    """Whether it is that figure, to all digits that are printed; a score was rounded to six before."""
    mantissa, _, exponent = printed.replace("−", "-").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return calculated(text) == pytest.approx(float(printed.replace("−", "-")), rel=1e-9, abs=unit * 0.551)


def follow(found):
    """The score that a reader arrives at, who checks each line on the way."""
    for part in found.parts.values():
        assert not part.chance or leads_to(f"{part.chance} × {part.iou}²", part.counts)
    first, second, last = found.lines
    wrong, all_wrong, right = re.fullmatch(
        "chance that all are wrong: (.*) = (.*); that one is right: (.*)", first
    ).groups()
    assert leads_to(wrong, all_wrong)
    assert f"ln({right} / {all_wrong})" in second
    assert all(f"1 − {part.counts}" in wrong for part in found.parts.values() if part.counts)
    assert all(f"{part.silence.lstrip('−')} ({name} is silent)" in second
               for name, part in found.parts.items() if part.silence)  # fmt: skip
    total, log_odds = re.fullmatch("log-odds: (.*) = (.*)", second).groups()
    assert leads_to(total, log_odds)
    one_over, score = re.fullmatch("score = (.*) = (.*)", last).groups()
    assert one_over == f"1 / (1 + exp({'' if log_odds[0] == '−' else '−'}{log_odds.lstrip('−')}))"
    assert leads_to(one_over, score)
    return score


@given(st.lists(st.lists(said, max_size=3), min_size=1, max_size=4), detectors)
def test_who_calculates_along_arrives_at_the_score_that_is_stored(seen_by, known):
    replies = [reply(f"service{n}", *found) for n, found in enumerate(seen_by)]
    for one in merging.judged(replies, known):
        found = figures.of(one, known, "a surer box")
        assert follow(found) == found.score == f"{one.box.score:.{len(found.score) - 2}f}"
        assert (float(found.score) >= one.threshold) == (one.box.score >= one.threshold)


def test_figures_are_short_and_hold_all_that_the_score_is_made_of():
    """By hand: the chances are sigmoid(−0.8 + 0.9 logit c) of 0.9 and 0.6, and one service saw nothing."""
    where, beside = box(10, 10, 100, 100), box(60, 10, 100, 100)
    replies = [
        reply("a", seen("🐈", 0.9, where), seen("🐈", 0.3, beside)),
        reply("b", seen("🐈", 0.6, where)),
        reply("c"),
    ]
    strong, weak = (figures.of(one, AVERAGE, "box 1") for one in merging.judged(replies, AVERAGE))
    assert strong.parts == {
        "a": figures.Part(chance="0.764", iou="1.000", counts="0.764"),
        "b": figures.Part(chance="0.393", iou="1.000", counts="0.393"),
        "c": figures.Part(silence="−0.400"),
    }
    assert strong.lines == (
        "chance that all are wrong: (1 − 0.764) × (1 − 0.393) = 0.143; that one is right: 0.857",
        "log-odds: 1.000 + 1.200 × ln(0.857 / 0.143) − 0.400 (c is silent) = 2.749",
        "score = 1 / (1 + exp(−2.749)) = 0.94",
    )
    assert weak.lines[1].startswith(
        "log-odds: 1.000 + 1.200 × ln(0.173 / 0.827) − 5.000 × 0.333² (IoU with box 1)"
    )


def test_a_score_just_below_the_threshold_does_not_read_as_if_it_stood():
    replies = [reply("a", seen("🐈", 0.5, box(0, 0, 9, 9))), reply("b")]
    (one,) = merging.judged(replies, AVERAGE)
    lower = math.log(0.49996 / 0.50004) - math.log(one.box.score / (1 - one.box.score))
    known = replace(AVERAGE, bias=AVERAGE.bias + lower)
    (below,) = merging.judged(replies, known)
    assert figures.of(below, known, "").score == "0.49996"
