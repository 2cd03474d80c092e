import gc

from bids_cascade.workflow.workers import importing


def test_garbage_is_collected_again_after_importing() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count()
    gc.unfreeze()
