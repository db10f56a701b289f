import pytest
from oracle import Case, assert_bit_equal, train_pipeline, train_reference


@pytest.mark.parametrize("stages", [4, 6])
@pytest.mark.parametrize("when", ["before_use", "before_commit"])
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_x(stages, when, schedule, make_model):
    folder = make_model("gpt2")
    case = Case(family="gpt2", schedule=schedule, stages=stages, when=when, steps=3)
    found, expected = train_pipeline(case, folder), train_reference(case, folder)
    assert_bit_equal(found.weights, expected.weights)
    assert found.court.verdicts == [] and found.court.alerts == 0
