"""Runs the Python tool model-signing for a list of jobs, in one process.

    driver.py < JOBS > RESULTS

Each line of the input is a job, in JSON; each line of the output is its result:
{"ok": true} or {"ok": false, "error": "..."}. A job has

    op      "sign" or "verify"
    via     "command": the command line's own entry point, with its flags;
            "api": the library, which for verifying guesses how to hash;
            "told": the library, told how to hash
    method  "key", "certificate" or "sigstore"
    model, signature                        paths
    hash    "sha256", "blake2" or "blake3"  what the library calls them
    shard   size in bytes, 0 for files
    symlinks, ignore                        whether links are allowed; paths
    trust                                   flags and their values, by name
"""

import contextlib
import io
import json
import logging
import os
import pathlib
import sys

import model_signing
from model_signing import _cli


def command(job):
    args = [job["op"], job["method"], "--signature", job["signature"]]
    for name, value in job["trust"].items():
        args += ["--" + name, value]
    if job["symlinks"]:
        args.append("--allow_symlinks")
    for path in job["ignore"]:
        args += ["--ignore-paths", os.path.join(job["model"], path)]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            _cli.main(args + ["--", job["model"]], standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise ValueError("status %s: %s" % (end.code, said.getvalue().strip()))


def hashing(job):
    config = model_signing.hashing.Config()
    if job["shard"]:
        config.use_shard_serialization(
            hashing_algorithm=job["hash"], shard_size=job["shard"])
    else:
        config.use_file_serialization(hashing_algorithm=job["hash"])
    config.set_allow_symlinks(job["symlinks"])
    return config.set_ignored_paths(paths=job["ignore"])


def library(job):
    trust = {name: pathlib.Path(value) for name, value in job["trust"].items()}
    if "certificate_chain" in trust:
        trust["certificate_chain"] = [trust["certificate_chain"]]
    use = {"key": "elliptic_key", "certificate": "certificate"}[job["method"]]
    if job["op"] == "sign":
        config = model_signing.signing.Config()
        getattr(config, "use_%s_signer" % use)(**trust)
        config.set_hashing_config(hashing(job))
        config.sign(pathlib.Path(job["model"]), job["signature"])
        return
    config = model_signing.verifying.Config()
    getattr(config, "use_%s_verifier" % use)(**trust)
    if job["via"] == "told":
        config.set_hashing_config(hashing(job))
    config.verify(pathlib.Path(job["model"]), job["signature"])


def main():
    results, sys.stdout = sys.stdout, sys.stderr  # the tool prints
    for line in sys.stdin:
        job = json.loads(line)
        result = {"ok": True}
        try:
            (command if job["via"] == "command" else library)(job)
        except Exception as error:
            result = {"ok": False, "error": "%s: %s" % (type(error).__name__, error)}
        print(json.dumps(result), file=results, flush=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main()
