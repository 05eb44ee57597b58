// The browser sends the credentials of this page along; nothing is fetched from outside.
window.addEventListener("load", () => {
  const url = `${window.location.origin}/api/v1/openapi.json`; // without the password that the address may carry
  window.SwaggerUIBundle({ url, dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
});
