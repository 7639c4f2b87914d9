"""CFT3xx: who may decide, how layers fit together, waivers, and where trust starts."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFT301",
        "an authority that the tenant does not know",
        "A constraint or waiver counts only if somebody answers for it. An unknown name answers for nothing.",
        "owner: risk-departement",
        "owner: risk-department   # listed under `authorities` of the tenant document",
    ),
    Code(
        "CFT302",
        "an authority without the power for what it does",
        "Setting, tightening, waiving and attesting are separate powers, so that no one grants itself an "
        "exception.",
        "authorities: [{id: lead, level: tenant, powers: [attest]}]   # lead owns a constraint",
        "authorities: [{id: lead, level: tenant, powers: [attest, set]}]",
    ),
    Code(
        "CFT303",
        "an authority acting above its level",
        "Constraints flow down. An authority decides at its own level and below, never for those above it.",
        "layers: [{set: ours.yaml, level: regulated-unit, authority: lead}]   # lead is at level tenant",
        "layers: [{set: ours.yaml, level: tenant, authority: lead}]",
    ),
    Code(
        "CFT304",
        "one constraint id for two different measurements",
        "The same id is the same constraint in every layer. Bounds on different metrics, coverages, "
        "relations or categories cannot be compared, so no strictest one exists.",
        "id: selective-risk, coverage: 0.6   # one layer\nid: selective-risk, coverage: 0.8   # another",
        "id: selective-risk-60, coverage: 0.6\nid: selective-risk-80, coverage: 0.8",
    ),
    Code(
        "CFT305",
        "a lower layer looser than a higher one",
        "Lower layers may only tighten. A looser value would be ignored, and whoever wrote it would believe "
        "that it holds: so it is an error, and both places are shown.",
        "at_most: 0.10   # the tenant, under a regulated unit's at_most: 0.05",
        "at_most: 0.04   # or leave it out; an exception needs a waiver",
    ),
    Code(
        "CFT306",
        "a locked constraint stated again below",
        "`locked` freezes a constraint for everybody below, for tightening too: what was agreed with a "
        "supervisor is exactly what is measured.",
        "id: auroc, at_least: 0.9   # below a locked auroc",
        "id: auroc-internal, at_least: 0.9   # a constraint of its own",
    ),
    Code(
        "CFT308",
        "no hard constraint applies",
        "With nothing that gates promotion, every checkpoint would pass. So it is refused.",
        "constraints: [{id: auroc, enforcement: report, …}]   # and nothing else",
        "constraints: [{id: auroc, enforcement: hard, …}]",
    ),
    Code(
        "CFT311",
        "a waiver approved by its requester",
        "An exception needs a second pair of eyes.",
        "requested_by: lead\napproved_by: lead",
        "requested_by: lead\napproved_by: model-risk",
    ),
    Code(
        "CFT312",
        "a waiver approved from below",
        "Only an authority that ranks at least as high as the constraint's owner may relax it.",
        "approved_by: lead   # level tenant, for a constraint owned at regulated-unit",
        "approved_by: compliance   # level regulated-unit, with the power waive",
    ),
    Code(
        "CFT313",
        "a waiver past the owner's floor",
        "The owner of a constraint says beforehand how far an exception may go (`waiver_floor`). A layer "
        "without a floor allows no exception from its bound.",
        "at_most: 0.05, waiver_floor: 0.08   # and a waiver with bound: 0.10",
        "bound: 0.08",
    ),
    Code(
        "CFT314",
        "a waiver without a reason",
        "An auditor reads the reason first.",
        'reason: ""',
        "reason: Pilot with 20 clinicians who check every answer.",
    ),
    Code(
        "CFT315",
        "an expired waiver",
        "An expired waiver is treated as if it were not there; the constraint's own bound holds again.",
        "expires: 2024-12-31",
        "expires: 2027-06-30   # approved anew",
    ),
    Code(
        "CFT316",
        "a waiver without effect",
        "It names a constraint that does not exist in its domain, or a bound that relaxes nothing: "
        "a slip, or a leftover that misleads the next reader.",
        "constraint: selective-risc",
        "constraint: selective-risk",
    ),
    Code(
        "CFT331",
        "an authority that nothing uses",
        "It owns no constraint, adopts no set, signs, approves and lends nothing. A leftover misleads who "
        "reads the taxonomy, and its key may still be trusted by somebody.",
        "authorities: [{id: former-lead, level: tenant, powers: [set]}]   # and nothing else names it",
        "authorities: []   # or a layer, a constraint, a waiver or a delegation that names it",
    ),
    Code(
        "CFT332",
        "a delegation of what the lender may not lend",
        "Nobody can give away more than it holds: lending needs the power itself and `delegate`, or a loan "
        "of the same power whose depth is not used up.",
        "delegations: [{from: lead, to: deputy, powers: [waive], …}]   # lead has [set, delegate]",
        "delegations: [{from: lead, to: deputy, powers: [set], …}]",
    ),
    Code(
        "CFT333",
        "an expired delegation",
        "It lends nothing any more, and what was lent on the strength of it falls with it.",
        "expires: 2024-12-31",
        "expires: 2027-06-30   # renewed",
    ),
    Code(
        "CFT335",
        "a waiver with too few approvals",
        "The owner of the constraint asks for several pairs of eyes (`waiver_approvals`).",
        "approved_by: [model-risk]   # of a constraint with waiver_approvals: 2",
        "approved_by: [model-risk, compliance]",
    ),
    Code(
        "CFT336",
        "a waiver that expires soon",
        "On the day after its last one the constraint's own bound holds again, and a derivative that needs "
        "the waiver no longer verifies.",
        "expires: a date in less than 30 days",
        "the constraint is met, or the waiver approved again",
    ),
    Code(
        "CFT337",
        "wording bolder than a higher layer allows",
        "Constraints on wording flow down like all others: below, the same confidence may be put more "
        "cautiously, never more boldly.",
        "bands: [{from: 0.7, act: assert, …}, …]   # under a tenant that asserts from 0.9",
        "bands: [{from: 0.95, act: assert, …}, …]",
    ),
    Code(
        "CFT338",
        "layers that measure confidence in different ways",
        "A bound on confidence says something only of one kind of confidence, calibrated in one way. The "
        "highest layer that states them holds, and whoever states others below, or beside, would be measured "
        "by what was not meant.",
        "measurement: {confidence: verbalized}   # under a layer with `confidence: p_true`",
        "measurement: {confidence: p_true}   # or left out",
    ),
    Code(
        "CFT341",
        "a change that relaxes something",
        "A bound that is loosened in the document itself leaves no date, no reason and no approver behind. A "
        "waiver does: with a valid one, judged by the authorities of the old document, the change passes.",
        "at_most: 0.5   # was 0.3",
        "at_most: 0.3\nwaivers: [{constraint: selective-risk-60, bound: 0.5, approved_by: [compliance], …}]",
    ),
    Code(
        "CFT342",
        "a change that removes something that held",
        "What is no longer stated is no longer measured, and nobody sees that it is missing. A waiver gives "
        "a bound, so it cannot stand for a removal: that is for the authorities to decide.",
        "constraints: []   # auroc stood here",
        "constraints: [{id: auroc, enforcement: hard, …}]",
    ),
    Code(
        "CFT343",
        "a change by which somebody gains authority",
        "Powers, levels, keys, loans, countersignatures and the order of sources decide who may relax and "
        "what is believed. Who gains by a change cannot approve it: that is for the highest authorities of "
        "the old document.",
        "powers: [attest, waive]   # was [attest], in the change that also needs a waiver",
        "powers: [attest, waive]   # in a change of its own, approved by compliance",
    ),
    Code(
        "CFT344",
        "documents that cannot be compared",
        "Where one side is invalid or empty, nothing shows that the other does not relax it. Taking that for "
        "unchanged would let a broken document open the way.",
        "coherence-ft diff main HEAD   # the tenant document of main is invalid",
        "coherence-ft diff main HEAD   # after a change that mends main and that a person has compared",
    ),
    Code(
        "CFT345",
        "a side of a comparison that cannot be read",
        "A name that is no file, folder or commit compares nothing. In CI the usual cause is a clone of the "
        "latest commit alone, in which the branch to compare with does not exist.",
        "uses: actions/checkout   # fetches one commit",
        "uses: actions/checkout\nwith: {fetch-depth: 0}",
    ),
    Code(
        "CFT346",
        "a project that is there already",
        "`init` writes into nothing that somebody has written: not one file is made if any of them exists.",
        "coherence-ft init .   # tenant.yaml exists",
        "coherence-ft init governance",
    ),
    Code(
        "CFT321",
        "no tenant document is named",
        "Whose keys count must be said by the one who checks. A derivative cannot name its own judge.",
        "coherence-ft verify runs/quickstart/derivative   # in a folder without configuration",
        "coherence-ft verify runs/quickstart/derivative --tenant tenants/ours/tenant.yaml",
    ),
    Code(
        "CFT322",
        "the named tenant document cannot be used",
        "Falling back to another one would silently change who is trusted.",
        '[tool.coherence-ft]\ntenant = "tenants/moved.yaml"   # no such file',
        '[tool.coherence-ft]\ntenant = "tenants/ours/tenant.yaml"',
    ),
)
