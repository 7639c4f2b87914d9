// Verifies a Sigstore bundle with sigstore-js, as npm brings it: MODULES BUNDLE ROOT [PUBLIC_KEY].
// Prints the identity or "key"; exits with 1 and the error's code if it does not hold.
// With a public key neither log nor time is asked for.
const [modules, bundlePath, rootPath, keyPath] = process.argv.slice(2);
const { readFileSync } = require("fs");
const { bundleFromJSON } = require(`${modules}/@sigstore/bundle`);
const { TrustedRoot } = require(`${modules}/@sigstore/protobuf-specs`);
const { Verifier, toSignedEntity, toTrustMaterial } = require(`${modules}/@sigstore/verify`);
const { crypto } = require(`${modules}/@sigstore/core`);
try {
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundlePath)));
  const publicKey = keyPath && crypto.createPublicKey(readFileSync(keyPath, "utf8"));
  const material = toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(readFileSync(rootPath))), () => ({
    publicKey,
    validFor: () => true,
  }));
  const none = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 };
  const signer = new Verifier(material, keyPath ? none : {}).verify(toSignedEntity(bundle));
  console.log(signer.identity?.subjectAlternativeName ?? "key");
} catch (error) {
  console.log(error.code ?? error.name, error.message);
  process.exitCode = 1;
}
