// The browser sends the credentials of this page along; nothing is fetched from outside.
window.addEventListener("load", () => {
  window.SwaggerUIBundle({ url: "/api/v1/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
});
