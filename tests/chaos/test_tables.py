"""What the harness calls lost, duplicated and wrong."""

from chaos.tables import Expected, Failure, Tables, compare

CALM = {
    ("dispatches", "a.jpg", "yolov8"): ["done", 1],
    ("results", "a.jpg", "yolov8"): ["success", ["spatial"], "xywh", {"predictions": []}],
    ("consensus", "a.jpg"): {"votes": []},
}
DISPATCH, RESULT = ("dispatches", "b.jpg", "yolov8"), ("results", "b.jpg", "yolov8")


def tables(rows, **counts):
    return Tables(
        rows, dict.fromkeys(rows, 1) | {("results", "a.jpg", name): n for name, n in counts.items()}
    )


def counts(difference):
    return len(difference.lost), len(difference.duplicated), len(difference.wrong)


def test_the_same_rows_are_no_difference():
    assert not compare(tables(CALM), tables(dict(CALM)))


def test_a_missing_row_is_lost_a_second_one_a_duplicate_another_content_wrong():
    found = dict(CALM)
    del found["consensus", "a.jpg"]
    found["dispatches", "a.jpg", "yolov8"] = ["failed", None]
    assert counts(compare(tables(CALM), tables(found, yolov8=2))) == (1, 1, 1)


def test_a_row_that_nobody_expected_is_wrong():
    assert counts(compare(tables(CALM), tables({**CALM, RESULT: ["success"]}))) == (0, 0, 1)


def test_an_expected_failure_must_be_there_with_its_class():
    failure = Failure(service="yolov8", error="BadReply")
    expected = Expected(tables(CALM), ("b.jpg",), failure)
    settled = {**CALM, DISPATCH: ["failed", None], RESULT: ["error", [], "xywh", "BadReply"]}
    assert not expected.difference(tables(settled))
    assert counts(expected.difference(tables(CALM)))[0] > 0
    other = {**settled, RESULT: ["error", [], "xywh", "ServiceBusy"]}
    assert counts(expected.difference(tables(other))) == (0, 0, 1)
    unsettled = {**settled, DISPATCH: ["queued", None]}
    assert counts(expected.difference(tables(unsettled))) == (0, 0, 1)
