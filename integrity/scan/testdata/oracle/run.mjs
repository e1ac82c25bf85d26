// Runs run.py under the CPython that the npm package pyodide is, which has
// versions that come from nowhere else:
//
//     npm install pyodide@VERSION
//     node run.mjs node_modules/pyodide DIR > RESULT
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [pyodide, folder] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(join(resolve(pyodide), "pyodide.mjs")));
const python = await loadPyodide();
python.FS.mkdirTree("/files");
python.FS.mount(python.FS.filesystems.NODEFS, { root: resolve(folder) }, "/files");
python.setStdout({ batched: (line) => process.stdout.write(line + "\n") });
const source = readFileSync(join(dirname(fileURLToPath(import.meta.url)), "run.py"), "utf8");
python.globals.set("__name__", "run");
python.runPython(source + '\nrun("/files", sys.stdout)\n');
