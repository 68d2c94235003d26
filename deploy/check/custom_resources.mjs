// Writes every custom resource of both overlays as a typed literal, in TypeScript made from the operators' own Go types:
// the compiler refuses a field they don't know, a wrong type and an API version they don't serve. Run, it checks the
// patterns, the choices and the sizes of their schemas too.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";

const PACKAGES = {
  "cert-manager.io": "@kubernetes-models/cert-manager",
  "external-secrets.io": "@kubernetes-models/external-secrets",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};
// Kubernetes' own are checked by deploy/k8s/tests, against the schemas of its oldest and a late version.
const BUILT_IN = /^(v1|apps|autoscaling|batch|policy|networking\.k8s\.io)(\/|$)/;

const written = [];
for (const overlay of ["staging", "production"]) {
  const rendered = execFileSync("kubectl", ["kustomize", `../k8s/overlays/${overlay}`], { encoding: "utf8" });
  for (const document of parseAllDocuments(rendered)) {
    const object = document.toJS();
    if (BUILT_IN.test(object.apiVersion)) continue;
    const [group] = object.apiVersion.split("/");
    if (!(group in PACKAGES)) throw new Error(`${object.apiVersion}: nothing here knows ${object.kind}`);
    const name = `${object.kind}${written.length}`;
    written.push(
      `// ${overlay}: ${object.kind} ${object.metadata.name}`,
      `import { ${object.kind} as ${name}, type I${object.kind} as I${name} } from "${PACKAGES[group]}/${object.apiVersion}/${object.kind}";`,
      `const object${name}: I${name} = ${JSON.stringify(object, null, 1)};`,
      `new ${name}(object${name}).validate();`,
    );
  }
}
mkdirSync("node_modules/.cache", { recursive: true });
writeFileSync("node_modules/.cache/objects.ts", `${written.join("\n")}\n`);
