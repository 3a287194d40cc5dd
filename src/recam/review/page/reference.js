// The endpoints as OpenAPI describes them, readable without network.
const api = await (await fetch("openapi.json")).json();
const make = (tag, text, ...inner) => { const made = document.createElement(tag); made.textContent = text; made.append(...inner); return made; };
const typeOf = (schema) => !schema ? "" : schema.$ref ? schema.$ref.split("/").pop() : schema.anyOf ? schema.anyOf.map(typeOf).join(" or ") :
  schema.enum ? schema.enum.join(" | ") : schema.type === "array" ? `list of ${typeOf(schema.items)}` : (schema.type ?? "any");
const row = (name, schema, description, required) => make("p", "", make("code", name), ` ${typeOf(schema)}${required ? "" : ", optional"}. ${description ?? ""}`);

const place = document.getElementById("reference");
place.append(make("p", api.info.description), make("p", "", Object.assign(make("a", "openapi.json"), { href: "openapi.json" })));
for (const [path, methods] of Object.entries(api.paths))
  for (const [method, endpoint] of Object.entries(methods)) {
    place.append(make("h2", endpoint.summary), make("pre", `${method.toUpperCase()} ${path}`), make("p", endpoint.description ?? ""));
    for (const parameter of endpoint.parameters ?? []) place.append(row(parameter.name, parameter.schema, parameter.description, parameter.required));
    const body = endpoint.requestBody?.content["application/json"]?.schema;
    const schema = body && api.components.schemas[typeOf(body)];
    if (schema) for (const [name, field] of Object.entries(schema.properties)) place.append(row(name, field, field.description, schema.required?.includes(name)));
  }
