"""CFT690 to CFT699: where a derivative comes from, to the root. CFT740 to CFT749: making one of others."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFT690",
        "an ancestor's manifest is not in the folder",
        "A derivative carries the manifest of every ancestor in `coherence/lineage/`, so that its whole "
        "descent can be verified by whoever has the folder. A manifest of schema 1.0 carries none: a "
        "derivative of a derivative that was signed then has to be made again before it can have children.",
        "coherence/lineage/ without the manifest of the first of two trainings",
        "the folder as `train`, `merge` or `promote` wrote it",
    ),
    Code(
        "CFT691",
        "an ancestor's manifest is not the one that is named",
        "Parents are named by the sha256 of their manifest. Another content under that name is another "
        "parent.",
        "coherence/lineage/3f1c….json, edited",
        "the file as it was carried",
    ),
    Code(
        "CFT692",
        "an ancestor's bundle is missing, or is not over its manifest",
        "An ancestor that nobody has signed could be anything.",
        "coherence/lineage/3f1c….json without coherence/lineage/3f1c….sigstore.json",
        "both files, as they were carried",
    ),
    Code(
        "CFT693",
        "an ancestor is not signed by an authority of the tenant that may attest",
        "A child is no better vouched for than its parents. A key that was revoked ends all that it signed, "
        "and their children with it.",
        "a parent signed with a key that the tenant document does not list",
        "train again from a parent that verifies under the tenant document of today",
    ),
    Code(
        "CFT694",
        "an ancestor's manifest cannot be read",
        "What cannot be read cannot be verified, and what is not verified is refused.",
        "coherence/lineage/3f1c….json, cut off in the middle",
        "the file as it was carried",
    ),
    Code(
        "CFT695",
        "an ancestor was made under another tenant",
        "Its verdicts, waivers and constraints are those of another organisation, and nobody here answers "
        "for them.",
        "base: {model: derivative:../other-hospital/derivative}",
        "a parent that this tenant certified",
    ),
    Code(
        "CFT696",
        "the ancestors listed are not exactly those that the parents lead to",
        "Every ancestor must be reached from the parents, and every one that is reached must be listed: what "
        "is left out could be revoked without anybody noticing.",
        "ancestors: [], below a parent that has a parent of its own",
        "the manifest as `train`, `merge` or `promote` wrote it",
    ),
    Code(
        "CFT697",
        "the lineage goes round in a circle",
        "Nothing can be its own ancestor. A manifest that is named by its digest cannot be in such a circle "
        "either, so at least one of the files was edited.",
        "a names b as its parent, and b names a",
        "the files as they were carried",
    ),
    Code(
        "CFT698",
        "an ancestor was revoked",
        "Whoever withdraws a derivative withdraws what was made of it.",
        "revocations: [{manifest: 3f1c…, by: model-risk, since: 2026-03-01, reason: …}], and a child of it",
        "train or merge again without the revoked parent",
    ),
    Code(
        "CFT699",
        "the manifest was revoked",
        "The tenant has withdrawn it: it verifies no longer, and nothing may be made of it.",
        "revocations: [{manifest: 3f1c…, by: model-risk, since: 2026-03-01, reason: …}]",
        "another derivative",
    ),
    Code(
        "CFT740",
        "a parent of the wrong kind",
        "Adapters are merged with adapters, or into their base; full weights are quantized. The result is "
        "measured as what it is, so nothing is converted on the way without being said.",
        "coherence-ft merge runs/clinical/derivative --quantize nf4 …  # an adapter",
        "coherence-ft merge runs/clinical/derivative --into-base …, then --quantize nf4 on the result",
    ),
    Code(
        "CFT741",
        "parents on different bases",
        "An adapter is a change to one model. On another one, or together with a change to another one, it "
        "means nothing. Bases are compared by the digest of their content.",
        "an adapter of SmolLM2-135M merged with one of SmolLM2-360M",
        "adapters that were trained on the same file",
    ),
    Code(
        "CFT742",
        "the recipe speaks of another base",
        "The recipe goes into the manifest of what is merged: constraints, probes, base. It has to be a "
        "recipe for what is merged.",
        "base: {model: ../models/other}",
        "base: that of the parents",
    ),
    Code(
        "CFT743",
        "adapters of different ranks",
        "linear, TIES and DARE combine the factors of the adapters entry by entry, so they must have the "
        "same shape (peft, add_weighted_adapter).",
        "a merge of adapters of rank 8 and 16",
        "adapters of one rank",
    ),
    Code(
        "CFT744",
        "adapters of different modules",
        "A module that only one of the adapters changed would get that change alone, at its weight: no merge "
        "of the two.",
        "target_modules [q_proj, v_proj] merged with [q_proj, k_proj]",
        "adapters of the same modules",
    ),
    Code(
        "CFT745",
        "parents that are not used in the same way",
        "Precision, quantization of the base, tokenizer and chat template belong to what was measured. "
        "Parents that differ in one of them have no common way of being used.",
        "an adapter trained on an NF4 base merged with one trained on the same base in bfloat16",
        "parents whose recipes agree on training.precision, quantization and base.chat_template",
    ),
    Code(
        "CFT746",
        "adapters that cannot be merged",
        "Merging by weights is defined for plain LoRA. Of DoRA, rank-stabilized LoRA, saved modules, biases "
        "and patterns of ranks, peft would take a part and leave the rest, or scale it wrongly.",
        "an adapter with use_dora: true",
        "adapters that recipes made, or --into-base for one of them",
    ),
    Code(
        "CFT747",
        "the merged weights do not compute what the adapter on its base does",
        "Merging only rounds. A larger difference of the logits is a defect: of the merge, of the files, or "
        "of a quantized layer.",
        "logits that differ by 3.1, of at most 18",
        "logits that differ by 0.04, of at most 18",
    ),
    Code(
        "CFT748",
        "already quantized",
        "Quantizing what is quantized loses again, and merging an adapter into quantized weights rounds them "
        "a second time (peft #2321).",
        "coherence-ft merge runs/int8/derivative --quantize nf4 …",
        "coherence-ft merge runs/full/derivative --quantize nf4 …  # from the full weights",
    ),
    Code(
        "CFT749",
        "the same parent twice",
        "A merge with itself is the parent at another weight, and no merge.",
        "coherence-ft merge runs/a/derivative runs/a/derivative …",
        "coherence-ft merge runs/a/derivative runs/b/derivative …",
    ),
)
