from bids_cascade.longitudinal.outcome import PairOutcome
from bids_cascade.outcomes import VisitOutcome
from bids_cascade.segmentation.comparison import _with_pairs


def test_a_visit_gets_warnings_of_what_it_could_not_be_compared_with() -> None:
    done = VisitOutcome("sub-01_ses-3", message="low contrast", n_lesions=2)
    pairs = [
        PairOutcome(done.name, "ses-2", "change", n_new=1),
        PairOutcome(done.name, "ses-1", "changefromfirst", "the images hardly overlap"),
    ]
    compared = _with_pairs(done, pairs)
    assert compared.message == "low contrast; not compared with ses-1: the images hardly overlap"
    assert (compared.exit_code, compared.n_lesions) == (0, 2)
    failed = [*pairs, PairOutcome(done.name, "ses-2", "change", "no space left", exit_code=74)]
    assert _with_pairs(done, failed).exit_code == 74
    assert _with_pairs(done, pairs[:1]) == done
