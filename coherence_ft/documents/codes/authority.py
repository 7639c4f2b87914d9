"""CFT3xx."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = ()
