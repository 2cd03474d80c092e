"""The data sets that can be imported, by the name that the command gives them."""

from __future__ import annotations

from bids_cascade.importing.isbi2015 import ISBI2015
from bids_cascade.importing.ljubljana import LJUBLJANA
from bids_cascade.importing.mslesseg import MSLESSEG
from bids_cascade.importing.msseg2016 import MSSEG2016
from bids_cascade.importing.source import PublicDataset
from bids_cascade.importing.wmh2017 import WMH2017

PUBLIC_DATASETS: dict[str, PublicDataset] = {
    "mslesseg": MSLESSEG,
    "msseg2016": MSSEG2016,
    "isbi2015": ISBI2015,
    "ljubljana": LJUBLJANA,
    "wmh2017": WMH2017,
}
