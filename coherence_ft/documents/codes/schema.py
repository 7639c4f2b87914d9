"""CFT2xx: the shape of a document."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFT201",
        "not a document of the kind or version that is asked for",
        "`kind` and `apiVersion` say by which schema a document is read. Guessing them could take one "
        "document for another.",
        "kind: recipie",
        "apiVersion: coherence-ft/v1\nkind: recipe",
    ),
    Code(
        "CFT202",
        "an unknown key",
        "A key that nobody reads looks like a decision and is none: a misspelt bound would bind nothing.",
        "training: {epohcs: 2}",
        "training: {epochs: 2}",
    ),
    Code(
        "CFT203",
        "a missing key",
        "What the schema requires has no safe default; a person has to decide it.",
        "{id: risk, metric: selective_risk, at_most: 0.3}",
        "{id: risk, metric: selective_risk, at_most: 0.3, confidence: 0.95, …}",
    ),
    Code(
        "CFT204",
        "a value of the wrong type",
        'Numbers, text and booleans are not converted into each other: "0.3" and 0.3 have different digests, '
        "and `yes` is text in YAML 1.2.",
        'at_most: "0.3"',
        "at_most: 0.3",
    ),
    Code(
        "CFT205",
        "a value that is not one of those allowed",
        "Only the listed values have a meaning; any other would be ignored or guessed.",
        "enforcement: Hard",
        "enforcement: hard",
    ),
    Code(
        "CFT206",
        "a number out of range",
        "The setting has no meaning outside its range: no finite evidence gives a confidence of 1.",
        "confidence: 1.0",
        "confidence: 0.95",
    ),
    Code(
        "CFT207",
        "text of the wrong form",
        "Ids, digests and dates are compared character by character; only one way to write them is allowed.",
        "expires: 31.1.2027",
        "expires: 2027-01-31",
    ),
    Code(
        "CFT208",
        "a list of the wrong length or with an entry twice",
        "An empty list of constraints or checks would let everything pass; an entry given twice is a mistake "
        "in one of the two.",
        "constraints: []",
        "constraints: [{id: …}]",
    ),
    Code(
        "CFT209",
        "keys that exclude each other, or none of them",
        "Exactly one of the alternatives has to be chosen, such as the direction of a bound.",
        "{at_most: 0.3, at_least: 0.1}",
        "{at_most: 0.3}",
    ),
    Code(
        "CFT210",
        "a JSON Schema that is not valid itself",
        "Validators ignore a misspelt keyword, so that the schema would accept more than its author meant. "
        "The meta-schema finds what can be found.",
        "type: strnig",
        "type: string",
    ),
    Code(
        "CFT220",
        "something that the next version of the format cannot say",
        "Dropping it without a word would lose what somebody wrote down, so nothing of the file is migrated "
        "before a person has removed it or said it in another way.",
        "tags: [pilot]",
        "# tags: pilot",
    ),
    Code(
        "CFT221",
        "something that a person has to decide before a document is migrated",
        "The next version requires it, and there is no translation that means the same: inventing it would "
        "be a decision that nobody has taken.",
        "waivers:\n  - {constraint: accuracy, threshold: 0.7, …}",
        'waivers:\n  - {constraint: accuracy, threshold: 0.7, until: "2027-07-01", …}',
    ),
)
