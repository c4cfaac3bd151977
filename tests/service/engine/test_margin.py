"""How wrong expectations may be: learnt quickly, forgotten slowly."""

from service.engine.admission import Margin


def learnt(*errors_s: float) -> float:
    margin = Margin()
    for error_s in errors_s:
        margin.learn(error_s)
    return margin.seconds


def test_exact_expectations_need_no_margin() -> None:
    assert learnt(*[0.0] * 100) == 0.0


def test_one_late_batch_is_a_margin_at_once() -> None:
    assert learnt(*[0.0] * 100, *[0.3] * 16) > 0.1


def test_late_batch_is_not_forgotten_with_the_next_ten() -> None:
    assert learnt(*[0.0] * 100, *[0.3] * 16, *[0.0] * 200) > 0.02


def test_late_batch_is_forgotten_in_the_end() -> None:
    assert learnt(*[0.0] * 100, *[0.3] * 16, *[0.0] * 1000) < 0.001


def test_answers_that_always_come_early_need_no_margin() -> None:
    assert learnt(*[-0.1] * 1000) == 0.0
