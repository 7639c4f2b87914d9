"""CFT63x, CFT66x to CFT68x: keys, certificates and identities, and whose signature counts."""

from coherence_ft.documents.codes import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFT635",
        "a signature made before its key was valid",
        "A key that was listed for later signs nothing earlier. The day that counts is the manifest's own "
        "`createdAt`.",
        "createdAt 2025-12-30, public_keys: [{file: keys/risk-2026.pub.pem, from: 2026-01-01}]",
        "a manifest made in 2026, or signed with the key of 2025",
    ),
    Code(
        "CFT636",
        "a signature made after its key had expired",
        "Keys are replaced so that a lost one does harm for a limited time. What it signed before stays "
        "good.",
        "createdAt 2026-01-02, public_keys: [{file: keys/risk-2025.pub.pem, until: 2025-12-31}]",
        "a manifest signed with the key of 2026",
    ),
    Code(
        "CFT637",
        "no trusted root of the Sigstore instance that can be read",
        "Whose certificates and which logs a keyless signature rests on is said by that file alone; without "
        "it none counts.",
        "sigstore_trusted_root: sigstore/trusted-rot.json",
        "sigstore_trusted_root: sigstore/trusted_root.json",
    ),
    Code(
        "CFT638",
        "a keyless signature that cannot be made",
        "It takes an identity token, Sigstore's CA and its transparency log at the moment of signing; "
        "verifying needs none of them.",
        "COHERENCE_FT_KEY=sigstore: in a job without an identity token",
        "the same with the permission `id-token: write`, or COHERENCE_FT_KEY=keys/model-risk.pem",
    ),
    Code(
        "CFT661",
        "a key file that is already there",
        "A key is never overwritten: what the old one signed could not be verified any more.",
        "coherence-ft keys init --authority model-risk, with keys/model-risk.pem left from before",
        "the old pair moved away first",
    ),
    Code(
        "CFT662",
        "a key file that cannot be read or written",
        "Without its key an authority can neither sign nor be recognised.",
        "public_keys: [keys/model-risk.pub.pem], and no such file",
        "coherence-ft keys init --authority model-risk",
    ),
    Code(
        "CFT663",
        "not a usable key",
        "Keys are ECDSA on P-256 or P-384, or Ed25519, in PEM: the kinds that other verifiers of these "
        "signatures know too. An encrypted private key also needs its passphrase.",
        "an RSA key in keys/model-risk.pub.pem",
        "coherence-ft keys init --authority model-risk",
    ),
    Code(
        "CFT664",
        "one half of a key pair without the other, or two that do not fit",
        "A signature made with one would never verify with the other.",
        "keys/model-risk.pub.pem without keys/model-risk.pem",
        "the missing half restored, or COHERENCE_FT_KEY naming where it is kept",
    ),
    Code(
        "CFT665",
        "no certain place for a key",
        "`keys init` and signing need to know where the pair lies: NAME.pub.pem with NAME.pem beside it.",
        "public_keys: [keys/model-risk.txt]",
        "public_keys: [keys/model-risk.pub.pem]",
    ),
    Code(
        "CFT666",
        "a private key that is not the authority's",
        "The tenant document lists no public half of it for this authority, so nothing that it signed "
        "would verify.",
        "COHERENCE_FT_KEY=another-team.pem",
        "COHERENCE_FT_KEY=model-risk.pem",
    ),
    Code(
        "CFT667",
        "a signature made with a revoked key",
        "Whoever holds a stolen key can write any date into a manifest. So nothing counts that a revoked key "
        "ever signed, whatever it says about when.",
        "public_keys: [{file: keys/risk.pub.pem, revoked: 2026-03-01, reason: laptop stolen}]",
        "the derivative certified again and signed with a new key",
    ),
    Code(
        "CFT670",
        "a private key that others can read",
        "Whoever can read an attesting key can sign untrue figures in the authority's name. As ssh does, the "
        "program refuses a key file of its user's that the group or everybody may open.",
        "chmod 644 keys/model-risk.pem",
        "chmod 600 keys/model-risk.pem   # and revoke the key if somebody may have read it",
    ),
    Code(
        "CFT671",
        "a PKCS#11 URI that names no one key for certain",
        "What such a URI says must be understood to the last word (RFC 7512): a key that was guessed might "
        "be another authority's. And a PIN in it would be seen by whoever lists processes or reads the "
        "history.",
        "COHERENCE_FT_KEY=pkcs11:token=risk?pin-value=1234",
        "COHERENCE_FT_KEY='pkcs11:token=risk;object=signing?module-path=/usr/lib/softhsm/libsofthsm2.so'",
    ),
    Code(
        "CFT672",
        "a PKCS#11 module that cannot be loaded",
        "The token is reached through its maker's library and the package python-pkcs11.",
        "module-path=/usr/lib/softhsm.so, and no such file",
        "pip install 'coherence-ft[pkcs11]', and the path at which the library lies",
    ),
    Code(
        "CFT673",
        "a token or key that is not there, or not the only one",
        "A URI that fits several keys would sign with whichever the token lists first. The public key lies "
        "on the token beside the private one, under the same label or id: from it follows who signed.",
        "pkcs11:object=signing, with two tokens that hold a key of that label",
        "pkcs11:token=risk;object=signing",
    ),
    Code(
        "CFT674",
        "a token that refuses to sign",
        "Most often the PIN is missing or wrong; a few wrong ones lock the token.",
        "COHERENCE_FT_PKCS11_PIN unset",
        "COHERENCE_FT_PKCS11_PIN from the secret store, or `pin-source=file:/run/secrets/pin` in the URI",
    ),
    Code(
        "CFT675",
        "a countersignature with a key that several authorities share",
        "Countersignatures are further pairs of eyes. Whoever holds a key that is listed under two "
        "authorities could be both of them.",
        "authorities: [{id: board, public_keys: [keys/office.pub.pem]}, "
        "{id: safety, public_keys: [keys/office.pub.pem]}]",
        "authorities: [{id: board, public_keys: [keys/board.pub.pem]}, "
        "{id: safety, public_keys: [keys/safety.pub.pem]}]",
    ),
    Code(
        "CFT676",
        "a revoked key whose public half is not there",
        "What a revoked key signed is told by the key. Without its file, a copy of it under another name, or "
        "in a certificate, would count again.",
        "public_keys: [{file: keys/lost.pub.pem, revoked: 2026-03-01}], and no such file",
        "keys/lost.pub.pem kept beside the tenant document",
    ),
    Code(
        "CFT680",
        "certificates that cannot be read",
        "An authority's certificates are held against the root in the file that the tenant document names. "
        "Without a root nothing can be held against it.",
        "certificates: [{root: pki/request.csr, subject: 'CN=Model risk,O=Bank'}]",
        "certificates: [{root: pki/root.pem, subject: 'CN=Model risk,O=Bank'}]",
    ),
    Code(
        "CFT681",
        "a certificate that does not lead to the authority's root",
        "Anybody can issue a certificate with any name. Only those that the named root vouches for count, on "
        "a path of valid signatures, each issuer allowed to issue.",
        "a certificate of another CA, or one whose intermediate is missing from the root's file",
        "the file of the root with every intermediate in it",
    ),
    Code(
        "CFT682",
        "a certificate that was not valid when the manifest was made",
        "A CA vouches for a time only. The time is the manifest's own `createdAt`, so what was signed in "
        "time stays good after the certificate has run out.",
        "a certificate that ended in April under a manifest made in May",
        "the renewed certificate beside the key",
    ),
    Code(
        "CFT683",
        "a certificate that is not for signing",
        "The CA says what a certificate may be used for: here digitalSignature in its key usage and "
        "codeSigning in its extended key usage, so that no server's or CA's certificate signs manifests.",
        "extendedKeyUsage = serverAuth",
        "keyUsage = critical, digitalSignature; extendedKeyUsage = codeSigning",
    ),
    Code(
        "CFT684",
        "a certificate with nobody's name",
        "The root vouches for many. Which of them is the authority, the tenant document says by the subject "
        "or the alternative name, compared exactly.",
        "subject: 'CN=Model risk', where the certificate has CN=Model risk,O=Bank",
        "subject: 'CN=Model risk,O=Bank'",
    ),
    Code(
        "CFT685",
        "a certificate for a kind of key that is not used here",
        "Signatures are made on P-256 or P-384 or with Ed25519, which every verifier of such bundles knows.",
        "a certificate for an RSA key",
        "a certificate for a P-256 key",
    ),
    Code(
        "CFT686",
        "a certificate of another key than the one that signs",
        "What was signed would verify with neither.",
        "COHERENCE_FT_CERTIFICATE=another-team.crt.pem",
        "the chain of the key in use, the signer's own certificate first",
    ),
    Code(
        "CFT687",
        "keyless signatures without the package that handles them",
        "They are made and verified by sigstore-python, which is an extra. Without it they cannot be "
        "checked, and what cannot be checked is refused.",
        "pip install coherence-ft",
        'pip install "coherence-ft[sigstore]"',
    ),
    Code(
        "CFT688",
        "a keyless signature that does not verify",
        "Certificate, transparency log and signature must all hold under the trusted root: the certificate "
        "from its CA and in its CT log, the signature logged while the certificate was valid, over these "
        "bytes.",
        "a bundle whose log entry belongs to another signature, or that comes from another instance",
        "the bundle as it was written, and that instance's root under `sigstore_trusted_root`",
    ),
    Code(
        "CFT689",
        "a keyless signature of nobody's identity",
        "Everybody can get a certificate from a public Sigstore. Which identity of which provider is the "
        "authority, the tenant document says, compared exactly.",
        "identities: [{issuer: 'https://accounts.google.com', identity: 'Risk@bank.example'}]",
        "identities: [{issuer: 'https://accounts.google.com', identity: 'risk@bank.example'}]",
    ),
)
