from __future__ import annotations

from bids_cascade.anatomy.zones import ZONE_NAMES
from bids_cascade.report.regions import draw_stacked


def row(n: int, volume_ml: float, n_topographies: str = "1") -> dict[str, str]:
    counts = {f"n_lesions_{name}": str(n) for name in ZONE_NAMES.values()}
    return {
        **counts,
        **{f"lesion_volume_{name}_ml": str(volume_ml) for name in ZONE_NAMES.values()},
        "n_topographies": n_topographies,
        "lesion_volume_t1w_ml": "n/a",
    }


def test_visits_with_regions_are_drawn_also_without_a_t1w() -> None:
    chart = draw_stacked([row(2, 0.5), row(0, 0.0), {"n_topographies": "n/a"}])
    assert chart is not None
    assert chart == draw_stacked([row(2, 0.5), row(0, 0.0)])
    assert chart != draw_stacked([row(2, 0.5)])


def test_without_any_regions_there_is_no_chart() -> None:
    assert draw_stacked([{"n_topographies": "n/a"}, {}]) is None
