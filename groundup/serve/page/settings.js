/** The settings dialog of a conversation: system prompt, sampling, tools. Changes apply at once. */

import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { number, t } from "./i18n.js";
import { KNOBS, bounded, toolsProblem } from "./sampling.js";

/** Open the dialog. @param {import("./session.js").ChatSession} session */
export function openSettings(session) {
  const { current } = session;
  const system = h("textarea", { id: "system", rows: 4, placeholder: t("systemHint"), oninput: () => session.change({ system: system.value }) });
  system.value = current.system;
  const sampling = h("div", { class: "fields" });
  const fill = () => sampling.replaceChildren(...KNOBS.flatMap((knob) => knobFields(session, knob)), ...stopField(session));
  fill();
  const reset = h("button", { class: "plain", type: "button", onclick: () => (session.change({ sampling: {} }), fill()) }, t("asServer"));
  const content = [
    h("div", { class: "fields" }, h("label", { for: "system" }, t("system")), system),
    h("h3", {}, t("sampling")),
    h("p", { class: "note" }, t("samplingWhy")),
    sampling,
    h("div", { class: "row" }, reset),
    h("h3", {}, t("tools")),
    ...toolsField(session),
  ];
  return openDialog(t("settings"), content, { kind: "sheet" });
}

function change(session, name, value) {
  const sampling = { ...session.current.sampling };
  if (value === null || value === "") delete sampling[name];
  else sampling[name] = value;
  session.change({ sampling });
}

function knobFields(session, knob) {
  const { name, min, max, step, slides } = knob;
  const usual = session.server.defaults[name];
  const placeholder = Number.isFinite(usual) ? number(usual, 2) : t("usual");
  const value = session.current.sampling[name];
  const field = h("input", {
    id: name,
    type: "number",
    min,
    max,
    step: step === 1 ? 1 : "any",
    placeholder,
    inputmode: "decimal",
    "aria-describedby": `${name}-why`,
  });
  field.value = value ?? "";
  const slider = slides !== undefined && h("input", { type: "range", min, max, step, tabindex: "-1", "aria-hidden": "true" });
  const follow = () => slider && (slider.value = bounded(knob, field.value) ?? usual ?? slides);
  field.addEventListener("change", () => {
    const held = bounded(knob, field.value);
    field.value = held ?? "";
    follow();
    change(session, name, held);
  });
  if (slider)
    slider.addEventListener("input", () => {
      field.value = Number(slider.value);
      change(session, name, bounded(knob, field.value));
    });
  follow();
  return [
    h(
      "div",
      { class: "knob" },
      h("label", { for: name }, t(`knob.${name}`)),
      slider,
      field,
      h("p", { class: "note", id: `${name}-why` }, t(`why.${name}`)),
    ),
  ];
}

function stopField(session) {
  const field = h("textarea", {
    id: "stop",
    rows: 2,
    "aria-describedby": "stop-why",
    spellcheck: "false",
    oninput: () => change(session, "stop", field.value),
  });
  field.value = session.current.sampling.stop ?? "";
  return [
    h(
      "div",
      { class: "knob tall" },
      h("label", { for: "stop" }, t("knob.stop")),
      field,
      h("p", { class: "note", id: "stop-why" }, t("why.stop", { count: session.server.limits.stops ?? 4 })),
    ),
  ];
}

function toolsField(session) {
  const problem = h("p", { class: "note", id: "tools-why", role: "status" }, t("toolsWhy"));
  const field = h("textarea", {
    id: "tools",
    rows: 5,
    class: "mono",
    "aria-label": t("tools"),
    "aria-describedby": "tools-why",
    spellcheck: "false",
  });
  field.value = session.current.tools;
  field.addEventListener("input", () => {
    const wrong = toolsProblem(field.value);
    field.setAttribute("aria-invalid", wrong ? "true" : "false");
    problem.textContent = wrong ? t(`tools.${wrong}`) : t("toolsWhy");
    problem.classList.toggle("warn", Boolean(wrong));
    if (!wrong) session.change({ tools: field.value });
  });
  return [h("div", { class: "fields" }, field, problem)];
}
