import pytest
import torch

from clbench.loop.meter import LossError, Meter


def test_losses_on_a_device_are_looked_at_when_the_task_ends():
    meter = Meter(2, "cpu")
    for loss in ([1.0, 1.0], [1.0, float("nan")], [float("nan"), 1.0]):
        meter.add(torch.zeros(2), torch.tensor(loss), final=False)
    with pytest.raises(LossError, match="NaN") as caught:
        meter.check_losses()
    assert (caught.value.row, caught.value.step) == (0, 2)


def test_places_are_kept_apart_and_taken_up_again():
    """The states of two parts make a meter that goes on as the whole one."""
    whole, parts = Meter(3, "cpu"), [slice(0, 1), slice(1, 3)]
    steps = [(torch.rand(3), torch.rand(3), step > 2) for step in range(6)]
    for step in steps[:4]:
        whole.add(*step)
    again = Meter(3, "cpu")
    for rows in parts:
        again.load_state_dict(whole.state_dict(rows), rows)
    for step in steps[4:]:
        whole.add(*step)
        again.add(*step)
    for rows, seeds in zip(parts, ([7], [8, 9]), strict=True):
        ours, theirs = (
            [vars(one) | {"seconds": 0} for one in meter.records("a", seeds, 1, rows)]
            for meter in (whole, again)
        )
        assert ours == theirs
        rewards = torch.stack([reward[rows] for reward, _, _ in steps]).double()
        assert [one["accuracy"] for one in ours] == pytest.approx(rewards.mean(dim=0).tolist())
        assert [one["final_epoch_accuracy"] for one in ours] == pytest.approx(
            rewards[3:].mean(dim=0).tolist()
        )
