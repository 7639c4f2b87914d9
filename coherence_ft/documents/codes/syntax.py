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
        "a document of at most 1 MiB, 40 levels and 100,000 parts (or what [tool.coherence-ft.limits] says)",
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
        "CFT114",
        "a character that readers take differently",
        "Some readers end a line, and with it a comment, at a lone carriage return, U+0085, U+2028 or "
        "U+2029; others and most editors do not, so what looks like part of a comment may count as a bound. "
        "A byte order mark inside the text makes a key that looks like another one.",
        "# checked by legal (a carriage return) at_most: 0.9",
        'reason: "first line\\u2028second line"',
    ),
    Code(
        "CFT120",
        "a row that is not a JSON object",
        "A JSONL file holds one JSON object a line. A row that cannot be read would silently make the "
        "evidence smaller, so the file is refused, with every such row.",
        '{"kind": "question", "id": "q1"',
        '{"kind": "question", "id": "q1", …}',
    ),
    Code(
        "CFT130",
        "a pyproject.toml that cannot be read",
        "It may hold the settings of this project. Going on without them would check something else than "
        "what was asked for.",
        "[tool.coherence-ft.validate]\nignore = [CFT441]",
        '[tool.coherence-ft.validate]\nignore = ["CFT441"]',
    ),
    Code(
        "CFT131",
        "an unknown setting in pyproject.toml",
        "A setting that nobody reads looks like a decision and is none.",
        '[tool.coherence-ft.validate]\nignored = ["CFT441"]',
        '[tool.coherence-ft.validate]\nignore = ["CFT441"]',
    ),
    Code(
        "CFT132",
        "a wrong value of a setting in pyproject.toml",
        "A code that does not exist selects nothing. And what cannot be read (CFT1xx) is not checked: it can "
        "be left out, but not be set aside.",
        '[tool.coherence-ft.validate]\nseverity = {CFT441 = "fatal"}',
        '[tool.coherence-ft.validate]\nseverity = {CFT441 = "error"}',
    ),
    Code(
        "CFT133",
        "rewriting would not keep everything",
        "`fmt` and `migrate` read what they are about to write. Unless it is the same document, with every "
        "comment, the file stays as it is: a defect of ours may not change what somebody decided.",
        "a file that reads differently after `coherence-ft fmt`",
        "the file as it was, and a report to us",
    ),
    Code(
        "CFT134",
        "a document cannot be written",
        "The folder cannot be written or the disk is full. The new text goes into a file beside the old one "
        "first, so the old one is whole.",
        "coherence-ft fmt /mnt/read-only/tenant.yaml",
        "coherence-ft fmt tenant.yaml",
    ),
)
