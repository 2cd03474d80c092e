"""Works that the methods paragraph cites, as text and as BibTeX."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A paper.

    Attributes
    ----------
    authors : tuple of str
        Such as ``"Fisch L"``.
    title, where : str
        Title, and journal or proceedings.
    year : int
    volume, number, pages, doi : str
        Empty for none; pages such as ``"120-128"``.
    kind : {'article', 'inproceedings'}
        Of BibTeX entry.
    has_others : bool
        Whether it has more authors than these.
    """

    authors: tuple[str, ...]
    title: str
    where: str
    year: int
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""
    kind: str = "article"
    has_others: bool = True

    @property
    def text(self) -> str:
        """As in a list of references."""
        issue = self.volume + (f"({self.number})" if self.number else "")
        place = f"{self.where} {issue}".rstrip() + (f":{self.pages}" if self.pages else "")
        doi = f" doi:{self.doi}" if self.doi else ""
        authors = ", ".join([*self.authors, "et al"] if self.has_others else self.authors)
        return f"{authors}. {self.title}. {place}, {self.year}.{doi}"

    @property
    def key(self) -> str:
        """Such as ``fisch2024``, in ASCII."""
        family = self.authors[0].rpartition(" ")[0]
        plain = unicodedata.normalize("NFKD", family.lower()).encode("ascii", "ignore").decode()
        return "".join(filter(str.isalnum, plain)) + str(self.year)

    @property
    def bibtex(self) -> str:
        """A BibTeX entry in UTF-8."""
        split = (author.rpartition(" ") for author in self.authors)
        names = [f"{family}, {' '.join(f'{letter}.' for letter in initials)}" for family, _, initials in split]
        fields = {
            "author": " and ".join([*names, "others"] if self.has_others else names),
            "title": f"{{{self.title}}}",
            "journal" if self.kind == "article" else "booktitle": self.where,
            "year": str(self.year),
            "volume": self.volume,
            "number": self.number,
            "pages": self.pages.replace("-", "--"),
            "doi": self.doi,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


REFERENCES = {
    "Aït-Ali et al., 2005": Reference(
        ("Aït-Ali LS", "Prima S", "Hellier P"),
        "STREM: a robust multidimensional parametric method to segment MS lesions in MRI",
        "Medical Image Computing and Computer-Assisted Intervention (MICCAI)",
        2005,
        pages="409-416",
        kind="inproceedings",
    ),
    "Fisch et al., 2024": Reference(
        ("Fisch L", "Zumdick S", "Barkhau C"),
        "deepbet: Fast brain extraction of T1-weighted MRI using convolutional neural networks",
        "Computers in Biology and Medicine",
        2024,
        volume="179",
        pages="108845",
        doi="10.1016/j.compbiomed.2024.108845",
    ),
    "Forman, 2008": Reference(
        ("Forman G",),
        "Quantifying counts and costs via classification",
        "Data Mining and Knowledge Discovery",
        2008,
        volume="17",
        number="2",
        pages="164-206",
        doi="10.1007/s10618-008-0097-y",
        has_others=False,
    ),
    "Gorgolewski et al., 2011": Reference(
        ("Gorgolewski K", "Burns CD", "Madison C"),
        "Nipype: a flexible, lightweight and extensible neuroimaging data processing framework in Python",
        "Frontiers in Neuroinformatics",
        2011,
        volume="5",
        pages="13",
        doi="10.3389/fninf.2011.00013",
    ),
    "Gorgolewski et al., 2017": Reference(
        ("Gorgolewski KJ", "Alfaro-Almagro F", "Auer T"),
        "BIDS Apps: Improving ease of use, accessibility, and reproducibility of neuroimaging data analysis methods",
        "PLOS Computational Biology",
        2017,
        volume="13",
        number="3",
        pages="e1005209",
        doi="10.1371/journal.pcbi.1005209",
    ),
    "Mattes et al., 2003": Reference(
        ("Mattes D", "Haynor DR", "Vesselle H"),
        "PET-CT image registration in the chest using free-form deformations",
        "IEEE Transactions on Medical Imaging",
        2003,
        volume="22",
        number="1",
        pages="120-128",
        doi="10.1109/TMI.2003.809072",
    ),
    "Saerens et al., 2002": Reference(
        ("Saerens M", "Latinne P", "Decaestecker C"),
        "Adjusting the outputs of a classifier to new a priori probabilities: a simple procedure",
        "Neural Computation",
        2002,
        volume="14",
        number="1",
        pages="21-41",
        doi="10.1162/089976602753284446",
        has_others=False,
    ),
    "Tustison et al., 2010": Reference(
        ("Tustison NJ", "Avants BB", "Cook PA"),
        "N4ITK: Improved N3 bias correction",
        "IEEE Transactions on Medical Imaging",
        2010,
        volume="29",
        number="6",
        pages="1310-1320",
        doi="10.1109/TMI.2010.2046908",
    ),
    "Tustison et al., 2021": Reference(
        ("Tustison NJ", "Cook PA", "Holbrook AJ"),
        "The ANTsX ecosystem for quantitative biological and medical imaging",
        "Scientific Reports",
        2021,
        volume="11",
        pages="9068",
        doi="10.1038/s41598-021-87564-6",
    ),
    "Valverde et al., 2017": Reference(
        ("Valverde S", "Cabezas M", "Roura E"),
        "Improving automated multiple sclerosis lesion segmentation with a cascaded 3D convolutional neural network "
        "approach",
        "NeuroImage",
        2017,
        volume="155",
        pages="159-168",
        doi="10.1016/j.neuroimage.2017.04.034",
    ),
    "Valverde et al., 2019": Reference(
        ("Valverde S", "Salem M", "Cabezas M"),
        "One-shot domain adaptation in multiple sclerosis lesion segmentation using convolutional neural networks",
        "NeuroImage: Clinical",
        2019,
        volume="21",
        pages="101638",
        doi="10.1016/j.nicl.2018.101638",
    ),
    "Yarkoni et al., 2019": Reference(
        ("Yarkoni T", "Markiewicz CJ", "de la Vega A"),
        "PyBIDS: Python tools for BIDS datasets",
        "Journal of Open Source Software",
        2019,
        volume="4",
        number="40",
        pages="1294",
        doi="10.21105/joss.01294",
    ),
}
"""By their citations in the text."""
