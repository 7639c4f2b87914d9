"""CFT1xx: reading YAML and JSONL."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFT101",
        "a file cannot be read",
        "A document that cannot be read says nothing, and nothing is never taken for consent: a missing "
        "constraint set would otherwise be a set without constraints.",
        "tenant: ../tennant/tenant.yaml",
        "tenant: ../tenant/tenant.yaml",
    ),
    Code(
        "CFT102",
        "a file is not UTF-8 text",
        "Other encodings read differently on different machines, and a control character can hide from a "
        "reviewer what a parser sees.",
        "a file saved as Latin-1 or UTF-16",
        "the same file saved as UTF-8",
    ),
    Code(
        "CFT103",
        "not well-formed YAML",
        "The parser stopped here; what follows was not read.",
        "title: Risk: low",
        'title: "Risk: low"',
    ),
    Code(
        "CFT104",
        "a document beyond the limits on size, nesting or parts",
        "Documents come from outside. Limits keep a hostile one from exhausting memory or the stack.",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ … ]]]",
        "a document of at most 1 MiB, 40 levels and 100,000 parts",
    ),
    Code(
        "CFT105",
        "an anchor or alias",
        "With aliases the text in one place decides a value in another, so a reviewer cannot judge a line by "
        "itself; nested aliases also grow without limit when they are expanded.",
        "at_most: *default_bound",
        "at_most: 0.3",
    ),
    Code(
        "CFT106",
        "a tag or directive",
        "Tags change the type of a value, and in some readers they run code. Types follow from the schema.",
        "at_most: !!float 0.3",
        "at_most: 0.3",
    ),
    Code(
        "CFT107",
        "a merge key",
        "`<<` is not part of YAML 1.2, and readers differ on which value wins.",
        "<<: {confidence: 0.95}",
        "confidence: 0.95",
    ),
    Code(
        "CFT108",
        "a key is given twice",
        "Most readers keep the last of two equal keys without a word; a bound could be replaced further down "
        "the file where no reviewer looks.",
        "at_most: 0.1\nat_most: 0.9",
        "at_most: 0.1",
    ),
    Code(
        "CFT109",
        "a key that is not text",
        "JSON has only text keys, so the number 1 and the text 1 would become the same key when the document "
        "is signed.",
        "1: first",
        '"1": first',
    ),
    Code(
        "CFT110",
        "several documents in one file",
        "One file is one document with one digest; what stands after `---` would be ignored by some readers.",
        "kind: tenant\n---\nkind: tenant",
        "two files",
    ),
    Code(
        "CFT111",
        "an empty document",
        "An empty file is usually a save that failed or a variable that was not set.",
        "# only a comment",
        "apiVersion: coherence-ft/v1\nkind: constraint-set\n…",
    ),
    Code(
        "CFT112",
        "a number that is not finite",
        "Every comparison with NaN is false, so a bound of NaN would never be broken; JSON has neither NaN "
        "nor infinity.",
        "at_most: .inf",
        "at_most: 1.0",
    ),
    Code(
        "CFT113",
        "a number that readers take differently",
        "`010` is 8 in YAML 1.1 and 10 in YAML 1.2; integers beyond 64 bits lose digits in many readers.",
        "minimum_evidence: 0100",
        "minimum_evidence: 100",
    ),
    Code(
        "CFT120",
        "a row that is not a JSON object",
        "A JSONL file holds one JSON object a line. A row that cannot be read would silently make the "
        "evidence smaller, so the file is refused, with every such row.",
        '{"kind": "question", "id": "q1"',
        '{"kind": "question", "id": "q1", …}',
    ),
)
