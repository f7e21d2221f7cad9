import math

from pretext.evaluation.measured import curves, measured, preferred
from pretext.evaluation.results import ProbeResult

SCORE = {"accuracy": 0.5, "low": 0.4, "high": 0.6}
RESULT = ProbeResult.from_json(
    {
        "rows": [
            {"features": "raw", "stage": "pixels", "dims": 4, "chosen": True, "knn": SCORE},
            {"features": "trained", "stage": "stem", "dims": 4, "chosen": True, "knn": SCORE, "linear": SCORE,
             "quality": {"rankme": 2.0, "low": 1.0, "high": 3.0}},
        ],
        "low_label": [{"features": "trained", "stage": "stem", "labels": "1 per class", "items": 10, **SCORE}],
    }
)  # fmt: skip


def named(every):
    return [(one.protocol.name, one.metric.key) for one in every]


def test_what_some_row_has_was_measured_and_the_preferred_comes_first():
    assert named(measured(RESULT)) == [("knn", "accuracy"), ("linear", "accuracy")]
    assert named(preferred(RESULT)) == [("linear", "accuracy"), ("knn", "accuracy")]
    assert named(measured(RESULT, apart=True)) == [("quality", "rankme")]


def test_a_value_has_the_interval_of_its_metric_alone():
    (rank,), (linear, _) = measured(RESULT, apart=True), preferred(RESULT)
    raw, stem = RESULT.stages
    assert tuple(linear.of(stem)) == (0.5, 0.4, 0.6)
    assert linear.of(raw) is None
    assert rank.of(stem).value == 2.0
    assert math.isnan(rank.of(stem).low)


def test_a_curve_is_listed_with_its_points():
    ((few, curve, points),) = curves(RESULT)
    assert few.title == "Linear probe on few labels, accuracy in %"
    assert (curve.at, [point.score.figures["items"] for point in points]) == ("items", [10])
