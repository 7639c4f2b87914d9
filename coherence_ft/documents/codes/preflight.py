"""CFT7xx."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFT708",
        "the disk is full",
        "A save that could not be finished is never left in the place of a good one: what was saved before "
        "is intact and the run resumes from it.",
        "No space left on device",
        "free space, then: coherence-ft train RECIPE --resume",
    ),
    Code(
        "CFT709",
        "a package of an extra is not installed",
        "The core validates, resolves and verifies without torch. Training and probing need the extra.",
        "pip install coherence-ft",
        "pip install 'coherence-ft[train]'",
    ),
)
