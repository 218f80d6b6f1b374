// The Vercel AI SDK against a server: node ai_sdk.cjs BASE-URL FOLDER-WITH-node_modules; prints what each call returned, as JSON.
const [base, folder] = process.argv.slice(2);
const load = require("node:module").createRequire(`${require("node:path").resolve(folder)}/`);
const { generateObject, generateText, streamText, tool, stepCountIs } = load("ai");
const { createOpenAI } = load("@ai-sdk/openai");
const { createOpenAICompatible } = load("@ai-sdk/openai-compatible");
const { z } = load("zod");

const openai = createOpenAI({ baseURL: base, apiKey: "none" });
const compatible = createOpenAICompatible({
  name: "groundup", baseURL: base, includeUsage: true, supportsStructuredOutputs: true,
});
const sort = tool({
  description: "Put it away.",
  inputSchema: z.object({ bin: z.enum(["one", "two"]) }),
  execute: async ({ bin }) => `put into ${bin}`,
});

async function all(model) {
  const asked = { model, system: "ten", prompt: "one two", maxOutputTokens: 12, temperature: 0, maxRetries: 0 };
  const whole = await generateText(asked);
  const stream = streamText(asked);
  let streamed = "";
  for await (const text of stream.textStream) streamed += text;
  const called = await generateText({ model, prompt: "one", tools: { sort }, toolChoice: "required", maxRetries: 0 });
  const again = await generateText({
    model, messages: [{ role: "user", content: "one" }, ...called.response.messages], tools: { sort }, toolChoice: "none",
    maxOutputTokens: 5, maxRetries: 0, stopWhen: stepCountIs(1),
  });
  const { object } = await generateObject({ model, schema: z.object({ sure: z.boolean() }), prompt: "one", maxRetries: 0 });
  return {
    whole: whole.text, streamed, usage: whole.usage, streamedUsage: await stream.usage, finish: whole.finishReason,
    calls: called.toolCalls.map(({ toolName, input }) => ({ toolName, input })),
    results: called.toolResults.map(({ output }) => output), again: again.finishReason, object,
  };
}

(async () => {
  const found = {};
  for (const [name, model] of [["responses", openai("small")], ["chat", openai.chat("small")], ["compatible", compatible("small")]]) {
    found[name] = await all(model);
  }
  process.stdout.write(JSON.stringify(found));
})().catch((error) => {
  console.error(error, error.responseBody, JSON.stringify(error.requestBodyValues));
  process.exit(1);
});
