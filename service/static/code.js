"use strict";

// The request of this page as code, to be pasted into a terminal or a program.

const KEY = "STRIATE_KEY"; // the environment variable in which the code expects an API key

/** By the language's name: the code that sends `file` to `url`, with a key if there is one. */
const CODE = {
  curl: ({ url, file, needsKey }) => {
    const header = needsKey ? ` \\\n  --header "Authorization: Bearer $${KEY}"` : "";
    return `curl --data-binary @${quoted(file)}${header} \\\n  ${quoted(url)}`;
  },
  Python: ({ url, file, needsKey }) => {
    const header = needsKey ? ', headers={"Authorization": f"Bearer {key}"}' : "";
    return [
      ...(needsKey ? ["import os", ""] : []),
      "import requests  # pip install requests",
      "",
      `url = ${JSON.stringify(url)}`,
      ...(needsKey ? [`key = os.environ["${KEY}"]`] : []),
      `with open(${JSON.stringify(file)}, "rb") as image:`,
      `    answer = requests.post(url, data=image${header}, timeout=30)`,
      "answer.raise_for_status()",
      'print(answer.json()["predictions"][0])',
    ].join("\n");
  },
  JavaScript: ({ url, file, needsKey }) => {
    const header = needsKey ? `\n  headers: { Authorization: \`Bearer \${process.env.${KEY}}\` },` : "";
    return [
      'import { readFile } from "node:fs/promises"; // in a file that ends with .mjs: node FILE.mjs',
      "",
      `const url = ${JSON.stringify(url)};`,
      "const answer = await fetch(url, {",
      `  method: "POST",`,
      `  body: await readFile(${JSON.stringify(file)}),${header}`,
      "});",
      "if (!answer.ok) throw new Error(await answer.text());",
      "console.log((await answer.json()).predictions[0]);",
    ].join("\n");
  },
};

/** A word for a shell. */
function quoted(word) {
  return /^[\w.:/@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * Shows the code of a request.
 *
 * @param url where the image was sent, from this page.
 * @param file the name of the image's file.
 * @param image its bytes; null where whoever reads this has the file.
 */
function showCode(url, file, image) {
  const needsKey = Boolean(sessionStorage.getItem("key"));
  const request = { url: new URL(url, document.baseURI).href, file, needsKey };
  const language = document.querySelector("#languages input:checked").value;
  byId("snippet").textContent = CODE[language](request);
  byId("copied").textContent = "";
  const save = byId("save");
  URL.revokeObjectURL(save.href);
  Object.assign(save, { hidden: !image, download: file, textContent: `Save ${file}` });
  if (image) save.href = URL.createObjectURL(new Blob([image]));
  showCode.again = () => showCode(url, file, image);
}

/** Without `navigator.clipboard`, which only a secure address has, the code is selected, for the keyboard to copy. */
async function copyCode() {
  try {
    await navigator.clipboard.writeText(byId("snippet").textContent);
    byId("copied").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(byId("snippet"));
    byId("copied").textContent = "It is selected: copy it with Ctrl-C.";
  }
}

byId("languages").addEventListener("change", () => showCode.again?.());
byId("copy").addEventListener("click", copyCode);
